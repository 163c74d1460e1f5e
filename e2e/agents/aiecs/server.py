"""The AIECS agent's HTTP side, with the paths and answers of the reference agent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from e2e.agents.aiecs.agent import RunFailedError
from e2e.agents.aiecs.workers import RefusedError
from e2e.agents.request import parse_request

if TYPE_CHECKING:
    from e2e.agents.aiecs.agent import Agent
    from e2e.agents.reference.shape import Shape

RETRY_AFTER_SECONDS = 1


class Server:
    """`POST /run`, `/metrics`, `/readyz`, `/livez`, `/healthz`.

    Args:
        agent: Does the work.
        shape: Draws it.
    """

    def __init__(self, agent: Agent, shape: Shape) -> None:
        self._agent = agent
        self._shape = shape
        self._ready = True

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.post("/run", self.run),
                web.get("/metrics", self.metrics),
                web.get("/readyz", self.readyz),
                web.get("/livez", self.livez),
                web.get("/healthz", self.livez),
            ]
        )
        return application

    async def run(self, request: web.Request) -> web.Response:
        try:
            key, factor = parse_request(await request.read())
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        job = self._shape.draw(key=key, memory_factor=factor)
        try:
            context_bytes, wait_seconds = await self._agent.run(job)
        except RefusedError as refusal:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return web.json_response({"rejected": refusal.reason}, status=503, headers=headers)
        except RunFailedError as error:
            return web.json_response({"error": error.kind}, status=502)
        headers = {"X-Queue-Wait-Seconds": f"{wait_seconds:.3f}"}
        return web.json_response({"key": job.key, "context_bytes": context_bytes}, headers=headers)

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ready" if self._ready else "draining", status=200 if self._ready else 503)

    async def livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive")

    async def drain(self, delay_seconds: float, linger_seconds: float) -> None:
        """Unready now; after the delay nothing is admitted. Returns when the last run has ended.

        Args:
            delay_seconds: Whoever sends runs needs a moment to see that the pod is unready.
            linger_seconds: Late callers get a refusal, not a closed port.
        """
        self._ready = False
        await asyncio.sleep(delay_seconds)
        workers = self._agent.workers
        workers.shut()
        await asyncio.sleep(linger_seconds)
        await workers.wait_idle()
