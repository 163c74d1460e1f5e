"""The values of all knobs of one object at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentscaler.core.values import replace


class Knob(StrEnum):
    """The four knob families."""

    REPLICAS = "replicas"
    WORKERS = "workers"
    CACHE = "cache"
    CIRCUIT_BREAKER = "circuitBreaker"


@dataclass(frozen=True)
class Cache:
    """Size and lifetime of the cache of one pod. None leaves a value to the agent."""

    max_bytes: int | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True)
class Breaker:
    """Circuit breaker settings under resilience4j's names. None leaves a value to the agent."""

    failure_rate_threshold_percent: int | None = None
    wait_duration_in_open_state_seconds: int | None = None
    sliding_window_seconds: int | None = None
    minimum_number_of_calls: int | None = None
    permitted_calls_in_half_open_state: int | None = None


@dataclass(frozen=True)
class Settings:
    """All knobs. `replicas` counts pods of the target; the others hold for each pod."""

    replicas: int
    workers: int | None = None
    """Concurrent runs in one pod."""
    cache: Cache = Cache()
    breaker: Breaker = Breaker()


def with_knob(settings: Settings, knob: Knob, source: Settings) -> Settings:
    """The settings with one knob family taken from another set."""
    match knob:
        case Knob.REPLICAS:
            return replace(settings, replicas=source.replicas)
        case Knob.WORKERS:
            return replace(settings, workers=source.workers)
        case Knob.CACHE:
            return replace(settings, cache=source.cache)
        case Knob.CIRCUIT_BREAKER:
            return replace(settings, breaker=source.breaker)
