"""The operator's own metrics. No object's name is a label, except where the administrator asks for it."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily

from agentscaler import __version__
from agentscaler.core.observation import Observation
from agentscaler.core.settings import Settings

_TICK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """All metrics of one operator, in a registry of their own.

    Attributes:
        ticked_at: Monotonic time at which the last tick ended; None before the first.
    """

    def __init__(self, *, object_metrics: bool = False) -> None:
        """Start at zero.

        Args:
            object_metrics: Whether there are gauges for each object.
        """
        self.registry = CollectorRegistry()
        self.ticked_at: float | None = None
        self._object_metrics = object_metrics
        for process_wide in (ProcessCollector, PlatformCollector, GCCollector):
            process_wide(registry=self.registry)
        build = Gauge("agentscaler_build_info", "1, with the version.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._tick_seconds = Histogram(
            "agentscaler_tick_duration_seconds",
            "Time from the start of a tick to the end of its last write.",
            buckets=_TICK_BUCKETS,
            registry=self.registry,
        )
        self._leader = self._gauge("leader", "1 while this process acts, 0 while it stands by for another one.")
        self._ticked_at = self._gauge("last_tick_timestamp_seconds", "Unix time at which the last tick ended.")
        self._skipped = self._counter("ticks_skipped_total", "Ticks left out because the one before was not done.")
        self._resynced_at = self._gauge("last_resync_timestamp_seconds", "Unix time of the last LIST of everything.")
        self._ghosts = self._counter("resync_ghosts_total", "Objects found to be gone without an event.")
        self._objects = self._gauge("objects", "AgentDeployments, by whether their spec parses.", "state")
        self._decisions = self._counter("decisions_total", "Decisions, by the reason that weighed most.", "reason")
        self._failures = self._counter("object_failures_total", "Ticks that failed for one object.")
        self._writes = self._counter("writes_total", "Writes to the API server.", "kind", "outcome")
        self._conflicts = self._gauge("conflicts", "Objects whose target somebody else drives.", "reason")
        self._signals = self._gauge("signals", "Signals of all objects, by health.", "signal", "health")
        self._queries = self._counter("prometheus_queries_total", "Queries sent to Prometheus servers.")
        self._query_failures = self._counter("prometheus_query_failures_total", "Queries that failed.")
        self._query_seconds = Histogram(
            "agentscaler_prometheus_collect_duration_seconds",
            "Time to collect the signals of one tick.",
            buckets=_TICK_BUCKETS,
            registry=self.registry,
        )
        self._knobs = self._gauge("object_knob", "Value in force of one object.", "namespace", "name", "knob")

    def ticked(self, seconds: float) -> None:
        """A tick has ended.

        Args:
            seconds: How long it took.
        """
        self._tick_seconds.observe(seconds)
        self._ticked_at.set_to_current_time()
        self.ticked_at = time.monotonic()

    def leads(self, *, is_leader: bool) -> None:
        """This process begins or ceases to act; one that stands by says nothing of objects and is owed no tick.

        Args:
            is_leader: Whether it acts.
        """
        self._leader.set(is_leader)
        self.ticked_at = None
        if not is_leader:
            for gauge in (self._objects, self._conflicts, self._signals, self._knobs):
                gauge.clear()

    def skipped(self) -> None:
        """A tick was left out because the one before was not done."""
        self._skipped.inc()

    def resynced(self, ghosts: int) -> None:
        """The store was compared with a LIST.

        Args:
            ghosts: How many objects were gone without an event.
        """
        self._resynced_at.set_to_current_time()
        self._ghosts.inc(ghosts)

    def counted(self, *, valid: int, invalid: int) -> None:
        """How many objects there are.

        Args:
            valid: Those whose spec parses.
            invalid: The others.
        """
        self._objects.labels("valid").set(valid)
        self._objects.labels("invalid").set(invalid)

    def decided(self, reason: str) -> None:
        """One decision was made for the reason."""
        self._decisions.labels(reason).inc()

    def failed(self) -> None:
        """Something unforeseen went wrong for one object."""
        self._failures.inc()

    def wrote(self, kind: str, outcome: str) -> None:
        """One write.

        Args:
            kind: `scale`, `configmap`, `deployment`, `touch`, `status`, `event`, ...
            outcome: `ok`, or the name of the `KubeError`.
        """
        self._writes.labels(kind, outcome).inc()

    def conflicting(self, by_reason: Mapping[str, int]) -> None:
        """How many objects are in conflict now, by reason."""
        self._conflicts.clear()
        for reason, count in by_reason.items():
            self._conflicts.labels(reason).set(count)

    def observed(self, observations: Iterable[Observation]) -> None:
        """The health of all signals of all objects with pods as last seen."""
        tally = Tally((name, signal.health) for seen in observations for name, signal in seen.signals.items())
        self._signals.clear()
        for (name, health), count in tally.items():
            self._signals.labels(name, health).set(count)

    def collected(self, queries: int, failures: int, seconds: float) -> None:
        """The signals of one tick were collected.

        Args:
            queries: HTTP queries sent.
            failures: How many of them failed.
            seconds: How long it took.
        """
        self._queries.inc(queries)
        self._query_failures.inc(failures)
        self._query_seconds.observe(seconds)

    def in_force(self, namespace: str, name: str, settings: Settings) -> None:
        """The knobs of one object; nothing happens unless the administrator asked for gauges for each object."""
        if not self._object_metrics:
            return
        for knob, value in _knobs(settings):
            self._knobs.labels(namespace, name, knob).set(value)

    def forget(self, namespace: str, name: str) -> None:
        """An object is gone."""
        if self._object_metrics:
            self._knobs.remove_by_labels({"namespace": namespace, "name": name})

    def follow_requests(self, requests: Mapping[tuple[str, str], int], failures: Mapping[str, int]) -> None:
        """Export the API server's counters whenever /metrics is read.

        Args:
            requests: By (verb, resource); the live mapping.
            failures: By error; the live mapping.
        """
        self.registry.register(_Requests(requests, failures))

    def text(self) -> bytes:
        """What /metrics answers, in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"agentscaler_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"agentscaler_{name}", text, labels, registry=self.registry)


class _Requests:
    """Counters that `KubeApi` keeps, read when asked for."""

    def __init__(self, requests: Mapping[tuple[str, str], int], failures: Mapping[str, int]) -> None:
        self._requests = requests
        self._failures = failures

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counters as they are now."""
        sent = CounterMetricFamily(
            "agentscaler_kube_requests", "Requests sent to the API server.", labels=["verb", "resource"]
        )
        for (verb, resource), count in list(self._requests.items()):
            sent.add_metric([verb, resource], count)
        failed = CounterMetricFamily(
            "agentscaler_kube_request_failures", "Requests that the API server did not fulfil.", labels=["error"]
        )
        for error, count in list(self._failures.items()):
            failed.add_metric([error], count)
        yield sent
        yield failed


def _knobs(settings: Settings) -> Iterator[tuple[str, float]]:
    breaker = settings.breaker
    values = {
        "replicas": settings.replicas,
        "workers": settings.workers,
        "cacheBytes": settings.cache.max_bytes,
        "cacheTtlSeconds": settings.cache.ttl_seconds,
        "failureRateThresholdPercent": breaker.failure_rate_threshold_percent,
        "waitDurationInOpenStateSeconds": breaker.wait_duration_in_open_state_seconds,
    }
    return ((knob, float(value)) for knob, value in values.items() if value is not None)
