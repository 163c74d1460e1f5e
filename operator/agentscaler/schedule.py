"""When objects are due, and when the next tick begins. Pure: times come in as arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final

SAMPLE_LAG_SECONDS: Final = 0.5
"""From the time of a sample until it can be read."""
_MOST_ALIGNED: Final = 20
"""With more objects their samples lie everywhere, and no phase is better than another."""
_LEAST_GAIN_SECONDS: Final = 1.0


@dataclass(slots=True)
class Due:
    """The rhythm of one object.

    Objects of one namespace and interval fall into the same ticks, since a tick asks Prometheus only for the namespaces
    that are due.
    """

    at: float = 0.0
    """Unix seconds."""
    phase: float = 0.0
    """Where in its interval it is due: a share of it, out of `phases`."""
    _follows_samples: bool = False

    def is_now(self, now: float, tick_seconds: float) -> bool:
        """Whether this tick is the nearest one to the time at which it is due."""
        return self.at <= now + tick_seconds / 2

    def mend(self, now: float, interval_seconds: float) -> None:
        """Due now where the clock went back, and not when it has got there again."""
        if self.at > now + 2 * interval_seconds:
            self.at = now

    def decided(self, now: float, interval_seconds: float, sampled_at: float | None, tick_seconds: float) -> None:
        """Plan the next decision.

        Args:
            now: When this one was made.
            interval_seconds: Of the object.
            sampled_at: Time of its newest sample, if known.
            tick_seconds: Length of a tick.
        """
        age = now - sampled_at if sampled_at is not None else 0.0
        if sampled_at is not None and 1.5 * tick_seconds < age <= interval_seconds:
            # Decisions lie late after the samples: move them to just behind the next one.
            self._follows_samples = True
            self.at = sampled_at + interval_seconds + SAMPLE_LAG_SECONDS
        elif self._follows_samples and abs(self.at - now) <= interval_seconds / 2:
            self.at += interval_seconds
        else:
            self._follows_samples = False
            self.at = self._next(now, interval_seconds, tick_seconds)

    def _next(self, now: float, interval_seconds: float, tick_seconds: float) -> float:
        """The next time after this tick on a grid that neither a pause nor a restart moves."""
        if interval_seconds <= tick_seconds:
            return now  # every tick
        phase = interval_seconds * self.phase
        passed = floor((now + tick_seconds / 2 - phase) / interval_seconds)
        return phase + (passed + 1) * interval_seconds


def phases(groups: Iterable[str]) -> dict[str, float]:
    """Where in their interval groups are due, so that about as many objects fall into each part of it.

    A hash would put half of ten namespaces into one tick out of three. A new object moves the phases a little, and so
    hardly any object to another tick.

    Args:
        groups: The group of each object.
    """
    sizes = Counter(groups)
    result: dict[str, float] = {}
    passed = 0
    for group, size in sorted(sizes.items()):
        result[group] = (passed + size / 2) / sizes.total()
        passed += size
    return result


def best_shift(sampled_at: Sequence[float], now: float, tick_seconds: float) -> float:
    """By how much to put off the next tick so that fresh samples wait least; 0 where little would be gained.

    Args:
        sampled_at: Times of the newest samples of objects that are due at every tick.
        now: When this tick began.
        tick_seconds: Length of a tick.
    """
    if not 0 < len(sampled_at) <= _MOST_ALIGNED:
        return 0.0

    def waits(shift: float) -> float:
        return sum((now + shift - at - SAMPLE_LAG_SECONDS) % tick_seconds for at in sampled_at) / len(sampled_at)

    shifts = [(at + SAMPLE_LAG_SECONDS - now) % tick_seconds for at in sampled_at]
    best = min(shifts, key=waits)
    return best if waits(0.0) - waits(best) >= _LEAST_GAIN_SECONDS else 0.0
