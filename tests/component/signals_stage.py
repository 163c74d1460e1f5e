"""Exact series of the past for tests of signals, as OpenMetrics text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from agentscaler.core.observation import SignalName
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.collector import Collector
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.servers import Server

NOW: Final = 1_790_000_000.0
"""Evaluation time of all staged tests."""
STEP_SECONDS: Final = 5
PAST_SECONDS: Final = 1_200

QUEUE_WAIT_RATES: Final = {0.1: 0.5, 1.0: 0.8, 10.0: 0.98, 60.0: 1.0}
"""Share of waits at or below each bound."""
DURATION_RATES: Final = {1.0: 0.2, 10.0: 0.6, 30.0: 0.9, 60.0: 1.0}


class Stage:
    """Collects series; `text` is what `Prometheus.backfill` takes."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self._lines: list[str] = []

    def series(
        self,
        name: str,
        labels: Mapping[str, str],
        value: Callable[[float], float | None],
        *,
        last: float = 0.0,
        first: float = PAST_SECONDS,
    ) -> None:
        """A series whose value is a function of the seconds since its start.

        Args:
            name: Of the metric.
            labels: Of the series.
            value: None is no sample.
            last: It ends so many seconds before now,
            first: and starts so many seconds before now.
        """
        text = ",".join(f'{label}="{content}"' for label, content in labels.items())
        start = self.now - first
        for offset in range(0, int(first) - int(last) + 1, STEP_SECONDS):
            number = value(offset)
            if number is not None:
                self._lines.append(f"{name}{{{text}}} {number!r} {start + offset}")

    def gauge(
        self, name: str, value: float, labels: Mapping[str, str], last: float = 0.0, first: float = PAST_SECONDS
    ) -> None:
        self.series(name, labels, lambda _: float(value), last=last, first=first)

    def counter(
        self, name: str, rate: float, labels: Mapping[str, str], last: float = 0.0, first: float = PAST_SECONDS
    ) -> None:
        self.series(name, labels, lambda offset: rate * offset, last=last, first=first)

    def histogram(
        self,
        name: str,
        rate: float,
        shares: Mapping[float, float],
        mean: float,
        labels: Mapping[str, str],
        *,
        last: float = 0.0,
        first: float = PAST_SECONDS,
    ) -> None:
        """`rate` observations a second, distributed as `shares` says (what is missing to 1 lies above)."""
        for bound, share in shares.items():
            self.counter(f"{name}_bucket", rate * share, {**labels, "le": f"{bound:g}"}, last, first)
        self.counter(f"{name}_bucket", rate, {**labels, "le": "+Inf"}, last, first)
        self.counter(f"{name}_count", rate, labels, last, first)
        self.counter(f"{name}_sum", rate * mean, labels, last, first)

    def agent(
        self,
        pod: str,
        namespace: str = "agents",
        *,
        rate: float = 2.0,
        errors: float = 0.1,
        in_flight: float = 6.0,
        up: float = 1.0,
        last: float = 0.0,
        first: float = PAST_SECONDS,
        job: str = "agents",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Everything that the contract asks of one pod, with constant rates.

        Args:
            pod: Its name.
            namespace: Its namespace.
            rate: Runs that end, 1/s.
            errors: Share of failed ones.
            in_flight: Runs.
            up: Whether the scrape succeeds.
            last: Seconds before now at which its series end (`up` too).
            first: Seconds before now at which they start.
            job: Scrape job.
            extra: Further labels.
        """
        at = {"namespace": namespace, "pod": pod, "job": job, "instance": f"{job}-{pod}", **(extra or {})}

        def counter(name: str, value: float, **labels: str) -> None:
            self.counter(name, value, {**at, **labels}, last, first)

        def gauge(name: str, value: float) -> None:
            self.gauge(name, value, at, last, first)

        self.gauge("up", up, at, last, first)
        counter("agent_requests_total", rate * (1 - errors), status="success")
        counter("agent_requests_total", rate * errors, status="error")
        for status, share in (("success", 1 - errors), ("error", errors)):
            self.histogram(
                "agent_request_duration_seconds",
                rate * share,
                DURATION_RATES,
                12.0,
                {**at, "status": status},
                last=last,
                first=first,
            )
        self.histogram("agent_queue_wait_seconds", rate, QUEUE_WAIT_RATES, 2.0, at, last=last, first=first)
        gauge("agent_inflight_requests", in_flight)
        gauge("agent_queue_depth", 3)
        gauge("agent_worker_limit", 8)
        gauge("agent_cache_bytes", 1000)
        gauge("agent_breaker_state", 0)
        gauge("agent_tuning_applied_generation", 7)
        gauge("process_resident_memory_bytes", 5e8)
        counter("process_cpu_seconds_total", 0.25)
        for reason, value in (("queue_full", 0.1), ("memory", 0.2), ("breaker", 0.4), ("draining", 0.8)):
            counter("agent_rejected_total", value, reason=reason)
        for kind, value in (("429", 0.01), ("5xx", 0.02), ("timeout", 0.03)):
            counter("agent_upstream_errors_total", value, kind=kind)
        counter("agent_upstream_calls_total", 3.94, outcome="success")
        counter("agent_upstream_calls_total", 0.06, outcome="failure")
        for name, value in (("hits", 3.0), ("misses", 1.0), ("evictions", 0.5), ("expired", 0.25)):
            counter(f"agent_cache_{name}_total", value)

    @property
    def text(self) -> str:
        return "\n".join([*self._lines, "# EOF", ""])


def server(url: str, **fields: object) -> Server:
    return Server(**{"name": "main", "url": url, "scrape_interval_seconds": STEP_SECONDS, **fields})  # type: ignore[arg-type]  # fields of the test's choice


def request(workload: str = "researcher", namespace: str = "agents", **fields: object) -> SignalRequest:
    values: dict[str, object] = {
        "uid": f"{namespace}/{workload}",
        "namespace": namespace,
        "workload": workload,
        "server": "main",
        "preset": "generic",
        "queue_wait_quantile": 0.99,
        "queue_wait_target_seconds": 10.0,
        "latency_quantile": 0.95,
        "required": frozenset({SignalName.IN_FLIGHT, SignalName.QUEUE_WAIT}),
        **fields,
    }
    return SignalRequest(**values)  # type: ignore[arg-type]  # fields of the test's choice


def collector(url: str, **fields: object) -> Collector:
    return Collector({"main": server(url, **fields)}, PRESETS)
