"""Settings on the wire: `tuning.json` as agents read it (docs/contract.md is normative), and their form in status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from agentscaler.api.quantity import format_size, parse_size
from agentscaler.core.settings import Breaker, Cache, Settings

_BREAKER = {
    "failureRateThresholdPercent": "failure_rate_threshold_percent",
    "waitDurationInOpenStateSeconds": "wait_duration_in_open_state_seconds",
    "slidingWindowSeconds": "sliding_window_seconds",
    "minimumNumberOfCalls": "minimum_number_of_calls",
    "permittedCallsInHalfOpenState": "permitted_calls_in_half_open_state",
}


def text(settings: Settings, generation: int) -> str:
    """The canonical file: keys in the order of the contract, none for what is left to the agent."""
    content: dict[str, Any] = {
        "generation": generation,
        "workers": _given({"maxConcurrent": settings.workers}),
        "cache": _given({"maxBytes": settings.cache.max_bytes, "ttlSeconds": settings.cache.ttl_seconds}),
        "circuitBreaker": _given({key: getattr(settings.breaker, field) for key, field in _BREAKER.items()}),
    }
    return json.dumps(_given(content), separators=(",", ":"))


@lru_cache(maxsize=4096)
def settings_of(file: str) -> Settings | None:
    """The settings that a file of ours holds (replicas, which are in no file, as 0); None for any other text."""
    try:
        content = json.loads(file)
        breaker = content.get("circuitBreaker", {})
        cache = content.get("cache", {})
        settings = Settings(
            replicas=0,
            workers=content.get("workers", {}).get("maxConcurrent"),
            cache=Cache(cache.get("maxBytes"), cache.get("ttlSeconds")),
            breaker=Breaker(**{field: breaker.get(key) for key, field in _BREAKER.items()}),
        )
        return settings if text(settings, content["generation"]) == file else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def has_any(settings: Settings) -> bool:
    """Whether there is anything to tell the agent."""
    return (settings.workers, settings.cache, settings.breaker) != (None, Cache(), Breaker())


def frees_first(current: Settings, wanted: Settings) -> Settings:
    """The first of two steps where `wanted` frees memory with one knob and uses it with the other.

    A pod gives memory back over seconds and uses more at once, so what frees goes first. Returns `wanted` itself where
    one step is enough.
    """
    workers = _smaller(current.workers, wanted.workers)
    max_bytes = _smaller(current.cache.max_bytes, wanted.cache.max_bytes)
    frees = workers != current.workers or max_bytes != current.cache.max_bytes
    uses = workers != wanted.workers or max_bytes != wanted.cache.max_bytes
    if not (frees and uses):
        return wanted
    return replace(wanted, workers=workers, cache=replace(wanted.cache, max_bytes=max_bytes))


def _smaller(current: int | None, wanted: int | None) -> int | None:
    """The smaller one; a value that the agent chooses or chose itself cannot be compared, and is not waited for."""
    return wanted if current is None or wanted is None else min(current, wanted)


def to_status(settings: Settings, generation: int | None = None) -> dict[str, Any]:
    """The form that settings have in `status`: without what is left to the agent."""
    size, ttl = settings.cache.max_bytes, settings.cache.ttl_seconds
    parts: dict[str, Any] = {
        "generation": generation,
        "replicas": settings.replicas,
        "workers": settings.workers,
        "cache": _given({"size": None if size is None else format_size(size), "ttlSeconds": ttl}),
        "circuitBreaker": _given({key: getattr(settings.breaker, field) for key, field in _BREAKER.items()}),
    }
    return _given(parts)


def from_status(status: Mapping[str, Any]) -> tuple[Settings, int]:
    """Settings (replicas as 0) and generation out of `status.settings`; generation 0 where there is none."""
    cache, breaker = status.get("cache") or {}, status.get("circuitBreaker") or {}
    size = cache.get("size")
    settings = Settings(
        replicas=0,
        workers=status.get("workers"),
        cache=Cache(None if size is None else parse_size(size), cache.get("ttlSeconds")),
        breaker=Breaker(**{field: breaker.get(key) for key, field in _BREAKER.items()}),
    )
    return settings, int(status.get("generation") or 0)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value != {}}
