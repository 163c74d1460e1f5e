"""What a framework preset says: which metric carries which signal, and the policy that holds by default."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from agentscaler.core.policy import Policy


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


@dataclass(frozen=True, slots=True)
class Metrics:
    """Which metric carries what. None: the framework does not export it, and the signal is never available."""

    requests: Metric | None
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


@dataclass(frozen=True, slots=True)
class Preset:
    """A framework as data."""

    name: str
    metrics: Metrics
    defaults: Policy = field(default_factory=Policy)
