"""Memory that rises although the pods do no more: a leak, longer contexts, heavier runs."""

from __future__ import annotations

from itertools import pairwise

from agentscaler.core.capacity import cache_bytes_in_force
from agentscaler.core.memory import Memory, Sample
from agentscaler.core.observation import SignalName
from agentscaler.core.situation import Situation
from agentscaler.core.values import replace

RISES = 2
RISE_SECONDS = 60.0
"""Scrapes further apart than this tell no rise."""


def rise_bytes_per_second(s: Situation) -> float:
    """How fast the worst pod rises, as the slower of two rises in a row; 0 where it does not rise twice in a row.

    Only what it rose without more runs counts. One run that takes a lot at once is a step, and no rise.
    """
    now, past = _unexplained_bytes(s), s.memory.unexplained[-2:]
    if now is None or len(past) < RISES:
        return 0.0
    steps = [(b.value - a.value) / (b.at - a.at) for a, b in pairwise((*past, now)) if 0 < b.at - a.at <= RISE_SECONDS]
    return max(min(steps), 0.0) if len(steps) == RISES else 0.0


def remember_rise(s: Situation, memory: Memory) -> Memory:
    """Keep what the last scrapes told, once each."""
    above = _unexplained_bytes(s)
    if above is None or (memory.unexplained and above.at <= memory.unexplained[-1].at):
        return memory
    return replace(memory, unexplained=(*memory.unexplained[-RISES:], above))


def _unexplained_bytes(s: Situation) -> Sample | None:
    """What the worst pod holds above the learned law, with the time of its scrape; None while there is no law."""
    worst, fullest = s.observation.signal(SignalName.MEMORY_MAX_BYTES), s.value(SignalName.IN_FLIGHT_MAX)
    if worst.value is None or worst.observed_at is None or fullest is None or s.law is None or not s.law.learned:
        return None
    explained = cache_bytes_held(s) + s.law.base_bytes + s.law.per_run_bytes * fullest
    return Sample(worst.observed_at, worst.value - explained)


def cache_bytes_held(s: Situation) -> float:
    """What the cache holds; all that it may hold, where that is exported and not known now."""
    held = s.value(SignalName.CACHE_BYTES)
    if held is not None:
        return held
    return cache_bytes_in_force(s) if SignalName.CACHE_BYTES in s.observation.signals else 0.0
