"""Workers: how many runs go on at a time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agentscaler_runtime.errors import RejectedError, RejectReason
from agentscaler_runtime.metrics import Metrics

_RETRY_QUEUE_FULL_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class _Waiter:
    arrived_at: float
    turn: asyncio.Future[None]


class WorkerLimiter:
    """A bounded first-in first-out queue in front of a number of workers that can change at any time.

    Not safe for threads: everything happens in one event loop.

    Args:
        limit: Workers.
        queue_size: Runs that may wait at a time.
        metrics: Where the waits are measured.
        may_start: Asked before each start, with the number of runs that go on; a no leaves the run waiting until the
            next `pump`.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        limit: int,
        queue_size: int,
        metrics: Metrics,
        *,
        may_start: Callable[[int], bool] = lambda _running: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._queue_size = queue_size
        self._metrics = metrics
        self._may_start = may_start
        self._clock = clock
        self._running = 0
        self._waiters: deque[_Waiter] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        metrics.worker_limit.set_function(lambda: self._limit)
        metrics.inflight.set_function(lambda: self._running)
        metrics.queue_depth.set_function(lambda: len(self._waiters))

    @property
    def limit(self) -> int:
        """Workers in force."""
        return self._limit

    @property
    def running(self) -> int:
        """Runs that have a worker now; above the limit only while runs from before a shrink go on."""
        return self._running

    @property
    def waiting(self) -> int:
        """Runs that wait for a worker now."""
        return len(self._waiters)

    async def acquire(self) -> float:
        """Waits for a worker; who gets one must `release` it.

        Returns:
            The wait in seconds.

        Raises:
            RejectedError: The queue is full, or the run was refused while it waited.
        """
        arrived_at = self._clock()
        # Who waits already comes first, even if a worker is free while memory is short.
        if not self._waiters and self._running < self._limit and self._may_start(self._running):
            self._start()
            return self._observe(arrived_at)
        if len(self._waiters) >= self._queue_size:
            raise RejectedError(RejectReason.QUEUE_FULL, _RETRY_QUEUE_FULL_SECONDS)
        waiter = _Waiter(arrived_at, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        finally:
            wait_seconds = self._observe(arrived_at)
        return wait_seconds

    def release(self) -> None:
        """Gives a worker back."""
        self._running -= 1
        if self._running == 0:
            self._idle.set()
        self.pump()

    def resize(self, limit: int) -> None:
        """Changes the number of workers; more start waiting runs at once, fewer let the running ones finish."""
        self._limit = limit
        self.pump()

    def pump(self) -> None:
        """Starts runs that wait, as far as workers and `may_start` allow."""
        while self._waiters and self._running < self._limit:
            if self._waiters[0].turn.done():  # cancelled, and its task has not come round to say so
                self._waiters.popleft()
            elif self._may_start(self._running):
                self._start()
                self._waiters.popleft().turn.set_result(None)
            else:
                return

    def refuse_waiting(self, reason: RejectReason, retry_after_seconds: float, *, arrived_until: float) -> None:
        """Refuses the runs that wait and arrived no later than that time of the clock."""
        while self._waiters and self._waiters[0].arrived_at <= arrived_until:
            turn = self._waiters.popleft().turn
            if not turn.done():
                turn.set_exception(RejectedError(reason, retry_after_seconds))

    async def wait_idle(self) -> None:
        """Returns once nothing runs."""
        await self._idle.wait()

    def _start(self) -> None:
        self._running += 1
        self._idle.clear()

    def _observe(self, arrived_at: float) -> float:
        wait_seconds = self._clock() - arrived_at
        self._metrics.queue_wait.observe(wait_seconds)
        return wait_seconds

    def _give_up(self, waiter: _Waiter) -> None:
        turn = waiter.turn
        if turn.done() and not turn.cancelled():
            # Its turn came in the same moment: hand the worker on. A refusal (an exception) needs nothing.
            if turn.exception() is None:
                self.release()
        elif waiter in self._waiters:
            self._waiters.remove(waiter)
