"""The last minutes of every object by range queries: Prometheus is the memory that survives a restart."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.frameworks.preset import Metrics
from agentscaler.signals import templates
from agentscaler.signals.endpoint import Call
from agentscaler.signals.errors import QueryError
from agentscaler.signals.plan import Plan
from agentscaler.signals.prometheus import Answer
from agentscaler.signals.promql import OBJECT, SIGNAL, Dialect, union
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.templates import Item, Wanted
from agentscaler.signals.tick import MALFORMED

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


class History:
    """Range queries of one plan, from `start` to `end` (Unix seconds)."""

    def __init__(self, made: Plan, start: float, end: float, step_seconds: int) -> None:
        self._plan = made
        self._start, self._end, self._step = start, end, step_seconds
        scopes = [(0, _families(made.preset, made.dialect))]
        for own in made.own.values():
            if own.error is None:
                families = _families(own.metrics, made.dialect)
                chosen = [item for family in families for item in family if item.row in own.sources]
                scopes.append((own.scope, [chosen]))
        self._scopes: list[int] = []
        self.queries: list[str] = []
        for scope, families in scopes:
            for family in families:
                if family:
                    self._scopes.append(scope)
                    self.queries.append(union([item.tagged for item in family]))

    def call(self, text: str) -> Call:
        """How the endpoint sends one of `queries`."""
        return lambda client, timeout_seconds: client.range(text, self._start, self._end, self._step, timeout_seconds)

    def observations(
        self, requests: Sequence[SignalRequest], answers: Sequence[Answer | QueryError]
    ) -> dict[str, tuple[Observation, ...]]:
        """Observations by uid, oldest first."""
        samples: dict[int, dict[tuple[str, str], dict[SignalName, dict[float, float]]]] = {}
        namespace = self._plan.dialect.server.namespace_label
        wanted = {(request.namespace, request.workload) for request in requests}
        for scope, answer in zip(self._scopes, answers, strict=True):
            if isinstance(answer, QueryError) or answer.partial:
                continue  # what is missing here is unknown there, as in any tick
            for row in answer.result:
                try:
                    labels = row["metric"]
                    key = (labels.get(namespace, ""), labels.get(OBJECT, ""))
                    name = SignalName(labels[SIGNAL])
                    points = {float(at): float(value) for at, value in row["values"] if isfinite(float(value))}
                except MALFORMED:
                    continue
                if key in wanted:
                    samples.setdefault(scope, {}).setdefault(key, {})[name] = points
        return {request.uid: self._of(request, samples) for request in requests}

    def _of(
        self,
        request: SignalRequest,
        samples: dict[int, dict[tuple[str, str], dict[SignalName, dict[float, float]]]],
    ) -> tuple[Observation, ...]:
        key = (request.namespace, request.workload)
        signals = dict(samples.get(0, {}).get(key, {}))
        if request.overrides:
            own = self._plan.own[request.overrides]
            signals = {name: points for name, points in signals.items() if name not in own.sources}
            signals |= samples.get(own.scope, {}).get(key, {})
        times = sorted({at for points in signals.values() for at in points})
        in_flight = signals.get(SignalName.IN_FLIGHT)
        observations: list[Observation] = []
        for at in times:
            values: dict[SignalName, Signal] = {}
            for name, points in signals.items():
                # A rate outlives its series by its window: it counts only where the gauge was fresh.
                known = name in _MEMORY or in_flight is None or at in in_flight
                if known and at in points and points[at] >= 0:
                    values[name] = Signal(points[at], Health.FRESH, at)
            if values:
                observations.append(Observation(at, values))
        return tuple(observations)


def _families(m: Metrics, d: Dialect) -> list[list[Item]]:
    wanted = Wanted()
    rates = [*templates.rates(m, d, wanted), *templates.refusals(m, d, wanted), *templates.service(m, d, wanted)]
    return [
        _gauges(m, d),
        [item for item in rates if item.row in _RATES],
        [item for item in templates.memory(m, d, wanted) if item.row in _MEMORY],
    ]


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
