"""What the AIECS agent does for one run, as a tool of AIECS's executor."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from e2e.agents.aiecs.framework import ExecutorMetrics, OperationError, ToolExecutor
from e2e.agents.aiecs.upstream import UpstreamError
from e2e.agents.reference.block import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.agents.aiecs.metrics import Metrics
    from e2e.agents.aiecs.upstream import Upstream
    from e2e.agents.aiecs.workers import Workers
    from e2e.agents.reference.shape import Job

TASK_TYPE = "run"
EXCURSION_SHARE = 0.4  # of the time of the answer: memory peaks while results are put together, not all the time


class RunFailedError(Exception):
    """The executor gave a run up, after all of its attempts.

    Attributes:
        kind: How the last call failed; `timeout` also for a run that took too long, `upstream` for anything else.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Agent:
    """Runs jobs in the thread pool of one executor, with retries and a time-out, over the cache of another.

    AIECS caches whatever an executor does, or nothing: a run is made anew each time, its context is not.

    Args:
        workers: Admits runs: as many as `TOOL_EXECUTOR_MAX_WORKERS`, which the pool has at least as threads.
        upstream: Called by runs.
        metrics: The contract's.
        framework_metrics: AIECS's own.
    """

    def __init__(
        self, workers: Workers, upstream: Upstream, metrics: Metrics, framework_metrics: ExecutorMetrics
    ) -> None:
        self.workers = workers
        self.runs = ToolExecutor({"enable_cache": False})
        self.contexts = ToolExecutor()
        self._upstream = upstream
        self._metrics = metrics
        self._framework = framework_metrics
        self._execute = framework_metrics.with_metrics("execute", {"task_type": TASK_TYPE})(self._run)
        self._ending: set[asyncio.Task[None]] = set()
        metrics.follow(workers, self.contexts)
        for name in ("execute_latency", "execute_success", "execute_retries"):
            if name in framework_metrics.metrics:  # it has none where its port was taken
                framework_metrics.metrics[name].labels(task_type=TASK_TYPE)  # there before the first run

    async def run(self, job: Job) -> tuple[int, float]:
        """Does a job.

        Returns:
            The bytes of context that the answer was made from, and the wait for a worker in seconds.

        Raises:
            RefusedError: It got no worker.
            RunFailedError: It failed.
        """
        wait_seconds = await self._metrics.admit(self.workers)
        work = Work(job, self.contexts, self._upstream, asyncio.get_running_loop())
        try:
            return await self._execute(work), wait_seconds
        except OperationError as error:
            kind = "timeout" if isinstance(error.__cause__, TimeoutError) else work.failure or "upstream"
            raise RunFailedError(kind) from error
        finally:
            if work.attempts > 1 and "execute_retries" in self._framework.metrics:
                # Not by record_retry, which gives this counter no label and fails.
                self._framework.metrics["execute_retries"].labels(task_type=TASK_TYPE).inc(work.attempts - 1)
            self._release(work)

    async def _run(self, work: Work) -> int:
        size_bytes: int = await self.runs.execute_async(work, "answer")
        return size_bytes

    def _release(self, work: Work) -> None:
        """Gives the worker back once its thread is free: after a time-out the thread goes on."""
        if work.idle.is_set():
            self.workers.release()
            return
        task = asyncio.create_task(self._release_when_idle(work))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _release_when_idle(self, work: Work) -> None:
        await work.idle.wait()
        self.workers.release()


class Work:
    """One run as a tool; its methods are called by threads of the executor.

    Attributes:
        attempts: So far.
        idle: Set while no thread is at it.
        failure: How the last call failed; None: it did not, or said nothing about the upstream.
    """

    def __init__(self, job: Job, contexts: ToolExecutor, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self.attempts = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.failure: str | None = None
        self._job = job
        self._contexts = contexts
        self._upstream = upstream
        self._loop = loop

    def answer(self) -> int:
        """The whole run; the bytes of its context."""
        self.attempts += 1
        self._loop.call_soon_threadsafe(self.idle.clear)
        try:
            with _held(self._job.held_bytes):
                # Only the prompt is an argument: the executor makes its cache key of those.
                context: Any = self._contexts.execute(self, "look_up", prompt=self._job.key)
                with _held(self._job.excursion_bytes) as excursion:
                    early_seconds = EXCURSION_SHARE * sum(self._job.answer_seconds)
                    self._loop.call_soon_threadsafe(self._loop.call_later, early_seconds, excursion.free)
                    for seconds in self._job.answer_seconds:
                        self._ask(seconds)
                return int(context.size_bytes)
        finally:
            self._loop.call_soon_threadsafe(self.idle.set)

    def look_up(self, prompt: str) -> Block:  # noqa: ARG002 - the executor's cache key
        """What the executor caches."""
        self._ask(self._job.context_seconds)
        return Block(self._job.result_bytes)

    def _ask(self, seconds: float) -> None:
        self.failure = None
        try:
            self._upstream.ask(seconds)
        except UpstreamError as error:
            self.failure = error.kind or "upstream"
            raise


@contextmanager
def _held(size_bytes: int) -> Iterator[Block]:
    block = Block(size_bytes)
    try:
        yield block
    finally:
        block.free()
