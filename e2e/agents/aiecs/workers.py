"""Workers: how many runs go on at a time, and the queue in front of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque


class RefusedError(Exception):
    """A run was refused before it got a worker.

    Attributes:
        reason: As in `agent_rejected_total`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Workers:
    """A bounded first-in first-out queue in front of a fixed number of workers.

    AIECS has none: what is more than its pool has threads waits in the pool, unbounded and unseen, while the time-out
    of the operation runs.

    Args:
        limit: Workers.
        queue_size: Runs that may wait at a time.
    """

    def __init__(self, limit: int, queue_size: int) -> None:
        self.limit = limit
        self.running = 0
        self._queue_size = queue_size
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._shut = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Runs that wait for a worker now."""
        return len(self._waiters)

    async def acquire(self) -> float:
        """Waits for a worker; who gets one must `release` it.

        Returns:
            The wait in seconds.

        Raises:
            RefusedError: The queue is full, or the agent shuts down.
        """
        if self._shut:
            raise RefusedError("draining")
        if self.running < self.limit:  # then nobody waits
            self.running += 1
            self._idle.clear()
            return 0.0
        if len(self._waiters) >= self._queue_size:
            raise RefusedError("queue_full")
        arrived_at = time.monotonic()
        turn = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        await turn  # nothing cancels it: handlers run to their end
        return time.monotonic() - arrived_at

    def release(self) -> None:
        """Gives a worker back, or hands it to the run that waits longest."""
        if self._waiters:
            self._waiters.popleft().set_result(None)
        else:
            self.running -= 1
            if self.running == 0:
                self._idle.set()

    def shut(self) -> None:
        """Refuses what waits and whatever comes from now on."""
        self._shut = True
        while self._waiters:
            self._waiters.popleft().set_exception(RefusedError("draining"))

    async def wait_idle(self) -> None:
        """Returns once nothing runs."""
        await self._idle.wait()
