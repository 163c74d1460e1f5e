"""The history of one object out of Prometheus, by the operator's own queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np

from agentscaler.cli.cluster import CliError
from agentscaler.core.observation import Observation, SignalName
from agentscaler.frameworks.preset import Metric
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals import distribution
from agentscaler.signals.errors import QueryError
from agentscaler.signals.history import Past
from agentscaler.signals.plan import Plan, plan
from agentscaler.signals.prometheus import Answer, PrometheusClient
from agentscaler.signals.promql import tagged
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.servers import Server
from agentscaler.simulate.backtest import History
from agentscaler.simulate.state import Floats

POINTS_IN_QUERY: Final = 10_000
"""Prometheus answers at most 11,000 for each series."""
DAY_SECONDS: Final = 86_400.0
_SIGNALS: Final = {
    "completed": SignalName.REQUEST_RATE_60,
    "in_flight": SignalName.IN_FLIGHT,
    "queued": SignalName.QUEUE_DEPTH,
    "refused": SignalName.REJECTED_RATE,
    "refused_by_breaker": SignalName.REJECTED_BREAKER_RATE,
    "service_seconds": SignalName.SERVICE_TIME,
    "workers": SignalName.WORKER_LIMIT,
    "pods": SignalName.PODS_REPORTING,
    "memory_mean_bytes": SignalName.MEMORY_MEAN_BYTES,
    "memory_max_bytes": SignalName.MEMORY_MAX_BYTES,
}


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when, Unix seconds, in whole steps."""

    start: float
    end: float
    step_seconds: int

    @property
    def steps(self) -> int:
        """How many."""
        return round((self.end - self.start) / self.step_seconds)


def period(server: Server, end: float, seconds: float) -> Period:
    """The period that ends at `end`; its step is the window of the rates, so that each event counts once."""
    step = server.window(60)
    last = end - end % step
    return Period(last - step * max(1, int(seconds // step)), last, step)


class Archive:
    """Asks one server for the history of one object.

    Args:
        server: Where.
        request: Which object, and how it is measured.

    Raises:
        CliError: The object's overrides cannot be asked.
    """

    def __init__(self, server: Server, request: SignalRequest) -> None:
        self._server, self._request = server, request
        self._plan: Plan = plan(server, PRESETS[request.preset].metrics, [request])
        own = self._plan.own.get(request.overrides)
        if own is not None and own.error is not None:
            raise CliError(str(own.error), exit_code=2)
        self._metrics = own.metrics if own is not None else self._plan.preset
        self.remarks: dict[str, None] = {}
        """What the server says of missing data, once each."""

    def parts(self, when: Period) -> int:
        """How many queries `read` sends."""
        return sum(len(past.queries) for past in self._pasts(when)) + 2 * len(self._moments(when))

    def read(self, when: Period, advance: Callable[[], None]) -> History:
        """The whole history.

        Args:
            when: Of it.
            advance: Is called after each query.

        Raises:
            CliError: The server does not answer.
        """
        client = PrometheusClient(self._server)
        try:
            observed = self._observed(client, when, advance)
            durations = self._shares(client, self._metrics.duration, when, advance)
            waits = self._shares(client, self._metrics.queue_wait, when, advance)
        except QueryError as error:
            raise CliError(
                f"{self._server.url}: {error}; if it is too slow or the answer too large, take a shorter --since"
            ) from error
        finally:
            client.close()
        exported = self._metrics.queue_depth is not None
        return History(
            name=f"{self._request.namespace}/{self._request.workload}",
            started_at=when.start,
            step_seconds=float(when.step_seconds),
            durations=durations,
            waits=waits,
            **{name: observed[name] for name in _SIGNALS if name != "queued"},
            queued=observed["queued"] if exported else None,
        )

    def _observed(self, client: PrometheusClient, when: Period, advance: Callable[[], None]) -> dict[str, Floats]:
        arrays = {name: np.full(when.steps, nan) for name in _SIGNALS}
        for past in self._pasts(when):
            for query in past.queries:
                answer = past.call(query)(client, self._server.timeout_seconds)
                self._remark(answer)
                past.take(query, answer)
                advance()
            for observation in past[self._request.uid]:
                self._fill(arrays, observation, when)
        return arrays

    def _fill(self, arrays: dict[str, Floats], observation: Observation, when: Period) -> None:
        step = round((observation.evaluated_at - when.start) / when.step_seconds) - 1
        for name, signal in _SIGNALS.items():
            value = observation.value(signal)
            if value is not None:
                arrays[name][step] = value

    def _pasts(self, when: Period) -> Iterator[Past]:
        """One for each part that a server answers at once; a step's values are those at its end."""
        length = POINTS_IN_QUERY * when.step_seconds
        first = when.start + when.step_seconds
        while first <= when.end:
            last = min(first + length - when.step_seconds, when.end)
            yield Past(self._plan, [self._request], start=first, end=last, step_seconds=when.step_seconds)
            first = last + when.step_seconds

    def _moments(self, when: Period) -> list[tuple[float, int]]:
        """(end, length in seconds) of the parts whose histograms are asked for: days, or one part that is shorter."""
        count = max(1, round((when.end - when.start) / DAY_SECONDS))
        length = int((when.end - when.start) / count)
        return [(when.end - index * length, length) for index in range(count)]

    def _shares(
        self, client: PrometheusClient, metric: Metric | None, when: Period, advance: Callable[[], None]
    ) -> distribution.Shares:
        """The distribution of a histogram; where its buckets changed, that of the newest ones."""
        found = []
        for end, length in self._moments(when):
            if metric is not None:
                classic, native = self._plan.dialect.buckets(metric, length)
                text = tagged(distribution.ROW, f"({classic} or {native})")
                answer = client.instant(
                    self._plan.dialect.narrowed(text, [self._request.namespace]), end, self._server.timeout_seconds
                )
                self._remark(answer)
                shares = distribution.parse(answer.result, self._server.namespace_label)
                key = (self._request.namespace, self._request.workload)
                found += [shares[key]] if key in shares else []
            advance()
        if metric is None or not found:
            return ()
        bounds = [bound for bound, _ in found[0]]
        alike = [each for each in found if [bound for bound, _ in each] == bounds]
        means = np.mean([[share for _, share in each] for each in alike], axis=0)
        return tuple((bound * metric.scale, float(share)) for bound, share in zip(bounds, means, strict=True))

    def _remark(self, answer: Answer) -> None:
        if answer.partial:
            self.remarks[answer.partial] = None
