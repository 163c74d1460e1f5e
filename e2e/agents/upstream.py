"""The model provider of the reference agents. It can fall ill while it runs.

`python -m e2e.agents.upstream --port N` serves:

`POST /complete {"seconds": s}` answers after s seconds.
`PUT /mode {"mode": ..., "error_share": x, "slow_factor": x, "requests_per_second": x}` changes how it feels.
`GET /stats` tells what it was asked and how much of that was in vain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections import Counter
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from aiohttp import web

ModeName = Literal["healthy", "slow", "failing", "rate_limited", "outage"]
FAIL_SECONDS = 1.0  # before the time scale: a failing provider says so fast, compared with an answer
HANG_SECONDS = 600.0  # the caller gives up long before
SLOW_FACTOR_MAX = 1_000.0
REQUESTS_PER_SECOND = (0.001, 1_000_000.0)


@dataclass(frozen=True)
class Mode:
    """How the provider feels.

    Attributes:
        mode: healthy; slow: answers take slow_factor times as long; failing: of the error_share half end with a fast
            500 and half never answer; rate_limited: beyond requests_per_second it answers 429 at once; outage: every
            call ends with a fast 503.
        error_share: Share of calls that fail while failing, 0 to 1.
        slow_factor: See slow.
        requests_per_second: See rate_limited; a burst of one second's worth is let through.
    """

    mode: ModeName = "healthy"
    error_share: float = 1.0
    slow_factor: float = 4.0
    requests_per_second: float = 1.0

    @classmethod
    def parse(cls, document: Any) -> Mode:
        known = {each.name for each in fields(cls)}
        if not isinstance(document, dict) or not set(document) <= known:
            raise ValueError(f"expected an object with some of {sorted(known)}")
        mode = cls(**document)
        if mode.mode not in get_args(ModeName):
            raise ValueError(f"mode must be one of {', '.join(get_args(ModeName))}")
        numbers = (mode.error_share, mode.slow_factor, mode.requests_per_second)
        if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
            raise ValueError("error_share, slow_factor and requests_per_second must be numbers")
        if not 0 <= mode.error_share <= 1:
            raise ValueError("error_share is from 0 to 1")
        if not 0 <= mode.slow_factor <= SLOW_FACTOR_MAX:
            raise ValueError(f"slow_factor is from 0 to {SLOW_FACTOR_MAX:g}")
        lowest, highest = REQUESTS_PER_SECOND
        if not lowest <= mode.requests_per_second <= highest:
            raise ValueError(f"requests_per_second is from {lowest:g} to {highest:g}")
        return mode


class TokenBucket:
    """Lets a rate of calls through, and at first one second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = max(1.0, rate)
        self._filled_at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Upstream:
    """The provider's state and its HTTP handlers."""

    def __init__(self, time_scale: float, seed: int | None = None) -> None:
        self._fail_seconds = FAIL_SECONDS * time_scale
        self._seed = seed
        self._in_flight = 0
        self._begin()

    def _begin(self) -> None:
        self._random = random.Random(self._seed)
        self._mode = Mode()
        self._bucket = TokenBucket(self._mode.requests_per_second)
        self._calls: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._failed_by_kind: Counter[str] = Counter()

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.post("/complete", self.complete),
                web.put("/mode", self.put_mode),
                web.get("/mode", self.get_mode),
                web.get("/stats", self.stats),
                web.post("/reset", self.reset),
            ]
        )
        return application

    async def complete(self, request: web.Request) -> web.Response:
        document = await _document(request)
        seconds = document.get("seconds") if isinstance(document, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= HANG_SECONDS:
            raise web.HTTPBadRequest(text=f'expected {{"seconds": number}}, from 0 to {HANG_SECONDS:g}')
        self._calls[self._mode.mode] += 1
        self._in_flight += 1
        try:
            return await self._answer(self._mode, seconds)
        finally:
            self._in_flight -= 1

    async def _answer(self, mode: Mode, seconds: float) -> web.Response:
        if mode.mode == "rate_limited" and not self._bucket.take():
            retry_after = str(max(1, round(1 / mode.requests_per_second)))
            return self._fail(mode, "429", 429, {"Retry-After": retry_after})
        if mode.mode == "outage":
            await asyncio.sleep(self._fail_seconds)
            return self._fail(mode, "5xx", 503)
        if mode.mode == "failing" and self._random.random() < mode.error_share:
            if self._random.random() < 0.5:
                await asyncio.sleep(self._fail_seconds)
                return self._fail(mode, "5xx", 500)
            seconds = HANG_SECONDS
        if mode.mode == "slow":
            seconds *= mode.slow_factor
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._fail(mode, "timeout", 504)  # the caller gave up: whatever was done was in vain
            raise
        return web.json_response({"text": "done", "seconds": seconds})

    def _fail(self, mode: Mode, kind: str, status: int, headers: dict[str, str] | None = None) -> web.Response:
        self._failed[mode.mode] += 1
        self._failed_by_kind[kind] += 1
        return web.json_response({"error": kind}, status=status, headers=headers)

    async def put_mode(self, request: web.Request) -> web.Response:
        try:
            self._mode = Mode.parse(await _document(request))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        self._bucket = TokenBucket(self._mode.requests_per_second)
        return web.json_response(asdict(self._mode))

    async def get_mode(self, _: web.Request) -> web.Response:
        return web.json_response(asdict(self._mode))

    async def reset(self, _: web.Request) -> web.Response:
        """As a new process would be; calls that are under way go on."""
        self._begin()
        return web.json_response({})

    async def stats(self, _: web.Request) -> web.Response:
        """Calls, and those that ended without an answer for the caller; all from the start or the last reset."""
        return web.json_response(
            {
                "calls": self._calls.total(),
                "failed": self._failed.total(),
                "in_flight": self._in_flight,
                "by_mode": {
                    name: {"calls": self._calls[name], "failed": self._failed[name]} for name in get_args(ModeName)
                },
                "failed_by_kind": {kind: self._failed_by_kind[kind] for kind in ("429", "5xx", "timeout")},
            }
        )


async def _document(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error


async def serve(host: str, port: int, upstream: Upstream) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # handler_cancellation: a call that its caller has given up must end here as well.
    runner = web.AppRunner(upstream.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024).start()
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="A model provider that can fall ill")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--time-scale", type=float, default=0.05, help="scales its own delays, not the callers'")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port, Upstream(arguments.time_scale, arguments.seed)))


if __name__ == "__main__":
    main()
