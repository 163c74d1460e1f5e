"""What a framework preset says: which metric carries which signal, and the policy that holds by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agentscaler.core.policy import Policy
from agentscaler.frameworks.adapter import Adapter


class MetricKind(StrEnum):
    """How a metric is read."""

    HISTOGRAM = "Histogram"  # classic `_bucket/_sum/_count` or native, found out by itself
    COUNTER = "Counter"
    GAUGE = "Gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the agent.

    `matchers` are exact label values; a value that starts with `~` is a regular expression.
    """

    name: str
    kind: MetricKind
    matchers: tuple[tuple[str, str], ...] = ()
    scale: float = 1.0
    """Factor to the signal's unit, 0.001 for milliseconds."""


def counter(name: str, *matchers: tuple[str, str]) -> Metric:
    """A counter, in the signal's unit."""
    return Metric(name, MetricKind.COUNTER, matchers)


def gauge(name: str, *matchers: tuple[str, str], scale: float = 1.0) -> Metric:
    """A gauge."""
    return Metric(name, MetricKind.GAUGE, matchers, scale)


def histogram(name: str, *matchers: tuple[str, str], scale: float = 1.0) -> Metric:
    """A histogram, classic or native."""
    return Metric(name, MetricKind.HISTOGRAM, matchers, scale)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Which metric carries what. None: the framework does not export it, and the signal is never available."""

    requests: Metric | None
    """Runs that ended: a counter, a histogram's count, or a gauge of runs per second."""
    failed_requests: Metric | None
    duration: Metric | None
    successful_duration: Metric | None
    queue_wait: Metric | None
    in_flight: Metric | None
    queue_depth: Metric | None
    rejected_by_breaker: Metric | None
    rejected: Metric | None
    worker_limit: Metric | None
    cache_bytes: Metric | None
    cache_hits: Metric | None
    cache_misses: Metric | None
    cache_evictions: Metric | None
    cache_expired: Metric | None
    breaker_state: Metric | None
    upstream_429: Metric | None
    upstream_5xx: Metric | None
    upstream_timeout: Metric | None
    upstream_calls: Metric | None
    applied_generation: Metric | None
    memory: tuple[Metric, ...] = ()
    """First that exists for a pod wins: the container's working set, then the process's resident memory."""
    cpu: tuple[Metric, ...] = ()
    successful_requests: Metric | None = None
    """Stands in where failed runs are not counted: what did not succeed has failed."""
    success_ratio: Metric | None = None
    """Gauge of the share of runs that succeeded, where nothing is counted."""
    mean_duration: Metric | None = None
    """Gauge of the mean duration of a run, where there is no histogram. Nothing tells its quantiles."""
    cache_entries: Metric | None = None
    otherwise: Metrics | None = None
    """Other names for the same: they count for an object that has no series of the ones above, signal by signal."""
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Signals that the framework's own metrics cannot tell, by name, and why or what would."""

    @property
    def chain(self) -> tuple[Metrics, ...]:
        """These names, and the other ones in the order in which they count."""
        return (self, *(self.otherwise.chain if self.otherwise is not None else ()))


@dataclass(frozen=True, slots=True)
class Preset:
    """A framework as data."""

    name: str
    metrics: Metrics
    defaults: Policy = field(default_factory=Policy)
    adapter: Adapter | None = None
    """The framework's own settings file; None: it has none, and reads `tuning.json` alone."""
    title: str = ""
    """Name and language, as people write them."""
    remark: str = ""
    """What a person should know of its metrics."""
