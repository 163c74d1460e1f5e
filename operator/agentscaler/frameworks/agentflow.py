"""AgentFlow (Go): a TOML file, read at start; an agent with the client reads it live."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from agentscaler.core.policy import QuantileObjective, Range
from agentscaler.frameworks import generic
from agentscaler.frameworks.adapter import Adapter, Advice, Enforced, Feed, Format, Place, Setting, Unit, Value
from agentscaler.frameworks.effective import DEFAULTS as BASE
from agentscaler.frameworks.preset import Preset, counter, gauge


def _agent(path: str, unit: Unit, default: Value, **more: Any) -> Setting:
    """A key of the guide's own file. The published package reads none of them: the agent does, as the guide shows."""
    return Setting(path=tuple(path.split(".")), unit=unit, default=default, enforced=Enforced.AGENT, **more)


def _module(path: str, unit: Unit, default: Value | None, **more: Any) -> Setting:
    """A key of a module of the package, which reads it once."""
    return Setting(path=tuple(path.split(".")), unit=unit, default=default, optional=True, **more)


def _code(path: str, unit: Unit, default: Value | None = None, **more: Any) -> Setting:
    """A field or a constant of the guide's own types."""
    place, path_ = Place.CODE, tuple(path.split("."))
    return Setting(path=path_, unit=unit, default=default, place=place, hot=True, enforced=Enforced.AGENT, **more)


SETTINGS: Final = (
    _agent("runner.worker_pool_size", Unit.COUNT, 50, hot=True, feed=Feed.WORKERS),
    _agent("runner.max_concurrent_events", Unit.COUNT, 100, hot=True, feed=Feed.POOL),
    _agent(
        "runner.event_buffer_size",
        Unit.COUNT,
        1000,
        hot=True,
        feed=Feed.POOL,
        ratio=2,
        note="the guide's worker pool has a queue of twice its workers",
    ),
    _agent("runner.event_timeout", Unit.GO_DURATION, 30),
    _agent("memory.state_cache_size", Unit.COUNT, 10_000, hot=True, feed=Feed.CACHE_ENTRIES),
    _agent("memory.state_cache_ttl", Unit.GO_DURATION, 3600, hot=True, feed=Feed.CACHE_TTL),
    _agent("memory.enable_state_compression", Unit.FLAG, True),
    _agent("performance.pool_size", Unit.COUNT, 50, optional=True, hot=True, feed=Feed.POOL),
    _agent("performance.enable_connection_pooling", Unit.FLAG, True),
    _agent("performance.enable_request_batching", Unit.FLAG, True),
    _agent("performance.batch_size", Unit.COUNT, 10, note="the wait for a batch is latency: nothing measures its gain"),
    _agent("performance.batch_timeout", Unit.GO_DURATION, 0.1, low=0),
    _agent("monitoring.enable_metrics", Unit.FLAG, True),
    _agent("monitoring.enable_profiling", Unit.FLAG, True),
    _agent("monitoring.metrics_interval", Unit.GO_DURATION, 10),
    _agent("monitoring.profile_port", Unit.COUNT, 6060, high=65_535),
    _agent("llm.azure.max_connections", Unit.COUNT, 50, optional=True, hot=True, feed=Feed.POOL),
    _agent("llm.azure.min_connections", Unit.COUNT, 5, low=0),
    _agent("llm.azure.connection_timeout", Unit.GO_DURATION, 10),
    _agent("llm.azure.idle_timeout", Unit.GO_DURATION, 300),
    _agent("llm.azure.max_connection_lifetime", Unit.GO_DURATION, 3600),
    _agent("llm.openai.max_connections", Unit.COUNT, 30, optional=True, hot=True, feed=Feed.POOL),
    _agent("llm.openai.request_timeout", Unit.GO_DURATION, 30),
    _agent("llm.openai.retry_max_attempts", Unit.COUNT, 3, low=0),
    _agent("llm.openai.retry_initial_interval", Unit.GO_DURATION, 1),
    _module(
        "error_routing.circuit_breaker.failure_threshold",
        Unit.COUNT,
        5,
        feed=Feed.BREAKER_FAILURES,
        note="failures in a row",
    ),
    _module("error_routing.circuit_breaker.success_threshold", Unit.COUNT, 3),
    _module("error_routing.circuit_breaker.timeout_ms", Unit.MILLISECONDS, 30_000, feed=Feed.BREAKER_WAIT),
    _module("error_routing.circuit_breaker.half_open_max_calls", Unit.COUNT, 2, feed=Feed.BREAKER_TRIALS),
    _module("mcp.cache.default_ttl_ms", Unit.MILLISECONDS, None, feed=Feed.CACHE_TTL),
    _module("mcp.cache.max_keys", Unit.COUNT, 10_000, feed=Feed.CACHE_ENTRIES),
    _module(
        "mcp.cache.max_size_mb",
        Unit.MEBIBYTES,
        100,
        enforced=Enforced.NOBODY,
        note="the memory cache compares it with nothing",
    ),
    _module("mcp.max_connections", Unit.COUNT, None, feed=Feed.POOL),
    _module("tools.max_concurrent", Unit.COUNT, 10, feed=Feed.POOL),
    _module("tools.rate_limit", Unit.COUNT, 100, note="a quota of the provider"),
    _module("tools.timeout", Unit.GO_DURATION, 30),
    _module("tools.cache.ttl", Unit.GO_DURATION, 900, feed=Feed.CACHE_TTL),
    _module("tools.cache.max_keys", Unit.COUNT, 10_000, feed=Feed.CACHE_ENTRIES),
    _module(
        "tools.cache.max_size_mb",
        Unit.MEBIBYTES,
        100,
        enforced=Enforced.NOBODY,
        note="the memory cache compares it with nothing",
    ),
    _module(
        "tools.circuit_breaker.failure_threshold", Unit.COUNT, 5, feed=Feed.BREAKER_FAILURES, note="failures in a row"
    ),
    _module("tools.circuit_breaker.success_threshold", Unit.COUNT, 2),
    _module("tools.circuit_breaker.timeout", Unit.GO_DURATION, 60, feed=Feed.BREAKER_WAIT),
    _module("tools.circuit_breaker.half_open_max_calls", Unit.COUNT, 3, feed=Feed.BREAKER_TRIALS),
    _module(
        "runtime.max_concurrent_agents",
        Unit.COUNT,
        10,
        enforced=Enforced.NOBODY,
        note="limits nothing: a hundred times it is the length of a queue",
    ),
    _code("CircuitBreaker.maxFailures", Unit.COUNT, feed=Feed.BREAKER_FAILURES, note="failures in a row"),
    _code("CircuitBreaker.timeout", Unit.GO_DURATION, feed=Feed.BREAKER_WAIT),
    _code(
        "CachedLLMClient.getTTL",
        Unit.GO_DURATION,
        3600,
        feed=Feed.CACHE_TTL,
        note="24 h of factual answers and 5 min of creative ones stay yours",
    ),
    _code("LLMConfig.MaxConnectionsPerHost", Unit.COUNT, feed=Feed.POOL),
    Setting(
        path=("GOMEMLIMIT",),
        unit=Unit.TEXT,
        place=Place.ENVIRONMENT,
        note="set it in the pod template to about 90 % of the memory limit; the guide shows 8 GiB in code",
    ),
    Setting(path=("GOGC",), unit=Unit.PERCENT, default=100, place=Place.ENVIRONMENT),
)

