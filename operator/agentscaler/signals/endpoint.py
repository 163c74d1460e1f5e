"""One server as the collector sees it: bounded threads, one deadline for all queries, and back-off."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from agentscaler.signals.credentials import lacking
from agentscaler.signals.errors import NotConfigured, QueryError, TimedOut
from agentscaler.signals.prometheus import Answer, PrometheusClient
from agentscaler.signals.servers import Server

THREADS: Final = 4
"""Concurrent queries to one server, whose own limit is 20 for all its users."""
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 15.0
LONGEST_ASKED_PAUSE_SECONDS: Final = 30.0
"""The most that a Retry-After is followed."""
LEAST_TIMEOUT_SECONDS: Final = 0.05

Call = Callable[[PrometheusClient, float], Answer]
"""Asks with a time-out in seconds."""

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Backoff:
    """Pauses that double from failure to failure."""

    error: QueryError
    until: float
    pause_seconds: float = FIRST_PAUSE_SECONDS

    def failed_again(self, error: QueryError, now: float) -> None:
        """Wait twice as long as before, or as long as the server asks for."""
        self.pause_seconds = min(2 * self.pause_seconds, LONGEST_PAUSE_SECONDS)
        self.error = error
        asked = error.retry_after_seconds
        self.until = now + (self.pause_seconds if asked is None else min(asked, LONGEST_ASKED_PAUSE_SECONDS))


@dataclass(slots=True)
class Usage:
    """What queries cost so far, for telemetry."""

    queries: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Summed over queries, also over concurrent ones."""


class Endpoint:
    """Sends queries to one server.

    While the server fails as a whole, only the first query of a batch is sent, when its pause is over; if it
    succeeds the others follow at once. A query that fails alone has a pause of its own.

    Args:
        server: The server.
        clock: Monotonic seconds.
    """

    def __init__(self, server: Server, clock: Callable[[], float]) -> None:
        self.server = server
        self.usage = Usage()
        self._clock = clock
        self._down: Backoff | None = None
        self._failing: dict[str, Backoff] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"prometheus-{server.name}")
        self._local = threading.local()
        self._clients: list[PrometheusClient] = []
        self._lacking = ""

    def lacking(self) -> str:
        """What has to be set before the server can be asked; empty when nothing is."""
        return lacking(self.server)

    async def ask(
        self, calls: Sequence[tuple[str, Call]], timeout_seconds: float | None = None
    ) -> list[Answer | QueryError]:
        """Send a batch; results in the same order.

        Args:
            calls: (text of the query, how to ask it).
            timeout_seconds: For the whole batch; the server's own by default.
        """
        if self._is_lacking():
            return [NotConfigured(self._lacking)] * len(calls)
        start = self._clock()
        deadline = start + (self.server.timeout_seconds if timeout_seconds is None else timeout_seconds)
        if self._down is not None:
            if start < self._down.until:
                return [self._down.error] * len(calls)
            probe = await self._send(calls[0][1], deadline)
            if isinstance(probe, QueryError):
                self._down.failed_again(probe, self._clock())
                return [probe] * len(calls)
            self._recovered()
            return [probe, *await self._batch(calls[1:], deadline)]
        return await self._batch(calls, deadline)

    async def _batch(self, calls: Sequence[tuple[str, Call]], deadline: float) -> list[Answer | QueryError]:
        now = self._clock()
        sent = [self._failing[text].error if self._pausing(text, now) else None for text, _ in calls]
        answers = await asyncio.gather(
            *(
                self._send(call, deadline) if paused is None else _already(paused)
                for (_, call), paused in zip(calls, sent, strict=True)
            )
        )
        now = self._clock()
        asked = [
            (text, answer) for (text, _), answer, paused in zip(calls, answers, sent, strict=True) if paused is None
        ]
        if not any(isinstance(answer, Answer) for _, answer in asked):
            errors = [answer for _, answer in asked if isinstance(answer, QueryError)]
            of_server = next((error for error in errors if error.of_server), None)
            if of_server is None and len(errors) > 1 and all(not _is_refusal(error) for error in errors):
                of_server = errors[0]
            if of_server is not None:
                self._went_down(of_server, now)
                return [of_server] * len(calls)  # one cause, said once
        for text, answer in asked:
            if isinstance(answer, Answer):
                self._failing.pop(text, None)
            elif text in self._failing:
                self._failing[text].failed_again(answer, now)
            else:
                self._failing[text] = Backoff(answer, now + FIRST_PAUSE_SECONDS)
        self._forget(now)
        return list(answers)

    async def _send(self, call: Call, deadline: float) -> Answer | QueryError:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._in_thread, call, deadline)
        except QueryError as error:
            return error

    def _in_thread(self, call: Call, deadline: float) -> Answer:
        began = self._clock()
        left = deadline - began
        if left < LEAST_TIMEOUT_SECONDS:
            raise TimedOut(f"no answer within {self.server.timeout_seconds:g} s")
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = PrometheusClient(self.server)
            self._clients.append(client)
        self.usage.queries += 1
        try:
            return call(client, left)
        except QueryError:
            self.usage.failures += 1
            raise
        finally:
            self.usage.seconds += self._clock() - began

    def _pausing(self, text: str, now: float) -> bool:
        failing = self._failing.get(text)
        return failing is not None and now < failing.until

    def _is_lacking(self) -> bool:
        """Whether something has to be set before the server can be asked; a change of it is logged."""
        problem = self.lacking()
        if problem and problem != self._lacking:
            _logger.error("Prometheus server %s cannot be asked: %s", self.server.name, problem)
        elif self._lacking and not problem:
            _logger.info("Prometheus server %s can be asked now", self.server.name)
        self._lacking = problem
        return bool(problem)

    def _went_down(self, error: QueryError, now: float) -> None:
        self._down = Backoff(error, now + FIRST_PAUSE_SECONDS)
        if error.retry_after_seconds is not None:
            self._down.failed_again(error, now)
        _logger.warning("Prometheus server %s fails: %s", self.server.name, error)

    def _recovered(self) -> None:
        self._down = None
        _logger.info("Prometheus server %s answers again", self.server.name)

    def _forget(self, now: float) -> None:
        """Drop the pauses of queries that nobody has asked for some minutes."""
        long_ago = now - 10 * LONGEST_ASKED_PAUSE_SECONDS
        for text in [text for text, failing in self._failing.items() if failing.until < long_ago]:
            del self._failing[text]

    def close(self) -> None:
        """End the threads and connections; running queries end by their time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()


def _is_refusal(error: QueryError) -> bool:
    return error.reason.value == "QueryRefused"


async def _already(error: QueryError) -> QueryError:
    return error
