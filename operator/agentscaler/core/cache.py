"""Cache size and lifetime when nothing presses: one move, then time to see what it did."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.capacity import base_workers, busy_level, cache_bounds
from agentscaler.core.memory import TrialKind
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode
from agentscaler.core.settings import Knob, Settings
from agentscaler.core.situation import Draft, Situation, describe_cache
from agentscaler.core.trial import SETTLE_SECONDS, resting
from agentscaler.core.values import replace

OVERSIZED_SECONDS = 900.0
GROWTH = 1.5
LEAST_GROWTH = 1.1
"""Growing by less is not worth a write."""
EVICTING_SHARE = 0.1
"""Evictions over misses from which the cache is too small for what comes back."""
EXPIRING_SHARE = 0.5
FULL = 0.85
HALF_EMPTY = 0.5
SPARE = 1.25
ROOM_SHARE = 0.9
"""Of the room that memory leaves: the rest is for what the law learns next."""
LEAST_HIT_RATIO = 0.05
"""Where nothing is ever asked for again, no size and no lifetime helps."""


def tune_cache(s: Situation, d: Draft) -> Draft:
    """Grow what evicts, lengthen what expires, shrink what stands half empty; never two of them in one window."""
    if s.policy.cache.mode is Mode.OFF or s.now - s.memory.cache_changed_at < SETTLE_SECONDS:
        return d
    if d.settings.cache != s.current.cache:
        return d  # something more important moves it in this very decision
    misses = s.value(SignalName.CACHE_MISS_RATE)
    if not misses or s.memory.trial is not None:
        return d
    for kind, rule in ((TrialKind.GROW, _grow), (TrialKind.LENGTHEN, _lengthen), (TrialKind.SHRINK, _shrink)):
        moved = d if resting(s, kind) else rule(s, d, misses)
        if moved is not d:
            return moved
    return d


def _grow(s: Situation, d: Draft, misses: float) -> Draft:
    bounds, size, held = cache_bounds(s), d.settings.cache.max_bytes, s.value(SignalName.CACHE_BYTES)
    evictions = s.value(SignalName.CACHE_EVICTION_RATE) or 0.0
    if not _is_hit(s):
        return d
    if bounds is None or size is None or held is None or held < FULL * size or evictions < EVICTING_SHARE * misses:
        return d
    most = float(bounds.max)
    budget = s.memory_budget_bytes
    if budget is not None:
        if s.law is None or not s.law.learned:
            return d  # nobody knows yet what runs need
        workers = max(base_workers(s), d.settings.workers or 0)
        most = min(most, ROOM_SHARE * s.law.cache_beside(budget, workers, busy_level(s)))
    bigger = int(min(most, size * GROWTH))
    if bigger < LEAST_GROWTH * size:
        return d
    return _sized(d, bigger, Reason.CACHE_EVICTING, "the cache evicts entries")


def _lengthen(s: Situation, d: Draft, misses: float) -> Draft:
    bounds, ttl = s.policy.cache.ttl_seconds, d.settings.cache.ttl_seconds
    expired = s.value(SignalName.CACHE_EXPIRED_RATE) or 0.0
    if not _is_hit(s) or bounds is None or ttl is None or ttl >= bounds.max or expired < EXPIRING_SHARE * misses:
        return d
    longer = min(bounds.max, int(ttl * GROWTH))
    settings = replace(d.settings, cache=replace(d.settings.cache, ttl_seconds=longer))
    return d.set(
        "tune-cache", Knob.CACHE, settings, Reason.CACHE_EXPIRING, "entries expire about as often as the cache misses"
    )


def _shrink(s: Situation, d: Draft, _misses: float) -> Draft:
    bounds, size, held = cache_bounds(s), d.settings.cache.max_bytes, s.value(SignalName.CACHE_BYTES)
    evictions = s.value(SignalName.CACHE_EVICTION_RATE)
    if bounds is None or size is None or held is None or evictions is None:
        return d
    if evictions > 0 or held > HALF_EMPTY * size or s.now - s.memory.cache_changed_at < OVERSIZED_SECONDS:
        return d
    if s.known_for_seconds < OVERSIZED_SECONDS:
        return d
    smaller = max(bounds.min, int(held * SPARE))
    if smaller >= size:
        return d
    return _sized(d, smaller, Reason.CACHE_OVERSIZED, "the cache has stood half empty")


def _is_hit(s: Situation) -> bool:
    return (s.value(SignalName.CACHE_HIT_RATIO) or 0.0) >= LEAST_HIT_RATIO


def _sized(d: Draft, size: int, reason: Reason, why: str) -> Draft:
    settings: Settings = replace(d.settings, cache=replace(d.settings.cache, max_bytes=size))
    return d.set("tune-cache", Knob.CACHE, settings, reason, f"{why} ({describe_cache(settings)})")
