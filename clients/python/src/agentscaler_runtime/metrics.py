"""The metrics of the contract (docs/contract.md)."""

from collections.abc import Iterable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.75, 3, 5, 10, 17.5, 30, 60, 120, 300, 600)


class Metrics:
    """One process's metrics, each series there from the start.

    Args:
        registry: Where they are registered; default: a new registry, which also gets the process metrics.

    Attributes:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry(auto_describe=True)
        with suppress(ValueError):  # the registry has one already, as prometheus_client's global one does
            ProcessCollector(registry=self.registry)
        self.requests = self._counter("agent_requests", "Runs that got a worker and ended.", "status")
        self.duration = Histogram(
            "agent_request_duration_seconds",
            "The whole run as its caller sees it, wait in the queue included.",
            ["status"],
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            "agent_queue_wait_seconds",
            "From arrival until the wait for a worker ended.",
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.inflight = self._gauge("agent_inflight_requests", "Runs that have a worker now.")
        self.queue_depth = self._gauge("agent_queue_depth", "Runs that wait for a worker now.")
        self.rejected = self._counter("agent_rejected", "Runs refused before they got a worker.", "reason")
        self.worker_limit = self._gauge("agent_worker_limit", "Workers in force.")
        self.cache_hits = self._counter("agent_cache_hits", "Lookups answered without a load of their own.")
        self.cache_misses = self._counter("agent_cache_misses", "Lookups that had to load.")
        self.cache_evictions = self._counter("agent_cache_evictions", "Entries dropped to keep within the size.")
        self.cache_expired = self._counter("agent_cache_expired", "Entries dropped because of their age.")
        self.cache_bytes = self._gauge("agent_cache_bytes", "What the cache holds now.")
        self.cache_limit_bytes = self._gauge("agent_cache_limit_bytes", "Cache size in force.")
        self.breaker_state = self._gauge("agent_breaker_state", "0 closed, 1 half-open, 2 open.")
        self.upstream_calls = self._counter("agent_upstream_calls", "Upstream calls sent and ended.", "outcome")
        self.upstream_errors = self._counter("agent_upstream_errors", "Upstream calls that failed.", "kind")
        self.applied_generation = self._gauge(
            "agent_tuning_applied_generation", "Generation of the settings in force; 0: no file applied yet."
        )
        self.tuning_errors = self._counter(
            "agent_tuning_errors", "Settings files that could not be read or broke the schema."
        )
        for status in ("success", "error"):
            self.requests.labels(status)
            self.duration.labels(status)
        for reason in ("queue_full", "memory", "breaker", "draining"):
            self.rejected.labels(reason)
        for outcome in ("success", "failure"):
            self.upstream_calls.labels(outcome)
        for kind in ("429", "5xx", "timeout"):
            self.upstream_errors.labels(kind)

    def render(self) -> bytes:
        """The body of a scrape, in the format that `CONTENT_TYPE` names."""
        return generate_latest(_WithoutCreated(self.registry))

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self.registry)


class _WithoutCreated(Collector):
    """A registry without the `_created` series, which the text format turns into many gauges of no use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            if metric.type != "gauge":  # a gauge may well be called so, say `tickets_created`
                metric.samples = [each for each in metric.samples if each.name != f"{metric.name}_created"]
            yield metric
