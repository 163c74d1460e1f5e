"""The runtime: what an agent holds for as long as it serves."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from agentscaler_runtime.breaker import WINDOW_CALLS, CircuitBreaker, Reservation, reservation_of_run
from agentscaler_runtime.cache import Cache
from agentscaler_runtime.errors import CircuitOpenError, RejectedError, RejectReason
from agentscaler_runtime.limiter import WorkerLimiter
from agentscaler_runtime.memory import MemoryBudget, MemoryGate, cgroup_budget, give_back, resident_bytes
from agentscaler_runtime.metrics import Metrics
from agentscaler_runtime.settings import Settings
from agentscaler_runtime.upstream import UpstreamErrorKind, classify_error
from agentscaler_runtime.watcher import SettingsFile

SETTINGS_DIRECTORY_VARIABLE = "AGENTSCALER_SETTINGS_DIR"
SETTINGS_DIRECTORY = "/etc/agentscaler"
_POLL_SECONDS = 0.25
_GIVE_BACK_SECONDS = 5.0
_RETRY_DRAINING_SECONDS = 1.0
_RETRY_MEMORY_SECONDS = 5.0

logger = logging.getLogger("agentscaler_runtime")


class Run:
    """One admitted run.

    Attributes:
        queue_wait_seconds: How long it waited for its worker.
    """

    def __init__(self, queue_wait_seconds: float) -> None:
        self.queue_wait_seconds = queue_wait_seconds
        self._failed = False

    def fail(self) -> None:
        """Counts the run as an error although no exception leaves it, say because the error became an answer."""
        self._failed = True

    @property
    def failed(self) -> bool:
        """Whether the run was marked as failed."""
        return self._failed


class Runtime:
    """Workers, cache, circuit breaker and memory gate of one agent process, retuned live from `tuning.json`.

    Use it as an async context manager, once: inside, the settings file is followed. Not safe for threads: everything
    happens in one event loop.

    Args:
        settings_directory: Where `tuning.json` is; default: what AGENTSCALER_SETTINGS_DIR says, else /etc/agentscaler.
        defaults: Settings in force where the file says nothing.
        queue_size: Runs that may wait for a worker at a time.
        memory_limit_bytes: Limit of the process's resident memory; default: the container's, from its cgroup.
        high_water_percent: Above this share of the limit no run starts.
        memory_wait_seconds: How long a run may wait for memory before it is refused.
        classify: Says how an upstream call failed; see `classify_error`.
        breaker_window_calls: The breaker's window holds at most so many calls.
        drain_on_sigterm: Whether SIGTERM starts the drain; needs the main thread. It takes the signal away from a
            server that stops by it.
        drain_delay_seconds: For so long after a drain began runs are still admitted: whoever sends them needs a moment
            to see that the pod is unready.
        registry: Where the metrics are registered; default: a registry of its own.

    Attributes:
        metrics: The metrics of the contract.
        cache: The cache.
        breaker: The circuit breaker.
    """

    def __init__(
        self,
        *,
        settings_directory: Path | str | None = None,
        defaults: Settings | None = None,
        queue_size: int = 100,
        memory_limit_bytes: int | None = None,
        high_water_percent: int = 90,
        memory_wait_seconds: float = 30.0,
        classify: Callable[[Exception], UpstreamErrorKind | None] = classify_error,
        breaker_window_calls: int = WINDOW_CALLS,
        drain_on_sigterm: bool = False,
        drain_delay_seconds: float = 0.0,
        registry: CollectorRegistry | None = None,
    ) -> None:
        if memory_limit_bytes is not None and memory_limit_bytes < 1:
            raise ValueError("memory_limit_bytes must be at least 1, or None for the container's limit")
        if queue_size < 0 or memory_wait_seconds < 0:
            raise ValueError("queue_size and memory_wait_seconds must be at least 0")
        self._settings = defaults or Settings()
        self._generation = 0
        self._memory_wait_seconds = memory_wait_seconds
        self._drain_on_sigterm = drain_on_sigterm
        self._gave_back_at = -_GIVE_BACK_SECONDS
        self._drain_delay_seconds = drain_delay_seconds
        self._draining = asyncio.Event()
        self._shut = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._entered = False
        self.metrics = Metrics(registry)
        self.metrics.applied_generation.set_function(lambda: self._generation)
        self.cache = Cache(self._settings.cache, self.metrics)
        self.breaker = CircuitBreaker(
            self._settings.circuit_breaker, self.metrics, classify=classify, window_calls=breaker_window_calls
        )
        budget = MemoryBudget(memory_limit_bytes, resident_bytes) if memory_limit_bytes is not None else cgroup_budget()
        self._gate = MemoryGate(budget, high_water_percent)
        self._limiter = WorkerLimiter(
            self._settings.workers.max_concurrent, queue_size, self.metrics, may_start=self._gate.may_start
        )
        directory = settings_directory or os.environ.get(SETTINGS_DIRECTORY_VARIABLE) or SETTINGS_DIRECTORY
        self._file = SettingsFile(Path(directory), self._settings, self.metrics)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def applied_generation(self) -> int:
        """Generation of the settings in force; 0: no file was applied yet."""
        return self._generation

    @property
    def memory_limit_bytes(self) -> int | None:
        """The limit that the memory gate keeps; None: none is known, and the gate is always open."""
        return self._gate.limit_bytes

    @property
    def ready(self) -> bool:
        """Whether new runs are welcome: the answer of a readiness probe."""
        return self._follower is not None and not self._draining.is_set()

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a Runtime serves once: make a new one")
        self._apply_new_settings()
        if self._drain_on_sigterm:
            if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN):
                logger.warning("SIGTERM no longer reaches its handler so far; in a server leave drain_on_sigterm off")
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.drain)
        self._follower = asyncio.create_task(self._follow(), name="agentscaler-runtime")
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.drain()
        if self._drain_on_sigterm:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
            self._follower = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Run]:
        """One run: waits for a worker, and measures. An exception that leaves the block counts the run as an error.

        Raises:
            RejectedError: The run was refused; nothing was started.
            RuntimeError: The runtime was not entered.
        """
        if not self._entered:
            raise RuntimeError("nothing is tuned or measured yet: enter the runtime first, `async with runtime:`")
        arrived_at = time.monotonic()
        try:
            wait_seconds, reservation = await self._admit()
        except RejectedError as refusal:
            self.metrics.rejected.labels(refusal.reason.value).inc()
            raise
        outer = reservation_of_run.get()
        reservation_of_run.set(reservation)
        run = Run(wait_seconds)
        status = "error"
        try:
            yield run
            status = "error" if run.failed else "success"
        finally:
            reservation_of_run.set(outer)
            self.breaker.cancel_reservation(reservation)
            self.metrics.requests.labels(status).inc()
            self.metrics.duration.labels(status).observe(time.monotonic() - arrived_at)
            self._limiter.release()

    def drain(self) -> None:
        """Starts the shut-down: unready now; after the delay nothing more is admitted and what waits is refused."""
        if self._draining.is_set():
            return
        self._draining.set()
        logger.info("draining: %s runs to finish", self._limiter.running)
        if self._drain_delay_seconds > 0:
            asyncio.get_running_loop().call_later(self._drain_delay_seconds, self._shut_door)
        else:
            self._shut_door()

    def _shut_door(self) -> None:
        self._shut.set()
        self._refuse_waiting(RejectReason.DRAINING, _RETRY_DRAINING_SECONDS, since=0.0)

    async def wait_drained(self, *, linger_seconds: float = 0.0) -> None:
        """Returns when a drain was started and the last run has ended.

        Args:
            linger_seconds: Least time from the first refusal: late callers get a refusal, not a closed port.
        """
        await self._draining.wait()
        await self._shut.wait()
        await asyncio.sleep(linger_seconds)
        await self._limiter.wait_idle()

    def render_metrics(self) -> bytes:
        """The body of a scrape; its content type is `CONTENT_TYPE`."""
        return self.metrics.render()

    async def _admit(self) -> tuple[float, Reservation | None]:
        self._refuse_if_draining()
        try:
            # An open breaker refuses at once: who waits for a worker to be told no has waited for nothing.
            self.breaker.check()
            wait_seconds = await self._limiter.acquire()
            try:
                return wait_seconds, self.breaker.reserve()  # it may have opened meanwhile
            except CircuitOpenError:
                self._limiter.release()
                raise
        except CircuitOpenError as error:
            raise RejectedError(RejectReason.BREAKER, error.retry_after_seconds) from error

    def _refuse_if_draining(self) -> None:
        if self._shut.is_set():
            raise RejectedError(RejectReason.DRAINING, _RETRY_DRAINING_SECONDS)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                self._tick()
            except Exception:  # a bug or an odd disk must not freeze the settings for the rest of the process's life
                logger.exception("following the settings failed, next attempt follows")

    def _tick(self) -> None:
        self._apply_new_settings()
        self.cache.sweep()
        self._gate.measure(self._limiter.running)
        self._limiter.pump()
        shut_since = self._gate.shut_since
        if shut_since is None or not self._limiter.waiting:
            return
        shut_seconds = time.monotonic() - shut_since
        # While others run, their ends free memory; not soon enough if the runs that wait would be refused before.
        if self._limiter.running == 0 or shut_seconds > self._memory_wait_seconds / 2:
            self._relieve_memory()
        if shut_seconds > self._memory_wait_seconds:
            self._refuse_waiting(RejectReason.MEMORY, _RETRY_MEMORY_SECONDS, since=self._memory_wait_seconds)

    def _relieve_memory(self) -> None:
        now = time.monotonic()
        if now - self._gave_back_at >= _GIVE_BACK_SECONDS:
            self._gave_back_at = now
            give_back()
        else:  # step by step: the next measurement may find that it was enough
            self.cache.shrink(self.cache.size_bytes // 2)

    def _refuse_waiting(self, reason: RejectReason, retry_after_seconds: float, *, since: float) -> None:
        self._limiter.refuse_waiting(reason, retry_after_seconds, arrived_until=time.monotonic() - since)

    def _apply_new_settings(self) -> None:
        tuning = self._file.poll()
        if tuning is None:
            return
        settings = tuning.settings
        try:
            self.cache.retune(settings.cache)
            self.breaker.retune(settings.circuit_breaker)
            self._limiter.resize(settings.workers.max_concurrent)
        except BaseException:
            self._file.forget()  # the next poll brings the same settings again
            raise
        self._settings = settings
        self._generation = tuning.generation  # last: it says that all of the above is in force
        logger.info("settings of generation %s are in force", tuning.generation)
