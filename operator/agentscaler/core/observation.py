"""What one tick saw of one object: each signal with its health, never a bare number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    """How far a signal can be trusted."""

    FRESH = "Fresh"
    """A finite value from a recent sample."""
    IDLE = "Idle"
    """No traffic, and the targets are up: there is nothing to measure, which is not the same as not knowing."""
    STALE = "Stale"
    """The newest sample is older than the freshness limit."""
    EMPTY = "Empty"
    """No series. Unknown: it may hold or raise capacity, never lower it."""
    INVALID = "Invalid"
    """NaN or Inf while there is traffic, or a value outside of what the signal can be."""
    PARTIAL = "Partial"
    """The server warned that data is missing, or truncated its answer, or some targets of the object are down."""
    ERROR = "Error"
    """The query failed."""


class SignalName(StrEnum):
    """Every signal. The value in status and records; units in the comment."""

    QUEUE_WAIT = "queueWait"  # seconds, at the objective's quantile, over the window
    LATE_RATIO = "lateRatio"  # 0..1 of started runs that had waited longer than the objective allows, over the window
    LATENCY = "latency"  # seconds, successful runs, at the objective's quantile, over the window
    ERROR_RATIO = "errorRatio"  # 0..1 of ended runs, over the window
    REQUEST_RATE_60 = "requestRate60"  # admitted runs that ended, 1/s, over 60 s
    REQUEST_RATE_120 = "requestRate120"
    REQUEST_RATE_300 = "requestRate300"
    REQUEST_RATE_600 = "requestRate600"
    REJECTED_BREAKER_RATE = "rejectedBreakerRate"  # refused because the breaker was open, 1/s, over 60 s
    REJECTED_RATE = "rejectedRate"  # refused for any other reason but draining, 1/s, over 60 s
    SERVICE_TIME = "serviceTime"  # seconds, mean of a run without its queue wait, over 600 s
    IN_FLIGHT = "inFlight"  # runs, all pods
    IN_FLIGHT_MAX = "inFlightMax"  # runs, fullest pod
    QUEUE_DEPTH = "queueDepth"  # waiting runs, all pods
    EXTERNAL_DEMAND = "externalDemand"  # what the administrator's template counts; only where the resource asks for it
    WORKER_LIMIT = "workerLimit"  # lowest limit that a pod reports
    CACHE_BYTES = "cacheBytes"  # largest pod
    CACHE_ENTRIES = "cacheEntries"  # largest pod; where a framework counts entries and not bytes
    CACHE_HIT_RATIO = "cacheHitRatio"  # 0..1 over 300 s
    CACHE_EVICTION_RATE = "cacheEvictionRate"  # 1/s over 300 s, all pods
    CACHE_EXPIRED_RATE = "cacheExpiredRate"  # 1/s over 300 s, all pods
    CACHE_MISS_RATE = "cacheMissRate"  # 1/s over 300 s, all pods
    BREAKER_STATE = "breakerState"  # highest of all pods: 0 closed, 1 half-open, 2 open
    UPSTREAM_429_RATE = "upstream429Rate"  # 1/s over 60 s, all pods
    UPSTREAM_5XX_RATE = "upstream5xxRate"
    UPSTREAM_TIMEOUT_RATE = "upstreamTimeoutRate"
    UPSTREAM_CALL_RATE = "upstreamCallRate"  # all upstream calls that ended, 1/s over 60 s
    MEMORY_MAX_BYTES = "memoryMaxBytes"  # working set of the worst pod
    MEMORY_MEAN_BYTES = "memoryMeanBytes"  # mean over pods
    CPU_CORES = "cpuCores"  # all pods, over 60 s
    APPLIED_GENERATION = "appliedGeneration"  # lowest settings generation that a pod reports
    PODS_REPORTING = "podsReporting"  # pods with an in-flight series
    TARGETS_UP = "targetsUp"  # scrape targets of the object with up = 1
    TARGETS = "targets"  # scrape targets of the object


@dataclass(frozen=True, slots=True)
class Signal:
    """One measured quantity of one object.

    `value` is None unless health is Fresh, Stale or Partial (the last two carry it for display only: rules go by
    `Observation.value`, which answers for trusted signals alone). `observed_at` is the Unix time of the newest sample.
    """

    value: float | None
    health: Health
    observed_at: float | None = None
    detail: str = ""


UNKNOWN = Signal(None, Health.EMPTY)


@dataclass(frozen=True, slots=True)
class Observation:
    """All signals of one object in one tick."""

    evaluated_at: float
    """The one evaluation time of all queries, Unix seconds."""
    signals: Mapping[SignalName, Signal] = field(default_factory=dict)
    service_buckets: tuple[tuple[float, float], ...] = ()
    """Run durations as (upper bound in seconds, share of runs at or below it), rising; empty when not known."""
    problems: tuple[tuple[str, str], ...] = ()
    """(reason, message) of what makes signals untrusted, for the condition MetricsAvailable; reasons are `Reason`s."""

    def signal(self, name: SignalName) -> Signal:
        """The signal, or an Empty one."""
        return self.signals.get(name, UNKNOWN)

    def value(self, name: SignalName) -> float | None:
        """The value if it can be trusted: that of a Fresh signal, 0.0 for an Idle one, else None."""
        # Asked a hundred times a decision: no call more than it takes.
        signal = self.signals.get(name)
        if signal is None:
            return None
        if signal.health is Health.FRESH:
            return signal.value
        return 0.0 if signal.health is Health.IDLE else None
