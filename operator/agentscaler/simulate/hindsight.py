"""The best fixed pair: the worker limit and the HPA target that somebody would have set who knew the load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agentscaler.simulate.score import Row

LIMITS: Final = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
LEAST_LEVEL: Final = 4
GATE_PERCENT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Workers of a pod, and how many of them the HPA keeps busy."""

    limit: int
    level: int

    @property
    def target(self) -> float:
        """As a share of the limit."""
        return self.level / self.limit


def best_pair(run: Callable[[Pair], Row], limits: tuple[int, ...] = LIMITS) -> Pair | None:
    """The cheapest pair that keeps the gate; None where there is none: a cheaper one that breaks it is no measure.

    For each limit the busiest level within the gate is found by bisection: more work in a pod costs less and breaks
    more.

    Args:
        run: plays the HPA with that pair on the load in question.
        limits: that are tried.
    """
    tried = [found for limit in limits for found in _levels(run, limit)]
    kept = [(row.replica_hours, number) for number, (_, row) in enumerate(tried) if _keeps(row)]
    return tried[min(kept)[1]][0] if kept else None


def _levels(run: Callable[[Pair], Row], limit: int) -> list[tuple[Pair, Row]]:
    low, high, tried = LEAST_LEVEL - 1, limit + 1, []
    while high - low > 1:
        pair = Pair(limit, (low + high) // 2)
        row = run(pair)
        tried.append((pair, row))
        if _keeps(row):
            low = pair.level
        else:
            high = pair.level
    return tried


def _keeps(row: Row) -> bool:
    return row.violation_percent <= GATE_PERCENT
