"""What the reference agent does for one run."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from e2e.agents.reference.block import Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import ClientSession

    from agentscaler_runtime import Runtime
    from e2e.agents.reference.shape import Job

EXCURSION_SHARE = 0.4  # of the time of the answer: memory peaks while results are put together, not all the time


class Agent:
    """Looks up the context of a prompt, then asks the upstream for the answer.

    Args:
        runtime: Cache and breaker.
        session: HTTP client whose base URL is the upstream and whose time-out is that of one call.
    """

    def __init__(self, runtime: Runtime, session: ClientSession) -> None:
        self._runtime = runtime
        self._session = session

    async def work(self, job: Job) -> int:
        """Does a job.

        Returns:
            The bytes of context that the answer was made from.

        Raises:
            CircuitOpenError: The breaker refused a call.
            aiohttp.ClientError: The upstream failed, or cannot be reached.
            TimeoutError: The upstream did not answer in time.
        """
        with _held(job.held_bytes):
            context = await self._runtime.cache.get_or_load(
                job.key, lambda: self._load_context(job), size_bytes=lambda block: block.size_bytes
            )
            with _held(job.excursion_bytes) as excursion:
                early = EXCURSION_SHARE * sum(job.answer_seconds)
                asyncio.get_running_loop().call_later(early, excursion.free)
                for seconds in job.answer_seconds:
                    await self._ask(seconds)
            return context.size_bytes

    async def _load_context(self, job: Job) -> Block:
        await self._ask(job.context_seconds)
        return Block(job.result_bytes)

    async def _ask(self, seconds: float) -> None:
        await self._runtime.breaker.call(lambda: self._complete(seconds))

    async def _complete(self, seconds: float) -> None:
        async with self._session.post("/complete", json={"seconds": seconds}, raise_for_status=True) as response:
            await response.read()


@contextmanager
def _held(size_bytes: int) -> Iterator[Block]:
    block = Block(size_bytes)
    try:
        yield block
    finally:
        block.free()
