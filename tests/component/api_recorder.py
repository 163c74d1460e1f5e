"""A way to the API server that notes every request, so that a test sees who wrote what and when."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import yaml
from aiohttp import web

from e2e.harness.cluster import ControlPlane

STORES_NOTHING = ("selfsubjectaccessreviews", "selfsubjectreviews")


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    at: float
    """Monotonic seconds."""
    method: str
    path: str

    @property
    def is_write(self) -> bool:
        """Whether it changes an object other than a Lease."""
        return self.method != "GET" and "/leases" not in self.path and not self.path.endswith(STORES_NOTHING)


class Recorder:
    """Passes requests on to a control plane; a context manager.

    Attributes:
        asked: All requests so far.
        delay_seconds: For so long the answer to a write is held back.
        kubeconfig: Leads here.
    """

    def __init__(self, cluster: ControlPlane, directory: Path) -> None:
        self.asked: list[Asked] = []
        self.delay_seconds = 0.0
        self.kubeconfig = directory / "recorded.kubeconfig"
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def writes(self) -> list[Asked]:
        return [each for each in self.asked if each.is_write]

    def __enter__(self) -> Self:
        self.kubeconfig.parent.mkdir(exist_ok=True)
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        config = yaml.safe_load(self._cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> int:
        trust = ssl.create_default_context(cafile=str(self._cluster.ca))
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        self._http = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._pass_on)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._http.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close in later turns of the loop, and nothing tells when

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = Asked(time.monotonic(), request.method, request.path)
        self.asked.append(asked)
        kept = {key: value for key, value in request.headers.items() if key in {"Accept", "Content-Type"}}
        headers = {**kept, "Authorization": f"Bearer {self._cluster.token}"}
        try:
            async with self._http.request(
                request.method, f"{self._cluster.url}{request.path_qs}", data=body or None, headers=headers
            ) as answer:
                if asked.is_write:
                    await asyncio.sleep(self.delay_seconds)
                response = web.StreamResponse(status=answer.status)
                response.content_type = answer.content_type
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response
        except (aiohttp.ClientError, ConnectionError):
            return web.Response(status=502)