ADVICE: Final = (
    Advice(
        "Worker pool with a bounded queue", True, "workers feed worker_pool_size, the queue is at least twice of them"
    ),
    Advice("Circuit breaker for high load", True, "failure rate and minimum calls as failures in a row, and the wait"),
    Advice(
        "Cache answers; factual ones for 24 h, creative ones for 5 min, others for 1 h",
        True,
        "state_cache_ttl between these two, from 1 h; a lifetime for each kind stays the agent's code",
    ),
    Advice("Connection pools", True, "a pool that workers share is raised to their number, never lowered"),
    Advice("Batch requests (10, 100 ms)", False, "nothing measures what a batch wins against the wait for it"),
    Advice("Copy state only where it changes, reuse buffers", False, "the agent's code"),
    Advice("Run tools side by side", False, "the agent's code; runs at a time are tuned"),
    Advice("Balance and stream tool connections", False, "the agent's code"),
    Advice(
        "GOMAXPROCS, GC percent and memory limit",
        False,
        "environment of the pod template: a change is a new template, which is the user's",
    ),
    Advice(
        "Below 100 ms for simple and 500 ms for multi-tool runs",
        True,
        "objectives.latency: 500 ms, the 95th percentile",
    ),
    Advice(
        "More than 500 requests/s in an instance",
        False,
        "throughput follows from workers and service time; replicas are added where it is not enough",
    ),
    Advice(
        "Less than 512 MB in an instance",
        True,
        "objectives.memory, as a share of the container's limit: set the limit to what an instance may have",
    ),
    Advice("Error rate below 0.1 %", True, "objectives.errorRate"),
    Advice("Profiling on port 6060", False, "a person's work"),
    Advice("Benchmarks and load tests", False, "a person's work"),
)

GUIDE: Final = replace(
    generic.METRICS,
    cache_hits=counter("mcp_cache_hits_total"),
    cache_misses=counter("mcp_cache_misses_total"),
    cache_bytes=gauge("mcp_cache_memory_usage_bytes"),
    cache_entries=gauge("mcp_cache_size_items"),
    breaker_state=None,  # that of mcp_circuit_breaker_state has 1 for open and 2 for half-open
)
"""Requests and durations of the guide have the contract's names and one label more, `agent_name`."""

PRESET: Final = Preset(
    "agentflow",
    replace(
        generic.METRICS,
        otherwise=GUIDE,
        unavailable={
            "inFlight": "the guide's gauge of active requests has no name: export agent_inflight_requests",
            "queueWait": "the guide's metrics have no queue: export agent_queue_wait_seconds",
            "queueDepth": "the guide's metrics have no queue: export agent_queue_depth",
            "upstreamCallRate": "the guide's metrics do not count calls: export agent_upstream_calls_total",
            "breakerState": "mcp_circuit_breaker_state has 1 for open and 2 for half-open: export agent_breaker_state",
            "cacheHitRatio": "the package defines mcp_cache_* and registers none of them: export agent_cache_*",
        },
    ),
    replace(
        BASE,
        objectives=replace(
            BASE.objectives, latency=QuantileObjective(quantile=0.95, target_seconds=0.5), error_ratio=0.001
        ),
        workers=replace(BASE.workers, max=100, initial=50),
        cache=replace(
            BASE.cache,
            max_bytes=Range(min=64 * 2**20, max=2**30, initial=100 * 2**20),
            ttl_seconds=Range(min=300, max=86_400, initial=3600),
        ),
        breaker=replace(
            BASE.breaker,
            failure_rate_threshold_percent=Range(min=20, max=80, initial=50),
            wait_duration_in_open_state_seconds=Range(min=5, max=300, initial=30),
        ),
    ),
    Adapter(
        file="agentflow.toml", format=Format.TOML, settings=SETTINGS, entry_bytes=100 * 2**20 / 10_000, advice=ADVICE
    ),
    "AgentFlow (Go)",
)
