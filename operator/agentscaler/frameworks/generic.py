"""The generic preset: an agent that keeps the contract of docs/contract.md, whatever it is written in."""

from __future__ import annotations

from typing import Final

from agentscaler.frameworks.effective import DEFAULTS
from agentscaler.frameworks.preset import Metric, MetricKind, Metrics, Preset

_REAL_CONTAINERS = (("container", "~.+"),)
"""Not the series of the whole pod, which have no container. The pause container `POD` is never the largest."""


def _counter(name: str, *matchers: tuple[str, str]) -> Metric:
    return Metric(name, MetricKind.COUNTER, matchers)


def _gauge(name: str, *matchers: tuple[str, str]) -> Metric:
    return Metric(name, MetricKind.GAUGE, matchers)


def _histogram(name: str, *matchers: tuple[str, str]) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, matchers)


METRICS: Final = Metrics(
    requests=_counter("agent_requests_total"),
    failed_requests=_counter("agent_requests_total", ("status", "error")),
    duration=_histogram("agent_request_duration_seconds"),
    successful_duration=_histogram("agent_request_duration_seconds", ("status", "success")),
    queue_wait=_histogram("agent_queue_wait_seconds"),
    in_flight=_gauge("agent_inflight_requests"),
    queue_depth=_gauge("agent_queue_depth"),
    rejected_by_breaker=_counter("agent_rejected_total", ("reason", "breaker")),
    rejected=_counter("agent_rejected_total", ("reason", "~queue_full|memory")),
    worker_limit=_gauge("agent_worker_limit"),
    cache_bytes=_gauge("agent_cache_bytes"),
    cache_hits=_counter("agent_cache_hits_total"),
    cache_misses=_counter("agent_cache_misses_total"),
    cache_evictions=_counter("agent_cache_evictions_total"),
    cache_expired=_counter("agent_cache_expired_total"),
    breaker_state=_gauge("agent_breaker_state"),
    upstream_429=_counter("agent_upstream_errors_total", ("kind", "429")),
    upstream_5xx=_counter("agent_upstream_errors_total", ("kind", "5xx")),
    upstream_timeout=_counter("agent_upstream_errors_total", ("kind", "timeout")),
    upstream_calls=_counter("agent_upstream_calls_total"),
    applied_generation=_gauge("agent_tuning_applied_generation"),
    memory=(_gauge("container_memory_working_set_bytes", *_REAL_CONTAINERS), _gauge("process_resident_memory_bytes")),
    cpu=(_counter("container_cpu_usage_seconds_total", *_REAL_CONTAINERS), _counter("process_cpu_seconds_total")),
)

PRESET: Final = Preset("generic", METRICS, DEFAULTS)
