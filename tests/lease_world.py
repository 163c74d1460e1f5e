"""An API server that holds one Lease, an election on it, and a gate, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes import client

from agentscaler.kube.api import KubeApi
from agentscaler.kube.leadership import Leadership
from agentscaler.kube.lease import LEASE_SECONDS, Election
from agentscaler.kube.paths import CONFIG_MAPS

OTHER = {
    "holderIdentity": "other",
    "leaseDurationSeconds": int(LEASE_SECONDS),
    "renewTime": "2001-01-01T00:00:00.000000Z",
    "leaseTransitions": 3,
}
PATH = CONFIG_MAPS.path("here", "one")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """One Lease with optimistic locking, and whatever else is written."""

    spec: dict[str, Any] | None = None
    version: int = 1
    broken: bool = False
    written: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait for it."""

    def renewed_by_other(self, **changes: Any) -> None:
        self.spec = {**(self.spec or OTHER), **changes}
        self.version += 1

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()  # a request whose body does not come is none
        if self.broken:
            return web.json_response({}, status=500)
        if "/leases" not in request.path:
            self.written.append((request.method, dict(request.query)))
            await self.gate.wait()
            return web.json_response({})
        if request.method == "GET":
            return self._answer() if self.spec is not None else web.json_response({}, status=404)
        body = json.loads(text)
        if request.method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            return web.json_response({"reason": "Conflict"}, status=409)
        if request.method == "POST" and self.spec is not None:
            return web.json_response({"reason": "AlreadyExists"}, status=409)
        self.spec = body["spec"]
        self.version += 1
        return self._answer()

    def _answer(self) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec})


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"never saw {what}"
        await asyncio.sleep(0.01)


@dataclass
class World:
    server: Server
    clock: Clock
    leadership: Leadership
    election: Election
    api: KubeApi
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    terms: int = 0

    async def lead(self) -> None:
        self.terms += 1
        await self.stop.wait()

    async def until(self, terms: int) -> None:
        await until(lambda: self.terms >= terms and self.leadership.is_held, f"term {terms}")

    async def until_standby(self) -> None:
        await until(lambda: not self.leadership.is_held, "that it stands by")

    async def reads(self, count: int = 2) -> None:
        """Wait until the Lease was read so many times more; the last but one has then been judged."""
        key = ("get", "leases.coordination.k8s.io")
        wanted = self.api.requests[key] + count
        await until(lambda: self.api.requests[key] >= wanted, "reads of the Lease")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.election.run(self.stop, self.lead))
        try:
            yield
        finally:
            self.stop.set()
            await task


@asynccontextmanager
async def lease_world() -> AsyncIterator[World]:
    server, clock = Server(), Clock()
    server.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    configuration = client.Configuration(host=f"http://{host}:{port}")
    leadership = Leadership(clock)
    api = KubeApi(configuration, leadership=leadership)
    election = Election(configuration, leadership, namespace="here", name="it", requests=api.requests, clock=clock)
    yield World(server, clock, leadership, election, api)
    await asyncio.to_thread(election.close)
    await asyncio.to_thread(api.close)
    await runner.cleanup()


async def write(world: World) -> None:
    await world.api.patch(PATH, {}, field_manager="test")
