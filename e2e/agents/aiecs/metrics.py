"""What of the contract an agent on AIECS can know; AIECS itself counts `execute_*`.

Not here, since nobody knows it: bytes that the cache may hold (AIECS bounds its entries), evictions and expiries (it
does not tell), and a circuit breaker (there is none).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from e2e.agents.aiecs.workers import RefusedError, Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.agents.aiecs.framework import ToolExecutor
    from e2e.agents.aiecs.settings import Settings
    from e2e.agents.aiecs.upstream import Kind

BUCKETS_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.75, 3, 5, 10, 17.5, 30, 60, 120, 300, 600)


class Metrics:
    """In the default registry, where AIECS has its own; every series is there from the start."""

    def __init__(self, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._queue_wait = Histogram(
            "agent_queue_wait_seconds", "From arrival until the wait for a worker ended.", buckets=BUCKETS_SECONDS
        )
        self._rejected = Counter("agent_rejected", "Runs refused before they got a worker.", ["reason"])
        self._calls = Counter("agent_upstream_calls", "Upstream calls sent and ended.", ["outcome"])
        self._errors = Counter("agent_upstream_errors", "Upstream calls that failed.", ["kind"])
        for counter, values in (
            (self._rejected, ("queue_full", "memory", "breaker", "draining")),
            (self._calls, ("success", "failure")),
            (self._errors, ("429", "5xx", "timeout")),
        ):
            for value in values:
                counter.labels(value)
        _gauge("agent_tuning_applied_generation", "Generation of the settings in force; 0: none was applied.").set(
            settings.generation
        )
        Counter("agent_tuning_errors", "Settings files that could not be used.").inc(int(settings.broken))

    def follow(self, workers: Workers, contexts: ToolExecutor) -> None:
        """Reports the workers and the cache of an executor from now on."""
        _gauge("agent_worker_limit", "Workers in force.").set(workers.limit)
        _gauge("agent_inflight_requests", "Runs that have a worker now.").set_function(lambda: workers.running)
        _gauge("agent_queue_depth", "Runs that wait for a worker now.").set_function(lambda: workers.waiting)
        REGISTRY.register(_CacheCollector(contexts))

    async def admit(self, workers: Workers) -> float:
        """`Workers.acquire`, counted."""
        try:
            wait_seconds = await workers.acquire()
        except RefusedError as refusal:
            self._rejected.labels(refusal.reason).inc()
            raise
        self._queue_wait.observe(wait_seconds)
        return wait_seconds

    def call_ended(self, kind: Kind | None) -> None:
        """Counts an upstream call, by a thread of the executor."""
        self._calls.labels("success" if kind is None else "failure").inc()
        if kind is not None:
            self._errors.labels(kind).inc()


def _gauge(name: str, meaning: str) -> Gauge:
    return Gauge(name, meaning)


class _CacheCollector(Collector):
    """AIECS's own counts of hits and misses, and the sizes of what it holds."""

    def __init__(self, executor: ToolExecutor) -> None:
        self._executor = executor

    def collect(self) -> Iterator[Metric]:
        stats: dict[str, Any] = self._executor.cache_provider.get_stats()
        utils = self._executor.execution_utils
        with utils._cache_lock:  # AIECS tells the number of entries only
            held_bytes = sum(block.size_bytes for block in (utils._cache or {}).values())
        yield CounterMetricFamily("agent_cache_hits", "Lookups answered from the cache.", value=stats["hits"])
        yield CounterMetricFamily("agent_cache_misses", "Lookups that had to load.", value=stats["misses"])
        yield GaugeMetricFamily("agent_cache_bytes", "What the cache holds now.", value=held_bytes)
