"""The reference agent's HTTP side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aiohttp import ClientError, web

from agentscaler_runtime import CONTENT_TYPE, CircuitOpenError, RejectedError, Runtime, classify_error
from e2e.agents.request import parse_request

if TYPE_CHECKING:
    from e2e.agents.reference.agent import Agent
    from e2e.agents.reference.shape import Job, Shape


class Server:
    """`POST /run`, `/metrics`, `/readyz`, `/livez`.

    Args:
        runtime: Admits runs.
        agent: Does the work.
        shape: Draws it.
    """

    def __init__(self, runtime: Runtime, agent: Agent, shape: Shape) -> None:
        self._runtime = runtime
        self._agent = agent
        self._shape = shape

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.post("/run", self.run),
                web.get("/metrics", self.metrics),
                web.get("/readyz", self.readyz),
                web.get("/livez", self.livez),
            ]
        )
        return application

    async def run(self, request: web.Request) -> web.Response:
        job = self._job(await request.read())
        headers: dict[str, str] = {}
        try:
            async with self._runtime.run() as run:
                headers["X-Queue-Wait-Seconds"] = f"{run.queue_wait_seconds:.3f}"
                context_bytes = await self._agent.work(job)
        except RejectedError as refusal:
            headers["Retry-After"] = str(math.ceil(refusal.retry_after_seconds))
            return web.json_response({"rejected": refusal.reason}, status=503, headers=headers)
        except CircuitOpenError:
            return web.json_response({"error": "circuit_open"}, status=502, headers=headers)
        except (ClientError, TimeoutError) as error:
            return web.json_response({"error": classify_error(error) or "upstream"}, status=502, headers=headers)
        return web.json_response({"key": job.key, "context_bytes": context_bytes}, headers=headers)

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._runtime.render_metrics(), headers={"Content-Type": CONTENT_TYPE})

    async def readyz(self, _: web.Request) -> web.Response:
        ready = self._runtime.ready
        return web.Response(text="ready" if ready else "draining", status=200 if ready else 503)

    async def livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive")

    def _job(self, body: bytes) -> Job:
        try:
            key, factor = parse_request(body)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return self._shape.draw(key=key, memory_factor=factor)
