"""The token bucket that keeps our writes from flooding the API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class TokenBucket:
    """At most `per_second` writes on average and `burst` at once, first come, first served.

    A caller takes its token at once and then waits until that token exists, so that no queue has to be kept.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()
        self._paused_until = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether a write would have to wait now."""
        filled = self._tokens + (self._clock() - self._filled_at) * self._per_second
        return filled < 1 or self._clock() < self._paused_until

    def wait_seconds(self) -> float:
        """Take one token and say how long to wait before it may be used."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._per_second, self._paused_until - now)

    def pause(self, seconds: float) -> None:
        """Let nobody start before `seconds` have passed: the server asked for patience."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    async def take(self) -> None:
        """Wait for a token."""
        delay = self.wait_seconds()
        if delay > 0:
            await asyncio.sleep(delay)
