"""What one object wants to know in a tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agentscaler.api.signals import Signals
from agentscaler.core.observation import SignalName
from agentscaler.frameworks.preset import Metric, MetricKind

FIELDS: Final[Mapping[str, str]] = {
    "latency": "successful_duration",
    "duration": "duration",
    "queueWait": "queue_wait",
    "requests": "requests",
    "failedRequests": "failed_requests",
    "rejectedByBreaker": "rejected_by_breaker",
    "rejected": "rejected",
    "cacheHits": "cache_hits",
    "cacheMisses": "cache_misses",
    "cacheEvictions": "cache_evictions",
    "cacheExpired": "cache_expired",
    "upstream429": "upstream_429",
    "upstream5xx": "upstream_5xx",
    "upstreamTimeout": "upstream_timeout",
    "upstreamCalls": "upstream_calls",
    "cpu": "cpu",
    "inFlight": "in_flight",
    "queueDepth": "queue_depth",
    "workerLimit": "worker_limit",
    "cacheBytes": "cache_bytes",
    "breakerState": "breaker_state",
    "appliedGeneration": "applied_generation",
    "memory": "memory",
}
"""Name of an override in the resource -> field of `Metrics`."""


@dataclass(frozen=True, slots=True)
class Override:
    """A metric that replaces the preset's."""

    field: str
    """Field of `Metrics`; `memory` and `cpu` replace the whole list."""
    metric: Metric


@dataclass(frozen=True, slots=True)
class SignalRequest:
    """One object's signals: where they are, and how they are measured."""

    uid: str
    namespace: str
    workload: str
    """Name of the Deployment; its pods' names, or the label `agent_deployment`, lead to it."""
    server: str
    preset: str
    window_seconds: int = 120
    """Of quantiles and ratios: 60, 120, 300 or 600."""
    queue_wait_quantile: float | None = None
    queue_wait_target_seconds: float | None = None
    """With it the share of runs that waited longer is asked for as well."""
    latency_quantile: float | None = None
    """None: no objective, so the signal is not asked for."""
    latency_target_seconds: float | None = None
    """With it a saturated histogram that ends below the objective is Invalid and not merely a lower bound."""
    overrides: tuple[Override, ...] = ()
    external_template: str = ""
    """Demand template of the server; empty: there is no external demand."""
    external_parameters: tuple[tuple[str, str], ...] = ()
    required: frozenset[SignalName] = frozenset()
    """Signals whose lack is a problem of the object."""


def overrides_of(signals: Signals | None) -> tuple[Override, ...]:
    """The overrides of a resource in the collector's form; `duration` is as `latency` where only that is given."""
    if signals is None or not signals.overrides:
        return ()
    metrics = {
        FIELDS[name]: Metric(
            override.metric,
            MetricKind(override.kind),
            tuple(sorted((override.matchers or {}).items())),
            1.0 if override.scale is None else float(override.scale),
        )
        for name, override in signals.overrides.items()
    }
    if "successful_duration" in metrics:
        metrics.setdefault("duration", metrics["successful_duration"])
    return tuple(Override(field, metrics[field]) for field in sorted(metrics))
