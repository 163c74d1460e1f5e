"""The generic preset: an agent that keeps the contract of docs/contract.md, whatever it is written in."""

from __future__ import annotations

from typing import Final

from agentscaler.frameworks.effective import DEFAULTS
from agentscaler.frameworks.preset import Metrics, Preset, counter, gauge, histogram

_REAL_CONTAINERS = (("container", "~.+"),)
"""Not the series of the whole pod, which have no container. The pause container `POD` is never the largest."""


METRICS: Final = Metrics(
    requests=counter("agent_requests_total"),
    failed_requests=counter("agent_requests_total", ("status", "error")),
    duration=histogram("agent_request_duration_seconds"),
    successful_duration=histogram("agent_request_duration_seconds", ("status", "success")),
    queue_wait=histogram("agent_queue_wait_seconds"),
    in_flight=gauge("agent_inflight_requests"),
    queue_depth=gauge("agent_queue_depth"),
    rejected_by_breaker=counter("agent_rejected_total", ("reason", "breaker")),
    rejected=counter("agent_rejected_total", ("reason", "~queue_full|memory")),
    worker_limit=gauge("agent_worker_limit"),
    cache_bytes=gauge("agent_cache_bytes"),
    cache_hits=counter("agent_cache_hits_total"),
    cache_misses=counter("agent_cache_misses_total"),
    cache_evictions=counter("agent_cache_evictions_total"),
    cache_expired=counter("agent_cache_expired_total"),
    breaker_state=gauge("agent_breaker_state"),
    upstream_429=counter("agent_upstream_errors_total", ("kind", "429")),
    upstream_5xx=counter("agent_upstream_errors_total", ("kind", "5xx")),
    upstream_timeout=counter("agent_upstream_errors_total", ("kind", "timeout")),
    upstream_calls=counter("agent_upstream_calls_total"),
    applied_generation=gauge("agent_tuning_applied_generation"),
    memory=(gauge("container_memory_working_set_bytes", *_REAL_CONTAINERS), gauge("process_resident_memory_bytes")),
    cpu=(counter("container_cpu_usage_seconds_total", *_REAL_CONTAINERS), counter("process_cpu_seconds_total")),
)

PRESET: Final = Preset("generic", METRICS, DEFAULTS, title="any agent that keeps the contract")
