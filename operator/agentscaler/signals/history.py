"""The last minutes of every object by range queries: Prometheus is the memory that survives a restart."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, nan
from typing import Final

from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.frameworks.preset import Metrics
from agentscaler.signals import templates
from agentscaler.signals.endpoint import Call
from agentscaler.signals.item import Item, along
from agentscaler.signals.plan import Plan, Query
from agentscaler.signals.prometheus import Answer
from agentscaler.signals.promql import OBJECT, SIGNAL, Dialect, union
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.slow import Key
from agentscaler.signals.templates import Wanted
from agentscaler.signals.tick import MALFORMED

ROWS_IN_QUERY: Final = 3
"""Few, since an answer holds a point for each step of each object."""
_RATES: Final = frozenset(
    {
        SignalName.REQUEST_RATE_60,
        SignalName.REQUEST_RATE_120,
        SignalName.REQUEST_RATE_300,
        SignalName.REQUEST_RATE_600,
        SignalName.REJECTED_BREAKER_RATE,
        SignalName.REJECTED_RATE,
        SignalName.SERVICE_TIME,
    }
)
_MEMORY: Final = frozenset({SignalName.MEMORY_MAX_BYTES, SignalName.MEMORY_MEAN_BYTES})


class Past(Mapping[str, tuple[Observation, ...]]):
    """Observations by uid, oldest first, made when they are asked for: those of all objects at once are large.

    Args:
        made: The plan that holds the requests.
        requests: The objects.
        start: First evaluation time, Unix seconds.
        end: Last one.
        step_seconds: Between two.
    """

    def __init__(
        self, made: Plan, requests: Sequence[SignalRequest], *, start: float, end: float, step_seconds: int
    ) -> None:
        self._plan = made
        self._requests = {request.uid: request for request in requests}
        self._keys = {(request.namespace, request.workload) for request in requests}
        self._start, self._end, self._step = start, end, step_seconds
        self._steps = int((end - start) // step_seconds) + 1
        self._samples: dict[tuple[int, Key], dict[SignalName, array[float]]] = {}
        self.queries = self._queries()

    def call(self, query: Query) -> Call:
        """How the endpoint sends one of `queries`."""
        text = self._plan.dialect.narrowed(query.promql, {namespace for namespace, _ in self._keys})
        return lambda client, timeout_seconds: client.range(text, self._start, self._end, self._step, timeout_seconds)

    def take(self, query: Query, answer: Answer) -> None:
        """Keep the samples of one answer. What is partial is unknown there, as in any tick."""
        if answer.partial:
            return
        namespace = self._plan.dialect.server.namespace_label
        for row in answer.result:
            try:
                labels = row["metric"]
                key = (labels.get(namespace, ""), labels.get(OBJECT, ""))
                if key in self._keys:
                    series = self._samples.setdefault((query.scope, key), {})
                    series[SignalName(labels[SIGNAL])] = self._points(row["values"])
            except MALFORMED:
                continue

    def __getitem__(self, uid: str) -> tuple[Observation, ...]:
        request = self._requests[uid]
        key = (request.namespace, request.workload)
        series = dict(self._samples.get((0, key), {}))
        if request.overrides:
            own = self._plan.own[request.overrides]
            series = {name: points for name, points in series.items() if name not in own.sources}
            series |= self._samples.get((own.scope, key), {})
        return tuple(self._observations(series))

    def __iter__(self) -> Iterator[str]:
        return iter(self._requests)

    def __len__(self) -> int:
        return len(self._requests)

    def _observations(self, series: Mapping[SignalName, array[float]]) -> Iterator[Observation]:
        in_flight = series.get(SignalName.IN_FLIGHT)
        for step in range(self._steps):
            at = self._start + step * self._step
            # A rate outlives its series by its window: it counts only where the gauge was fresh.
            fresh = in_flight is None or isfinite(in_flight[step])
            values = {
                name: Signal(points[step], Health.FRESH, at)
                for name, points in series.items()
                if (fresh or name in _MEMORY) and isfinite(points[step]) and points[step] >= 0
            }
            if values:
                yield Observation(at, values)

    def _points(self, values: Sequence[tuple[float, str]]) -> array[float]:
        points = array("d", [nan]) * self._steps
        for at, value in values:
            points[round((at - self._start) / self._step)] = float(value)
        return points

    def _queries(self) -> list[Query]:
        items = _items(self._plan.preset, self._plan.dialect)
        queries = [_query(0, items[first : first + ROWS_IN_QUERY]) for first in range(0, len(items), ROWS_IN_QUERY)]
        for own in self._plan.own.values():
            if own.error is None:
                chosen = [item for item in _items(own.metrics, self._plan.dialect) if own.sources.get(item.row)]
                queries += [_query(own.scope, chosen)] if chosen else []
        return queries


def _query(scope: int, items: Sequence[Item]) -> Query:
    return Query(scope, frozenset(item.row for item in items), union([item.tagged for item in items]))


def _items(m: Metrics, d: Dialect) -> list[Item]:
    wanted = Wanted()
    others = [
        *templates.rates(m, d, wanted),
        *templates.refusals(m, d, wanted),
        *templates.service(m, d, wanted),
        *templates.memory(m, d, wanted),
    ]
    return [*_gauges(m, d), *(item for item in others if item.row in _RATES | _MEMORY)]


@along
def _gauges(m: Metrics, d: Dialect) -> list[Item]:
    """Gauges where their sample was fresh at that time: an instant may otherwise look back for five minutes."""
    age = d.server.stale_after_seconds
    items: list[Item] = []
    if m.in_flight:
        pods, fields = d.per_pod(d.fresh(m.in_flight, age)), frozenset({"in_flight"})
        items += [
            Item(SignalName.IN_FLIGHT, fields, d.per_object("sum", pods)),
            Item(SignalName.IN_FLIGHT_MAX, fields, d.per_object("max", pods)),
            Item(SignalName.PODS_REPORTING, fields, d.per_object("count", pods)),
        ]
    if m.queue_depth:
        total = d.per_object("sum", d.per_pod(d.fresh(m.queue_depth, age)))
        items.append(Item(SignalName.QUEUE_DEPTH, frozenset({"queue_depth"}), total))
    if m.worker_limit:
        least = d.per_object("min", d.per_pod(d.fresh(m.worker_limit, age)))
        items.append(Item(SignalName.WORKER_LIMIT, frozenset({"worker_limit"}), least))
    return items
