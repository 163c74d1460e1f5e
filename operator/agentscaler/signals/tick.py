"""The answers of one tick, sorted to their objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from agentscaler.core.observation import Observation
from agentscaler.frameworks.preset import Metrics
from agentscaler.signals import distribution, health
from agentscaler.signals.errors import Garbage, QueryError
from agentscaler.signals.plan import Plan, Query
from agentscaler.signals.prometheus import Answer
from agentscaler.signals.promql import OBJECT, SIGNAL
from agentscaler.signals.readings import Reading, readings_of
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.slow import Key, Slow, SlowResults

MALFORMED: Final = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading a row of an unknown form raises."""

Rows = dict[Key, dict[str, float]]


class Tick:
    """The answers of one tick for one plan."""

    def __init__(self, made: Plan, requests: Sequence[SignalRequest]) -> None:
        self.plan = made
        self.requests = requests
        self.rows: dict[int, Rows] = {0: {}}
        for own in made.own.values():
            self.rows[own.scope] = {}
        for request in requests:
            key = (request.namespace, request.workload)
            self.rows[0][key] = {}
            if request.overrides:
                self.rows[made.own[request.overrides].scope][key] = {}
        self.failed: dict[tuple[int, str], QueryError] = {}
        self.partial: dict[tuple[int, str], str] = {}

    def take(self, query: Query, answer: Answer | QueryError) -> None:
        """Sort the rows of one answer to their objects."""
        if isinstance(answer, QueryError):
            self.failed.update(dict.fromkeys(((query.scope, row) for row in query.rows), answer))
            return
        if answer.partial:
            self.partial.update(dict.fromkeys(((query.scope, row) for row in query.rows), answer.partial))
        scope, namespace = self.rows[query.scope], self.plan.dialect.server.namespace_label
        try:
            for row in answer.result:
                labels = row["metric"]
                rows = scope.get((labels.get(namespace), labels.get(OBJECT)))
                if rows is not None:
                    rows[labels[SIGNAL]] = float(row["value"][1])
        except MALFORMED:
            garbage = Garbage("the answer has rows of an unknown form")
            self.failed.update(dict.fromkeys(((query.scope, row) for row in query.rows), garbage))

    def parse_slow(self, answer: Answer, at: float) -> Slow:
        """Buckets and saturation; empty when the rows are of an unknown form."""
        try:
            return self._parse_slow(answer, at)
        except MALFORMED:
            return Slow(at)

    def _parse_slow(self, answer: Answer, at: float) -> Slow:
        namespace = self.plan.dialect.server.namespace_label
        result = Slow(at)
        result.buckets = distribution.parse(answer.result, namespace)
        for row in answer.result:
            labels = row["metric"]
            if labels[SIGNAL] != distribution.ROW:
                key = (labels.get(namespace, ""), labels.get(OBJECT, ""))
                result.rows.setdefault(key, {})[labels[SIGNAL]] = float(row["value"][1])
        return result

    def observations(self, slow: SlowResults, now: float) -> dict[str, Observation]:
        """Judge every object."""
        server = self.plan.dialect.server
        limits = health.Limits(server.stale_after_seconds, server.memory_stale_after_seconds)
        asked = frozenset(row for query in self.plan.quick if query.scope == 0 for row in query.rows)
        shared: dict[Any, tuple[Reading, ...]] = {}
        result: dict[str, Observation] = {}
        for request in self.requests:
            terms = (
                request.window_seconds,
                request.queue_wait_quantile,
                request.queue_wait_target_seconds,
                request.latency_quantile,
                request.latency_target_seconds,
                request.overrides,
                request.external_template,
                request.external_parameters,
            )
            readings = shared.get(terms)
            if readings is None:
                readings = shared[terms] = readings_of(self.plan, request, asked, self._error_of, self._partial_of)
            key = (request.namespace, request.workload)
            own = self.plan.own[request.overrides] if request.overrides else None
            scope = own.scope if own else 0
            empty: dict[str, float] = {}
            queries = self.plan.slow
            metrics = own.metrics if own else self.plan.preset
            duration_scope = scope if own and "buckets" in own.sources else 0
            buckets = _in_seconds(slow.buckets(queries, duration_scope, key), metrics)
            view = health.View(
                now,
                limits,
                (self.rows[0][key], self.rows[scope][key] if own else empty),
                (slow.rows(queries, 0, key), slow.rows(queries, scope, key) if own else empty),
                (self._blind(0), self._blind(scope) if own else ""),
                "newest" in asked,
                tuple(bound for bound, _ in buckets) if _same_buckets(metrics) else (),
                own.error if own else None,
            )
            result[request.uid] = health.observe(
                view, readings, request.required, buckets, server.name, unavailable=self.plan.preset.unavailable
            )
        return result

    def _error_of(self, scope: int, row: str) -> QueryError | None:
        return self.failed.get((scope, row))

    def _partial_of(self, scope: int, row: str) -> str:
        return self.partial.get((scope, row), "")

    def _blind(self, scope: int) -> str:
        rows = ("newest",) if scope == 0 else tuple(row for s, row in self.failed if s == scope and "newest:" in row)
        error = next((self.failed[scope, row] for row in rows if (scope, row) in self.failed), None)
        return f"the age of the samples is not known: {error}" if error else ""


def _same_buckets(metrics: Metrics) -> bool:
    """Whether durations and latency are one histogram, so that the bounds of the one are those of the other."""
    duration, latency = metrics.duration, metrics.successful_duration
    return duration is not None and latency is not None and duration.name == latency.name


def _in_seconds(buckets: distribution.Shares, metrics: Metrics) -> distribution.Shares:
    scale = metrics.duration.scale if metrics.duration is not None else 1.0
    return buckets if scale == 1.0 else tuple((bound * scale, share) for bound, share in buckets)
