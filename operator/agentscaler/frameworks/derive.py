"""From the values of `tuning.json` to what a native setting is made of, in our units. Pure."""

from __future__ import annotations

from math import ceil
from typing import Final

from agentscaler.core.settings import Settings
from agentscaler.frameworks.adapter import Feed, Setting

CHANGED_ENTRY: Final = 1.5
"""A mean entry counts as another one only when it is so many times larger or smaller: each change is a new file."""

_ROUNDING: Final = 0.02


def value(setting: Setting, settings: Settings, entry_bytes: float, present: float | None) -> float | None:
    """What a setting is to be; None where the value that feeds it is left to the agent.

    Args:
        setting: A setting that something feeds.
        settings: What was decided.
        entry_bytes: Mean bytes of a cache entry.
        present: What the user's file says, or the framework's default; None: neither says anything.
    """
    cache, breaker, feed = settings.cache, settings.breaker, setting.feed
    found: float | None = None
    if feed is Feed.WORKERS:
        found = settings.workers
    elif feed is Feed.POOL:
        return None if settings.workers is None else pool(settings.workers * setting.ratio, present)
    elif feed is Feed.CACHE_BYTES:
        found = cache.max_bytes
    elif feed is Feed.CACHE_ENTRIES:
        found = None if cache.max_bytes is None else entries(cache.max_bytes, entry_bytes)
    elif feed is Feed.CACHE_TTL:
        found = cache.ttl_seconds
    elif feed is Feed.BREAKER_RATE:
        found = breaker.failure_rate_threshold_percent
    elif feed is Feed.BREAKER_FAILURES:
        found = failures(breaker.failure_rate_threshold_percent, breaker.minimum_number_of_calls)
    elif feed is Feed.BREAKER_WAIT:
        found = breaker.wait_duration_in_open_state_seconds
    elif feed is Feed.BREAKER_TRIALS:
        found = breaker.permitted_calls_in_half_open_state
    return None if found is None else found * setting.ratio


def pool(workers: float, present: float | None) -> float:
    """A pool that the workers share: raised to them, and never lowered below what the user or the framework says."""
    return max(workers, present or 0.0)


def failures(rate_percent: int | None, minimum_calls: int | None) -> int | None:
    """Failures in a row that stand for a failure rate: the share of the fewest calls that ours judges by, rounded up.

    A breaker that counts has no rate. With as many failures as ours needs at the very least it never opens earlier
    than ours on the first calls, and opens on an outage as fast.
    """
    if rate_percent is None or minimum_calls is None:
        return None
    return max(1, ceil(rate_percent * minimum_calls / 100))


def entries(max_bytes: int, entry_bytes: float) -> int:
    """Entries that fit into so many bytes."""
    return round(max_bytes / entry_bytes)


def mean_entry(learned: float | None, kept: float | None, guess: float) -> float:
    """Mean bytes of a cache entry.

    Args:
        learned: Out of the metrics of now; None: they do not tell.
        kept: What the file that is in force was made with; None: not known.
        guess: The ratio of the guide's own defaults.
    """
    known = learned if learned is not None and learned > 0 else None
    if kept is None or kept <= 0:
        return known or guess
    if known is None and abs(kept - guess) < _ROUNDING * guess:
        return guess  # it was made with the guess, and whole entries have rounded it
    if known is not None and not 1 / CHANGED_ENTRY <= known / kept <= CHANGED_ENTRY:
        return known
    return kept
