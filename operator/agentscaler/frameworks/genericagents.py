"""GenericAgents (C#): appsettings.json, read at start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from agentscaler.core.policy import QuantileObjective, Range
from agentscaler.frameworks import generic
from agentscaler.frameworks.adapter import Adapter, Advice, Enforced, Feed, Format, Place, Setting, Unit, Value
from agentscaler.frameworks.effective import DEFAULTS as BASE
from agentscaler.frameworks.preset import Preset, counter, histogram


def _agent(path: str, unit: Unit, default: Value | None, **more: Any) -> Setting:
    """A key of the guide's own sections. The published package binds none of them: the agent does."""
    return Setting(path=tuple(path.split(":")), unit=unit, default=default, enforced=Enforced.AGENT, **more)


def _package(path: str, unit: Unit, default: Value, **more: Any) -> Setting:
    return Setting(path=tuple(path.split(":")), unit=unit, default=default, **more)


SETTINGS: Final = (
    _agent("Performance:MaxConcurrentAgents", Unit.COUNT, 100, feed=Feed.WORKERS),
    _agent(
        "Performance:CacheExpirationMinutes",
        Unit.MINUTES,
        15,
        feed=Feed.CACHE_TTL,
        note="whole minutes, cut off: the shortest lifetime is one",
    ),
    _agent("Performance:ConnectionPoolSize", Unit.COUNT, 100, feed=Feed.POOL),
    _agent("Performance:WorkflowBatchSize", Unit.COUNT, 50, note="nothing measures what a batch wins"),
    _agent("Performance:MaxRetryAttempts", Unit.COUNT, 3, low=0),
    _agent("Performance:TimeoutSeconds", Unit.SECONDS, 30),
    _agent("MemoryManagement:GCMode", Unit.TEXT, "Server"),
    _agent("MemoryManagement:LargeObjectHeapCompactionMode", Unit.TEXT, "CompactOnce"),
    _agent(
        "MemoryManagement:MaxMemoryUsageMB",
        Unit.MEBIBYTES,
        2048,
        note="set it to what the container may have; memory is watched there",
    ),
    _agent("MemoryManagement:ObjectPoolSize", Unit.COUNT, 1000),
    _agent("Threading:MinWorkerThreads", Unit.COUNT, 50),
    _agent("Threading:MaxWorkerThreads", Unit.COUNT, 200),
    _agent("Threading:MinCompletionPortThreads", Unit.COUNT, 50),
    _agent("Threading:MaxCompletionPortThreads", Unit.COUNT, 200),
    _package(
        "Agents:MaxConcurrentAgents",
        Unit.COUNT,
        10,
        low=10,
        enforced=Enforced.NOBODY,
        note="checked at start (Production refuses less than 10), and compared with nothing afterwards",
    ),
    _package("Agents:DefaultTimeout", Unit.TIME_SPAN, 300, low=60, note="Production refuses less than a minute"),
    _package("Agents:HealthCheckInterval", Unit.TIME_SPAN, 30),
    _package("Agents:MaxRetryAttempts", Unit.COUNT, 3, low=0),
    _package("Agents:RetryDelay", Unit.TIME_SPAN, 1, low=0),
    _package("Database:MaxConnections", Unit.COUNT, 20, optional=True, feed=Feed.POOL),
    _agent(
        "MemoryCacheOptions:SizeLimit",
        Unit.BYTES,
        None,
        place=Place.CODE,
        feed=Feed.CACHE_BYTES,
        note="counts what the agent gives each entry: give it bytes",
    ),
    _agent("MemoryCacheOptions:CompactionPercentage", Unit.RATIO, 0.05, place=Place.CODE, low=0, high=1),
    _agent("HttpClientHandler:MaxConnectionsPerServer", Unit.COUNT, 50, place=Place.CODE, feed=Feed.POOL),
    _agent("DbContextPool:poolSize", Unit.COUNT, 100, place=Place.CODE),
    _agent("SqlServerOptions:CommandTimeout", Unit.SECONDS, 30, place=Place.CODE),
    _agent("SqlServerOptions:EnableRetryOnFailure", Unit.COUNT, 3, place=Place.CODE, low=0),
    _agent("HttpClient:Timeout", Unit.TIME_SPAN, 30, place=Place.CODE),
    _agent("MemoryCacheOptions:ExpirationScanFrequency", Unit.TIME_SPAN, 60, place=Place.CODE),
    _agent("MultiLevelCacheService:L1", Unit.TIME_SPAN, 300, place=Place.CODE, note="the most that L1 keeps an entry"),
    _agent("MultiLevelCacheService:L2", Unit.TIME_SPAN, 900, place=Place.CODE, note="outside of the pod"),
    _agent(
        "PerformanceOptimizedWorkflowEngine:concurrencyLimiter",
        Unit.COUNT,
        None,
        place=Place.CODE,
        feed=Feed.POOL,
        note="twice the CPUs in the guide: fewer than the workers would leave some idle",
    ),
    _agent("MemoryOptimizedAgentPool:maxPoolSize", Unit.COUNT, None, place=Place.CODE, feed=Feed.POOL),
)

