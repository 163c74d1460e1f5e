"""What is read about once a minute, distributions and saturation: each namespace at its own time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from agentscaler.signals import distribution
from agentscaler.signals.plan import Query

SLOW_SECONDS: Final = 60
"""Pace of slow queries."""
SOON_SECONDS: Final = 10
"""The same while no object has a distribution yet."""
FORGOTTEN_SECONDS: Final = 300
"""Age from which slow results are no longer used."""

Key = tuple[str, str]
"""(namespace, name of the Deployment)"""


@dataclass(slots=True)
class Slow:
    """One answer to one slow query."""

    at: float
    """Monotonic seconds."""
    rows: dict[Key, dict[str, float]] = field(default_factory=dict)
    buckets: dict[Key, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Read:
    result: Slow
    again_at: float


class SlowResults:
    """The last answer to each slow query, by namespace.

    Namespaces have times of their own, so that what is read once a minute does not all fall into one tick. Results of
    queries that this tick does not ask, for objects that are due at other ticks, stay until they are too old.
    """

    def __init__(self) -> None:
        self._reads: dict[Query, dict[str, _Read]] = {}

    def due(
        self, queries: Sequence[Query], namespaces: Mapping[int, Collection[str]], clock: float
    ) -> list[tuple[Query, frozenset[str]]]:
        """What has to be read again, the oldest first.

        Args:
            queries: The slow queries of the plan.
            namespaces: Of the objects of this tick, by scope.
            clock: Monotonic seconds.
        """
        self._forget(clock)
        found: list[tuple[float, Query, frozenset[str]]] = []
        for query in queries:
            reads = self._reads.get(query, {})
            due = {
                namespace: read.result.at if read is not None else float("-inf")
                for namespace in namespaces.get(query.scope, ())
                if (read := reads.get(namespace)) is None or clock >= read.again_at
            }
            if due:
                found.append((min(due.values()), query, frozenset(due)))
        return [(query, due) for _, query, due in sorted(found, key=lambda each: each[0])]

    def take(self, query: Query, namespaces: Collection[str], result: Slow) -> None:
        """Keep an answer that covers some namespaces."""
        reads = self._reads.setdefault(query, {})
        known = bool(result.buckets) or any(read.result.buckets for read in reads.values())
        for namespace in namespaces:
            soon = distribution.ROW in query.rows and not known
            again_at = result.at + SOON_SECONDS if soon else _next(query, namespace, result.at)
            reads[namespace] = _Read(result, again_at)

    def rows(self, queries: Sequence[Query], scope: int, key: Key) -> dict[str, float]:
        """All slow rows of one object."""
        rows: dict[str, float] = {}
        for result in self._of(queries, scope, key):
            rows |= result.rows.get(key, {})
        return rows

    def buckets(self, queries: Sequence[Query], scope: int, key: Key) -> tuple[tuple[float, float], ...]:
        """The distribution of one object; empty where it is not known."""
        return next((found for result in self._of(queries, scope, key) if (found := result.buckets.get(key))), ())

    def _of(self, queries: Sequence[Query], scope: int, key: Key) -> list[Slow]:
        reads = (self._reads.get(query, {}).get(key[0]) for query in queries if query.scope == scope)
        return [read.result for read in reads if read is not None]

    def _forget(self, clock: float) -> None:
        for query, reads in list(self._reads.items()):
            for namespace in [name for name, read in reads.items() if clock - read.result.at >= FORGOTTEN_SECONDS]:
                del reads[namespace]
            if not reads:
                del self._reads[query]


def _next(query: Query, namespace: str, at: float) -> float:
    """The next time on the grid of this query and namespace, at least half a pace away."""
    phase = crc32("\n".join((namespace, *sorted(query.rows))).encode()) % SLOW_SECONDS
    return at + SLOW_SECONDS / 2 + (phase - at - SLOW_SECONDS / 2) % SLOW_SECONDS
