"""How long a peak is remembered, and how often replicas may change."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from agentscaler.core.hold import (
    LEAST_HOLD_SECONDS,
    LONGEST_LEARNED_SECONDS,
    MOST_TOKENS,
    TOKENS_PER_SECOND,
    TURN_SECONDS,
)
from agentscaler.core.memory import Change
from agentscaler.core.policy import Mode, QuantileObjective, ReplicaPolicy, WorkerPolicy
from tests.flow import Flow
from tests.worlds import FLOOD, POLICY, START, TARGET, Loop

WIDE = replace(POLICY, replicas=ReplicaPolicy(min=1, max=60))
FIXED = replace(WIDE, workers=WorkerPolicy(Mode.OFF, min=4, max=4, initial=4))
"""No hot workers: what pods cannot hold waits."""


def of(runs: float) -> dict[str, Any]:
    """Steady work of runs of half a second."""
    rates = dict.fromkeys((f"request_rate_{window}" for window in (60, 120, 300, 600)), 2 * runs)
    return {"in_flight": runs, "in_flight_max": 4.0, **rates}


def changes(loop: Loop) -> int:
    sizes = [decision.settings.replicas for decision in loop.decisions]
    return sum(before != after for before, after in pairwise(sizes))


def recurring(gap_seconds: float, high: float) -> Flow:
    """A quarter of an hour of calm, then peaks of two minutes."""

    def arrivals(at: float) -> float:
        return high if at > 900 and (at - 900) % (120 + gap_seconds) < 120 else 2.0

    return Flow(arrivals, policy=FIXED)


def test_a_peak_that_came_back_and_hurt_is_held_longer() -> None:
    flow = recurring(240, 30.0)
    flow.run(3000)
    assert max(flow.waits) > 1.0, "or nothing hurt"
    assert flow.memory.learned.hold_seconds > LEAST_HOLD_SECONDS + 60


@pytest.mark.parametrize(("quantile", "longer"), [(0.995, True), (0.5, False)])
def test_a_peak_that_comes_back_late_is_held_for_long_only_where_more_are_late_than_was_promised(
    quantile: float, longer: bool
) -> None:
    flow = recurring(700, 30.0)
    promise = replace(FIXED.objectives, queue_wait=QuantileObjective(quantile, 5.0))
    flow.policy = replace(FIXED, objectives=promise)
    flow.run(6000)
    assert max(flow.waits) > 5.0
    assert (flow.memory.learned.hold_seconds > LONGEST_LEARNED_SECONDS) is longer


def test_what_is_ordered_on_top_of_a_burst_is_not_held_after_it() -> None:
    flow = recurring(3000, 30.0)
    flow.run(1050)
    ordered = max(decision.settings.replicas for decision in flow.decisions)
    assert 15 < max(need.value for need in flow.memory.needs) < 0.6 * ordered, "a burst of 60 runs on pods of 4"


def test_a_peak_that_came_back_and_did_not_hurt_is_held_no_longer() -> None:
    flow = recurring(240, 2.4)
    flow.run(3000)
    assert max(flow.waits[180:]) < 0.3
    assert flow.memory.learned.hold_seconds == LEAST_HOLD_SECONDS


def test_what_was_learned_of_peaks_fades() -> None:
    loop = Loop()
    loop.ticks(3)
    loop.memory = replace(loop.memory, learned=replace(loop.memory.learned, hold_seconds=400.0))
    loop.ticks(720)
    assert LEAST_HOLD_SECONDS < loop.memory.learned.hold_seconds < 400.0


def test_noise_changes_replicas_no_more_often_than_the_budget_of_an_hour() -> None:
    noise = random.Random(7)
    loop = Loop(WIDE, replace(TARGET, replicas=10, ready_replicas=10))
    loop.ticks(60, **of(30.0))
    loop.decisions.clear()
    for _ in range(720):
        loop.tick(**of(30.0 * noise.uniform(0.7, 1.3)))
    assert changes(loop) <= MOST_TOKENS + 3600 * TOKENS_PER_SECOND


@pytest.mark.parametrize(("runs_after", "stays"), [(30.0, True), (5.0, False)])
def test_soon_after_pods_came_only_more_than_half_may_go(runs_after: float, stays: bool) -> None:
    loop = Loop(FIXED, replace(TARGET, replicas=5, ready_replicas=5))
    loop.ticks(60, **of(15.0))
    loop.ticks(3, **of(45.0))
    grown = loop.target.replicas
    assert grown > 10
    loop.ticks(int((TURN_SECONDS - 20) / POLICY.interval_seconds), **of(runs_after))
    assert (loop.target.replicas == grown) is stays
    loop.ticks(60, **of(runs_after))
    assert loop.target.replicas < grown


@pytest.mark.parametrize(("more", "comes"), [(1.04, False), (1.4, True)])
def test_soon_after_pods_went_a_single_one_is_noise(more: float, comes: bool) -> None:
    loop = Loop(FIXED, replace(TARGET, replicas=24, ready_replicas=24))
    loop.memory = replace(loop.memory, changes=(Change(START, -6),), action_tokens=MOST_TOKENS)
    loop.ticks(3, **of(80.0 * more))
    assert (loop.target.replicas > 24) is comes
    loop.ticks(int(TURN_SECONDS / POLICY.interval_seconds), **of(80.0 * more))
    assert loop.target.replicas > 24


def test_a_surge_passes_at_once_although_no_change_is_left() -> None:
    loop = Loop(WIDE)
    loop.ticks(20)
    loop.memory = replace(loop.memory, action_tokens=0.0)
    before = loop.target.replicas
    assert loop.tick(**FLOOD).settings.replicas > before


def test_advice_that_nobody_follows_costs_no_change_and_stays() -> None:
    advised = replace(WIDE, replicas=replace(WIDE.replicas, mode=Mode.RECOMMEND, manual=12))
    loop = Loop(advised, replace(TARGET, replicas=12, ready_replicas=12))
    loop.ticks(240, **of(8.0))
    advice = [decision.recommended.replicas for decision in loop.decisions[-60:]]
    assert set(advice) == {advice[0]}
    assert advice[0] < 12
    assert loop.memory.action_tokens == MOST_TOKENS
    assert loop.memory.shrunk_from == ()