ADVICE: Final = (
    Advice("Pool objects, allocate less in hot paths", False, "the agent's code; ObjectPoolSize is listed"),
    Advice("Cache in levels", True, "lifetime by CacheExpirationMinutes, size by the agent's code from tuning.json"),
    Advice("Indexes and queries", False, "a person's work"),
    Advice("Connection pools", True, "a pool that agents share is raised to the workers, never lowered"),
    Advice("Lazy loading, async, disposal", False, "the agent's code"),
    Advice("CPU below 70 %", False, "agents wait for providers: capacity follows from runs in flight"),
    Advice("Memory below 80 %", True, "objectives.memory"),
    Advice("Disk below 10 ms, network below 100 ms", False, "no metric of the agent tells them"),
    Advice("Database pool below 80 %", False, "its use is not exported"),
    Advice("Hit ratio above 90 %", False, "a goal that depends on the questions: the cache grows while that wins hits"),
    Advice("GC below 5 % of CPU, no thread starvation", False, "not exported; Threading is listed"),
    Advice("Watch the use of resources and the effect of the cache", True, "status.signals; the cache is tuned by it"),
    Advice("Business metrics, tracing", False, "a person's work"),
    Advice(
        "Alerts for regressions, errors and SLAs",
        True,
        "objectives of errors (1 %) and latency (30 s of a workflow) as its other guide has them; the chart's alerts",
    ),
)

GUIDE: Final = replace(
    generic.METRICS,
    requests=histogram("agent_execution_duration"),
    failed_requests=counter("agent_execution_failure"),
    duration=histogram("agent_execution_duration", scale=0.001),
    queue_wait=None,  # durations are without it
    successful_duration=None,
)
"""The package's exporter writes sums and counts without buckets, in milliseconds, and drops every label."""

PRESET: Final = Preset(
    "genericagents",
    replace(
        generic.METRICS,
        otherwise=GUIDE,
        unavailable={
            "latency": "agent_execution_duration has no buckets: export agent_request_duration_seconds",
            "inFlight": "the package has no gauge of running agents: export agent_inflight_requests",
            "queueWait": "the package does not measure it: export agent_queue_wait_seconds",
            "queueDepth": "the package has no queue: export agent_queue_depth where the agent has one",
            "cacheHitRatio": "RecordCacheHit is the guide's own interface: export agent_cache_hits_total and "
            "agent_cache_misses_total",
            "upstreamCallRate": "calls are not counted: export agent_upstream_calls_total",
        },
    ),
    replace(
        BASE,
        objectives=replace(BASE.objectives, latency=QuantileObjective(quantile=0.95, target_seconds=30.0)),
        workers=replace(BASE.workers, max=200, initial=100),
        cache=replace(BASE.cache, ttl_seconds=Range(min=60, max=3600, initial=900)),
    ),
    Adapter(file="appsettings.json", format=Format.JSON, separator=":", settings=SETTINGS, advice=ADVICE),
    "GenericAgents (C#)",
    "The package's exporter adds timestamps and keeps every value that it has seen: an agent with much traffic should "
    "export by prometheus-net or OpenTelemetry. The guide's sample has no `/metrics` route.",
)
