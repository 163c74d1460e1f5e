"""The search for the best fixed pair."""

from __future__ import annotations

from typing import Any

import pytest

from agentscaler.simulate.hindsight import LIMITS, Pair, best_pair
from agentscaler.simulate.score import Row


def row(*, violations: float, hours: float) -> Row:
    values: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__, 0.0)
    return Row(**(values | {"violation_percent": violations, "replica_hours": hours}))


def test_the_busiest_level_that_keeps_the_gate_wins() -> None:
    def run(pair: Pair) -> Row:
        late = max(0.0, pair.level - 0.45 * pair.limit)  # below 1.7 to 2.2 slots a run bursts break through
        memory = 2.0 if pair.level > 17 else 0.0  # and more runs than that kill the pod
        return row(violations=late + memory, hours=100 / pair.level)

    assert best_pair(run) == Pair(40, 17)
    assert Pair(40, 17).target == pytest.approx(0.425)


def test_a_pair_that_breaks_the_gate_is_no_measure() -> None:
    assert best_pair(lambda pair: row(violations=100 - pair.limit, hours=1.0)) is None


def test_few_runs_are_made() -> None:
    seen: list[Pair] = []

    def run(pair: Pair) -> Row:
        seen.append(pair)
        return row(violations=0.0, hours=1.0)

    best_pair(run)
    assert len(seen) <= 6 * len(LIMITS)
    assert len(set(seen)) == len(seen)


def test_a_pair_that_does_not_hold_elsewhere_gives_way_to_the_next_cheapest() -> None:
    def run(pair: Pair) -> Row:
        return row(violations=0.0 if pair.level <= pair.limit * 0.9 else 2.0, hours=100 / pair.level)

    assert best_pair(run, (20, 40)) == Pair(40, 36)
    assert best_pair(run, (20, 40), holds=lambda pair: pair.level <= 30) == Pair(40, 30)
    assert best_pair(run, (20, 40), holds=lambda pair: pair.limit == 20) == Pair(20, 18)
    assert best_pair(run, (20, 40), holds=lambda _: False) is None
