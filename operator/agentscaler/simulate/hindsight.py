"""The best fixed pair: the worker limit and the HPA target that somebody would have set who knew the load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
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


def best_pair(
    run: Callable[[Pair], Row],
    limits: tuple[int, ...] = LIMITS,
    *,
    holds: Callable[[Pair], bool] = lambda _: True,
) -> Pair | None:
    """The cheapest pair that keeps the gate; None where there is none: a cheaper one that breaks it is no measure.

    For each limit the busiest level within the gate is found by bisection: more work in a pod costs less and breaks
    more. A pair that does not hold elsewhere gives way to a less busy one.

    Args:
        run: plays the HPA with that pair on the load in question.
        limits: that are tried.
        holds: whether a pair found on that load keeps the gate on the other draws of it, too.
    """
    found = [each for limit in limits if (each := _busiest(run, limit)) is not None]
    heapify(found)
    while found:
        _, limit, level = heappop(found)
        if holds(Pair(limit, level)):
            return Pair(limit, level)
        if level > LEAST_LEVEL:
            heappush(found, (run(Pair(limit, level - 1)).replica_hours, limit, level - 1))
    return None


def _busiest(run: Callable[[Pair], Row], limit: int) -> tuple[float, int, int] | None:
    """Replica-hours, limit and level of the busiest level within the gate."""
    low, high, hours = LEAST_LEVEL - 1, limit + 1, 0.0
    while high - low > 1:
        level = (low + high) // 2
        row = run(Pair(limit, level))
        if _keeps(row):
            low, hours = level, row.replica_hours
        else:
            high = level
    return (hours, limit, low) if low >= LEAST_LEVEL else None


def _keeps(row: Row) -> bool:
    return row.violation_percent <= GATE_PERCENT
