"""AIAgentSharp (C#): objects that the host binds to appsettings.json, and makes anew with the C# library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from agentscaler.core.policy import QuantileObjective, Range
from agentscaler.frameworks import generic
from agentscaler.frameworks.adapter import Adapter, Advice, Enforced, Feed, Format, Place, Setting, Unit, Value
from agentscaler.frameworks.effective import DEFAULTS as BASE
from agentscaler.frameworks.preset import Metric, MetricKind, Preset, gauge


def _host(path: str, unit: Unit, default: Value | None, **more: Any) -> Setting:
    """An argument of one of the guide's classes, under the name of the class: the host binds it."""
    return Setting(path=tuple(path.split(":")), unit=unit, default=default, enforced=Enforced.AGENT, **more)


def _package(path: str, unit: Unit, default: Value) -> Setting:
    return Setting(path=tuple(path.split(":")), unit=unit, default=default)


SETTINGS: Final = (
    _host(
        "ParallelToolExecutor:MaxConcurrency",
        Unit.COUNT,
        5,
        hot=True,
        feed=Feed.WORKERS,
        note="a host with the C# library makes a new semaphore; the guide's is of fixed size",
    ),
    _host(
        "ResponseCache:DefaultExpiration",
        Unit.TIME_SPAN,
        3600,
        hot=True,
        feed=Feed.CACHE_TTL,
        note="beside it a sliding half hour is fixed in code",
    ),
    _host("ConnectionPool:MaxSize", Unit.COUNT, 20, hot=True, feed=Feed.POOL),
    _host("ObjectPool:MaxSize", Unit.COUNT, 100),
    _host(
        "MemoryManager:MemoryLimitMB",
        Unit.MEBIBYTES,
        500,
        note="set it to what the container may have; memory is watched there",
    ),
    _host("BatchProcessor:BatchSize", Unit.COUNT, 10, note="nothing measures what a batch wins"),
    _host("BatchProcessor:BatchTimeout", Unit.TIME_SPAN, 30, note="stored, never used"),
    _host("PromptOptimizer:MaxTokens", Unit.COUNT, 4000, note="it changes what the model sees"),
    _host("ToolCache:get_weather", Unit.TIME_SPAN, 900, place=Place.CODE, note="lifetimes of single tools stay yours"),
    _host("ToolCache:search_web", Unit.TIME_SPAN, 300, place=Place.CODE),
    _host("ToolCache:get_stock_price", Unit.TIME_SPAN, 60, place=Place.CODE),
    _host("ToolCache:others", Unit.TIME_SPAN, 300, place=Place.CODE),
    _host("ResponseCache:SlidingExpiration", Unit.TIME_SPAN, 1800, place=Place.CODE),
    _host("LLMRequestPool:maxSize", Unit.COUNT, 50, place=Place.CODE),
    _host("MemoryManager:cleanupTimer", Unit.TIME_SPAN, 300, place=Place.CODE),
    _host(
        "MemoryCacheOptions:SizeLimit",
        Unit.BYTES,
        None,
        place=Place.CODE,
        feed=Feed.CACHE_BYTES,
        note="the guide's cache has no limit: give it one in bytes from tuning.json",
    ),
    _package("AgentConfiguration:MaxTurns", Unit.COUNT, 100),
    _package("AgentConfiguration:LlmTimeout", Unit.TIME_SPAN, 300),
    _package("AgentConfiguration:ToolTimeout", Unit.TIME_SPAN, 120),
    _package("AgentConfiguration:ConsecutiveFailureThreshold", Unit.COUNT, 3),
    _package("AgentConfiguration:DedupeStalenessThreshold", Unit.TIME_SPAN, 300),
    _package("OpenAiConfiguration:RequestTimeout", Unit.TIME_SPAN, 120),
    _package("OpenAiConfiguration:MaxRetries", Unit.COUNT, 3),
)

ADVICE: Final = (
    Advice("Measure response time, tokens, rate, success and memory", True, "signals; tokens are not read"),
    Advice("Profile operations", False, "a person's work"),
    Advice("Shorten prompts", False, "it changes what the model sees"),
    Advice("Cache answers for an hour", True, "ResponseCache:DefaultExpiration; the size by the agent's code"),
    Advice("Batch requests", False, "nothing measures what a batch wins against the wait for it"),
    Advice("Cache tools by their own lifetimes", False, "1, 5 and 15 minutes are the agent's code"),
    Advice("Run tools side by side, 5 at a time", True, "ParallelToolExecutor:MaxConcurrency, from 5"),
    Advice("Collect garbage above 500 MB", False, "memory is held below objectives.memory of the container's limit"),
    Advice("Pool objects", False, "the agent's code"),
    Advice("Pool connections", True, "raised to the workers, never lowered"),
    Advice("Alert where the mean response takes more than 5 s", True, "objectives.latency: 5 s, the median"),
    Advice("Alert below 95 % success", True, "objectives.errorRate: 5 %"),
    Advice(
        "Circuit breaker", False, "the guide has none, and goes on to its next client; replicas stand still meanwhile"
    ),
    Advice("Set performance targets", True, "objectives"),
    Advice("Scale by itself", True, "replicas"),
    Advice("Balance the load", False, "the Service in front of the pods, or a mesh"),
    Advice("Implement fallbacks, optimize critical paths", False, "the agent's code"),
    Advice("Distribute the cache", False, "a cache outside of the pods is not theirs to size"),
    Advice("Load tests, optimize early paths", False, "a person's work"),
)

GUIDE: Final = replace(
    generic.METRICS,
    requests=gauge("RequestsPerSecond"),
    failed_requests=None,
    success_ratio=gauge("SuccessRate"),
    duration=None,
    mean_duration=gauge("ResponseTime", scale=0.001),
    queue_wait=None,  # durations are without it
    successful_duration=None,
    in_flight=Metric("ConcurrentRequests", MetricKind.GAUGE),
)
"""Gauges of the guide, under its own names, where a host exports them: means, in milliseconds."""

PRESET: Final = Preset(
    "aiagentsharp",
    replace(
        generic.METRICS,
        otherwise=GUIDE,
        unavailable={
            "latency": "ResponseTime is a mean: export agent_request_duration_seconds",
            "queueWait": "the guide does not measure it: export agent_queue_wait_seconds",
            "queueDepth": "the guide has no queue: export agent_queue_depth where the agent has one",
            "cacheHitRatio": "the guide's HitRate is a constant 0: export agent_cache_hits_total and "
            "agent_cache_misses_total",
            "upstreamCallRate": "calls are not counted: export agent_upstream_calls_total",
        },
    ),
    replace(
        BASE,
        objectives=replace(
            BASE.objectives, latency=QuantileObjective(quantile=0.5, target_seconds=5.0), error_ratio=0.05
        ),
        workers=replace(BASE.workers, initial=5),
        cache=replace(BASE.cache, ttl_seconds=Range(min=60, max=3600, initial=3600)),
    ),
    Adapter(file="appsettings.json", format=Format.JSON, separator=":", settings=SETTINGS, advice=ADVICE),
    "AIAgentSharp (C#)",
    "The package exports nothing by itself: its metrics live in the process. A host that exports the guide's gauges "
    "under their names is understood.",
)
