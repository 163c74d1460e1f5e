"""AIECS (Python): environment variables that pydantic-settings reads once, and objects in the agent's code."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agentscaler.core.policy import QuantileObjective, Range
from agentscaler.frameworks import generic
from agentscaler.frameworks.adapter import Adapter, Advice, Enforced, Feed, Format, Place, Setting, Unit
from agentscaler.frameworks.effective import DEFAULTS as BASE
from agentscaler.frameworks.preset import Preset, counter, histogram

SETTINGS: Final = (
    Setting(
        path=("TOOL_EXECUTOR_MAX_WORKERS",),
        unit=Unit.COUNT,
        default=4,
        feed=Feed.WORKERS,
        note="threads of synchronous tools; never fewer than the CPUs that the process sees",
    ),
    Setting(
        path=("TOOL_EXECUTOR_CACHE_SIZE",),
        unit=Unit.COUNT,
        default=100,
        feed=Feed.CACHE_ENTRIES,
        note="entries of the tool cache, the least recently used goes first",
    ),
    Setting(path=("TOOL_EXECUTOR_CACHE_TTL",), unit=Unit.SECONDS, default=3600, feed=Feed.CACHE_TTL),
    Setting(
        path=("TOOL_EXECUTOR_IO_CONCURRENCY",),
        unit=Unit.COUNT,
        default=8,
        enforced=Enforced.NOBODY,
        note="read and used nowhere",
    ),
    Setting(
        path=("TOOL_EXECUTOR_L1_CACHE_TTL",),
        unit=Unit.SECONDS,
        default=300,
        note="only with TOOL_EXECUTOR_ENABLE_DUAL_CACHE",
    ),
    Setting(
        path=("TOOL_EXECUTOR_REDIS_CACHE_TTL",),
        unit=Unit.SECONDS,
        default=86_400,
        note="of a cache outside of the pod, which no pod may retune for the others",
    ),
    Setting(path=("TOOL_EXECUTOR_RETRY_ATTEMPTS",), unit=Unit.COUNT, default=3, low=0),
    Setting(path=("TOOL_EXECUTOR_TIMEOUT",), unit=Unit.SECONDS, default=30),
    Setting(
        path=("SEARCH_TOOL_CACHE_TTL",),
        unit=Unit.SECONDS,
        default=3600,
        enforced=Enforced.NOBODY,
        note="read and used nowhere: lifetimes of searches are fixed in code",
    ),
    Setting(
        path=("SEARCH_TOOL_CIRCUIT_BREAKER_THRESHOLD",),
        unit=Unit.COUNT,
        default=5,
        feed=Feed.BREAKER_FAILURES,
        note="failures in a row",
    ),
    Setting(path=("SEARCH_TOOL_CIRCUIT_BREAKER_TIMEOUT",), unit=Unit.SECONDS, default=60, feed=Feed.BREAKER_WAIT),
    Setting(
        path=("SEARCH_TOOL_GROUNDING_CIRCUIT_BREAKER_THRESHOLD",),
        unit=Unit.COUNT,
        default=5,
        feed=Feed.BREAKER_FAILURES,
        note="of the backends that search by a model",
    ),
    Setting(
        path=("SEARCH_TOOL_GROUNDING_CIRCUIT_BREAKER_TIMEOUT",), unit=Unit.SECONDS, default=60, feed=Feed.BREAKER_WAIT
    ),
    Setting(
        path=("SEARCH_TOOL_RATE_LIMIT_REQUESTS",),
        unit=Unit.COUNT,
        default=100,
        note="a quota of the provider, which more capacity does not raise",
    ),
    Setting(path=("SEARCH_TOOL_RATE_LIMIT_WINDOW",), unit=Unit.SECONDS, default=86_400),
    Setting(path=("TM_SEARCH_CACHE_ENABLED",), unit=Unit.FLAG, default=True),
    Setting(
        path=("TM_SEARCH_CACHE_TTL_SECONDS",),
        unit=Unit.SECONDS,
        default=30,
        note="of the temporal memory, which must see what was just written",
    ),
    Setting(path=("TM_SEARCH_CACHE_MAX_SIZE",), unit=Unit.COUNT, default=256),
    Setting(path=("AIECS_SKILL_CACHE_TTL",), unit=Unit.SECONDS, default=3600),
    Setting(path=("ENABLE_METRICS",), unit=Unit.FLAG),
    Setting(path=("METRICS_PORT",), unit=Unit.COUNT, default=8001, high=65_535),
    Setting(
        path=("ResourceLimits", "max_concurrent_tasks"),
        unit=Unit.COUNT,
        default=10,
        place=Place.CODE,
        enforced=Enforced.NOBODY,
        note="compared with a set of tasks that nothing fills: an agent limits its runs by tuning.json",
    ),
    Setting(
        path=("CacheConfig", "default_ttl"),
        unit=Unit.SECONDS,
        default=300,
        place=Place.CODE,
        low=0,
        hot=True,
        feed=Feed.CACHE_TTL,
        note="tool_specific_ttl goes before it",
    ),
    Setting(
        path=("CacheConfig", "max_cache_size"),
        unit=Unit.COUNT,
        default=1000,
        place=Place.CODE,
        hot=True,
        feed=Feed.CACHE_ENTRIES,
        note="from 90 % the oldest go until 80 % are left",
    ),
    Setting(
        path=("CacheConfig", "max_memory_mb"),
        unit=Unit.MEBIBYTES,
        default=100,
        place=Place.CODE,
        low=0,
        enforced=Enforced.NOBODY,
        note="reported, never compared with anything",
    ),
    Setting(path=("CacheConfig", "enabled"), unit=Unit.FLAG, default=True, place=Place.CODE, hot=True),
    Setting(
        path=("CacheConfig", "tool_specific_ttl"),
        unit=Unit.TEXT,
        place=Place.CODE,
        hot=True,
        note="lifetimes of single tools stay yours",
    ),
    Setting(
        path=("ResourceLimits", "max_memory_mb"),
        unit=Unit.MEBIBYTES,
        place=Place.CODE,
        low=0,
        enforced=Enforced.NOBODY,
        note="compared with nothing",
    ),
    Setting(
        path=("ResourceLimits", "task_timeout_seconds"),
        unit=Unit.SECONDS,
        place=Place.CODE,
        low=0,
        enforced=Enforced.NOBODY,
        note="no agent reads it",
    ),
    Setting(path=("CacheConfig", "cleanup_interval"), unit=Unit.SECONDS, default=60, place=Place.CODE, hot=True),
    Setting(
        path=("CacheConfig", "cleanup_threshold"),
        unit=Unit.RATIO,
        default=0.9,
        place=Place.CODE,
        low=0,
        high=1,
        hot=True,
    ),
    Setting(
        path=("execute_tools_parallel", "max_concurrency"),
        unit=Unit.COUNT,
        default=5,
        place=Place.CODE,
        hot=True,
        note="tools of one run at a time, given with each call",
    ),
    Setting(
        path=("ResourceLimits", "max_tokens_per_minute"),
        unit=Unit.COUNT,
        place=Place.CODE,
        low=0,
        hot=True,
        note="a quota of the provider",
    ),
    Setting(path=("ResourceLimits", "token_burst_size"), unit=Unit.COUNT, place=Place.CODE, low=0, hot=True),
    Setting(
        path=("ResourceLimits", "max_tool_calls_per_minute"),
        unit=Unit.COUNT,
        place=Place.CODE,
        low=0,
        hot=True,
        note="a quota of the provider",
    ),
    Setting(
        path=("ResourceLimits", "resource_wait_timeout_seconds"),
        unit=Unit.SECONDS,
        default=60,
        place=Place.CODE,
        low=0,
        hot=True,
    ),
    Setting(
        path=("CompressionConfig", "auto_compress_threshold"),
        unit=Unit.COUNT,
        default=100,
        place=Place.CODE,
        hot=True,
        note="messages of a conversation; the guide advises 50",
    ),
    Setting(
        path=("CompressionConfig", "auto_compress_target"),
        unit=Unit.COUNT,
        default=50,
        place=Place.CODE,
        hot=True,
        note="the guide advises 30",
    ),
)

ADVICE: Final = (
    Advice("Cache expensive calls for long", True, "cache.ttlSeconds feeds every default lifetime"),
    Advice(
        "Lifetimes of single tools, no cache by default",
        False,
        "tool_specific_ttl is the agent's own code: it stays and goes before the default that is tuned",
    ),
    Advice("Invalidate when data changes", False, "only the agent knows when"),
    Advice(
        "Run independent tools side by side, at most max_concurrency",
        False,
        "an argument of each call; runs at a time are tuned, tools within a run are not",
    ),
    Advice(
        "Process tasks in batches", False, "the caller's choice; the worker limit keeps a batch from flooding a pod"
    ),
    Advice("Stream, with a buffer of tokens", False, "it changes what a user sees first, not what a pod can carry"),
    Advice(
        "Match rate limits to the provider's",
        False,
        "quotas are the provider's; 429 answers trip the breaker and stop growth",
    ),
    Advice(
        "Concurrent tasks: twice the CPUs", True, "workers from 10, then measured; the agent's own limiter keeps them"
    ),
    Advice("Compress conversations from 50 messages to 30", False, "it changes what the model sees"),
    Advice(
        "Limit the cache to 1000 entries and 100 MB",
        True,
        "cache.max in bytes, as entries of 100 MB / 1000 each; the package does not enforce max_memory_mb",
    ),
    Advice("Warn where the 95th percentile is above 3 s", True, "objectives.latency"),
    Advice(
        "Warn where the hit rate is below 0.3, raise the lifetime where the mean is above 2 s",
        True,
        "the cache is tuned by its hits, misses and expired entries. get_cache_stats()['hit_rate'] is not read: "
        "it is 1.0 or 0 whatever happens",
    ),
    Advice("Profile before optimizing", False, "a person's work; the service time is shown in status.signals"),
)

GUIDE: Final = replace(
    generic.METRICS,
    requests=histogram("execute_latency_seconds"),
    failed_requests=None,
    successful_requests=counter("execute_success_total"),
    duration=histogram("execute_latency_seconds"),
    queue_wait=None,  # durations are without it
    successful_duration=histogram("execute_latency_seconds"),
)
"""What the package exports itself: no error counter, no gauge of running tasks, one histogram for good and bad runs."""

PRESET: Final = Preset(
    "aiecs",
    replace(
        generic.METRICS,
        otherwise=GUIDE,
        unavailable={
            "inFlight": "the package has no gauge of running tasks: export agent_inflight_requests",
            "queueWait": "the package does not measure it: export agent_queue_wait_seconds",
            "queueDepth": "the package has no queue of runs: export agent_queue_depth where the agent has one",
            "cacheHitRatio": "get_cache_stats()['hit_rate'] is always 1.0 or 0: export agent_cache_hits_total and "
            "agent_cache_misses_total",
            "upstreamCallRate": "the package does not count calls: export agent_upstream_calls_total",
        },
    ),
    replace(
        BASE,
        objectives=replace(BASE.objectives, latency=QuantileObjective(quantile=0.95, target_seconds=3.0)),
        workers=replace(BASE.workers, initial=10),
        cache=replace(
            BASE.cache,
            max_bytes=Range(min=64 * 2**20, max=2**30, initial=100 * 2**20),
            ttl_seconds=Range(min=60, max=3600, initial=300),
        ),
        breaker=replace(
            BASE.breaker,
            failure_rate_threshold_percent=Range(min=20, max=80, initial=50),
            wait_duration_in_open_state_seconds=Range(min=5, max=300, initial=60),
        ),
    ),
    Adapter(file="aiecs.env", format=Format.ENV, settings=SETTINGS, entry_bytes=100 * 2**20 / 1000, advice=ADVICE),
    "AIECS (Python)",
)
