"""AgentGraph (Rust): environment variables that the agent reads at start, and structs in its code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from agentscaler.core.policy import QuantileObjective
from agentscaler.frameworks import generic
from agentscaler.frameworks.adapter import Adapter, Advice, Enforced, Feed, Format, Place, Setting, Unit, Value
from agentscaler.frameworks.effective import DEFAULTS as BASE
from agentscaler.frameworks.preset import Preset, histogram


def _variable(name: str, unit: Unit, **more: Any) -> Setting:
    """A variable of the guide's `ProductionConfig`. The published crate reads none: the agent does, by `envy`."""
    return Setting(path=(name,), unit=unit, enforced=Enforced.AGENT, **more)


def _code(path: str, unit: Unit, default: Value | None = None, **more: Any) -> Setting:
    return Setting(path=tuple(path.split(".")), unit=unit, default=default, place=Place.CODE, **more)


SETTINGS: Final = (
    _variable("MAX_CONCURRENT_AGENTS", Unit.COUNT, feed=Feed.WORKERS),
    _variable("CACHE_TTL_SECONDS", Unit.SECONDS, feed=Feed.CACHE_TTL),
    _variable("MEMORY_LIMIT_MB", Unit.MEBIBYTES, note="set it to what the container may have; memory is watched there"),
    _variable("MONITORING_ENABLED", Unit.FLAG),
    _variable("LLM_PROVIDER", Unit.TEXT),
    _code(
        "CircuitBreaker.threshold",
        Unit.COUNT,
        feed=Feed.BREAKER_FAILURES,
        enforced=Enforced.AGENT,
        note="failures in a row",
    ),
    _code("CircuitBreaker.timeout", Unit.SECONDS, feed=Feed.BREAKER_WAIT, enforced=Enforced.AGENT),
    _code("RuntimeConfig.max_concurrency", Unit.COUNT, 10, feed=Feed.WORKERS, note="fixed when the runtime is made"),
    _code("RuntimeConfig.default_timeout", Unit.SECONDS, 300),
    _code("RuntimeConfig.max_memory_per_node_mb", Unit.MEBIBYTES, 1024),
    _code("RuntimeConfig.max_total_memory_mb", Unit.MEBIBYTES, 8192),
    _code("LLMConfig.timeout", Unit.SECONDS, 30),
    _code("LLMConfig.max_retries", Unit.COUNT, 3, low=0),
    _code("LLMConfig.retry_delay", Unit.MILLISECONDS, 1000, low=0),
    _code("MemoryConfig.max_entries", Unit.COUNT, 1000, note="what an agent remembers, and no cache of answers"),
    _code("MemoryConfig.similarity_threshold", Unit.RATIO, 0.7, low=0, high=1),
    _code("MemoryConfig.cleanup_interval", Unit.SECONDS, 3600),
    _code("CollaborationConfig.max_agents", Unit.COUNT, 50),
    _code("CollaborationConfig.message_timeout", Unit.SECONDS, 30),
    _code("CollaborationConfig.heartbeat_interval", Unit.SECONDS, 10),
    _code("AgentConfig.max_tokens", Unit.COUNT, 1000, note="it changes what a user gets"),
)

ADVICE: Final = (
    Advice("Time-outs and retries of the provider", False, "they are part of what a run is; listed"),
    Advice("Batch requests, queue them, stream", False, "the agent's code; the queue before the workers is measured"),
    Advice("Limit memory entries, clean up, forget by importance", False, "it changes what an agent remembers"),
    Advice("Limit concurrent execution", True, "workers feed MAX_CONCURRENT_AGENTS"),
    Advice(
        "Cache expensive tools, in levels",
        True,
        "cache.ttlSeconds feeds CACHE_TTL_SECONDS; the guide's caches have no size, so an agent bounds its own by "
        "cache.maxBytes of tuning.json",
    ),
    Advice("Limit collaborating agents, spread tasks", False, "what a run is made of is the agent's code"),
    Advice("Watch request rate, response time, tokens, errors and memory", True, "signals; tokens are not read"),
    Advice("Answer a ping within 5 s", True, "objectives.latency: 5 s, the 95th percentile"),
    Advice("Scale out behind a load balancer", True, "replicas"),
    Advice("More memory or faster CPUs", False, "requests and limits belong to the pod template"),
    Advice("Configure by environment", True, "agentgraph.env, on top of yours"),
    Advice("Circuit breaker", True, "threshold and timeout, set by the agent's code from tuning.json"),
    Advice("Graceful shutdown", True, "pods that leave are drained; the agent has to finish its runs on SIGTERM"),
    Advice("Temperature, model and token limits, fewer tools", False, "they change what a user gets"),
    Advice("Load tests and memory profiles", False, "a person's work"),
)

GUIDE: Final = replace(
    generic.METRICS,
    requests=histogram("agent_response_time_ms"),
    failed_requests=None,
    duration=histogram("agent_response_time_ms", scale=0.001),
    queue_wait=None,  # durations are without it
    successful_duration=histogram("agent_response_time_ms", scale=0.001),
)

PRESET: Final = Preset(
    "agentgraph",
    replace(
        generic.METRICS,
        otherwise=GUIDE,
        unavailable={
            "inFlight": "the guide has no gauge of running tasks: export agent_inflight_requests",
            "queueWait": "the guide does not measure it: export agent_queue_wait_seconds",
            "queueDepth": "the guide has no queue: export agent_queue_depth where the agent has one",
            "errorRatio": "errors are counted in the agent's state only: export agent_requests_total",
            "cacheHitRatio": "caches are not counted: export agent_cache_hits_total and agent_cache_misses_total",
            "upstreamCallRate": "calls are not counted: export agent_upstream_calls_total",
        },
    ),
    replace(
        BASE,
        objectives=replace(BASE.objectives, latency=QuantileObjective(quantile=0.95, target_seconds=5.0)),
        workers=replace(BASE.workers, initial=10),
    ),
    Adapter(file="agentgraph.env", format=Format.ENV, settings=SETTINGS, advice=ADVICE),
    "AgentGraph (Rust)",
    "`agent_requests_per_second` is the mean since the process began, and is not read. `agent_response_time_ms` tells "
    "latencies only where each run's own time is recorded: the guide's sample records a mean, which the published "
    "crate leaves at 0.",
)
