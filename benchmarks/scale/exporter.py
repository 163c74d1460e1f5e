"""A process that answers the scrapes of all pods. It learns pods and settings from the API server, as kubelets do.

Pods are spread over several ports, so that their samples have different ages, as those of real pods have.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from benchmarks.scale.agents import Pod, Service

NAME_LABEL = "agentscaler.dev/name"
OURS = "app.kubernetes.io/managed-by=agentscaler"
SETTINGS_SUFFIX = "-settings"
WATCH_SECONDS = 3600
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Body = dict[str, Any]


class Exporter:
    """All services and their pods.

    Args:
        runs: Work of each service, by `namespace/name`.
        ports: Where scrapes arrive.
    """

    def __init__(self, runs: Mapping[str, float], ports: Sequence[int]) -> None:
        self._ports = tuple(ports)
        self._services = {key: Service(value) for key, value in runs.items()}

    def pod(self, kind: str, body: Body) -> None:
        """Take in an event of a pod: it reports as long as it is ready."""
        metadata = body["metadata"]
        service = self._services.get(f"{metadata['namespace']}/{metadata['labels'][NAME_LABEL]}")
        if service is None:
            return
        conditions = body.get("status", {}).get("conditions", ())
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        if kind == "DELETED" or "deletionTimestamp" in metadata or not ready:
            service.pods.pop(metadata["name"], None)
        elif metadata["name"] not in service.pods:
            service.pods[metadata["name"]] = Pod(metadata["namespace"], metadata["name"], time.time())

    def config_map(self, kind: str, body: Body) -> None:
        """Take in an event of a ConfigMap: its settings are in force at once."""
        metadata = body["metadata"]
        service = self._services.get(f"{metadata['namespace']}/{metadata['name'].removesuffix(SETTINGS_SUFFIX)}")
        if service is not None and kind != "DELETED":
            service.apply(body["data"]["tuning.json"])

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer a scrape with the pods of the port on which it came."""
        assert request.transport is not None
        share = self._ports.index(request.transport.get_extra_info("sockname")[1])
        now = time.time()
        text = "".join(
            pod.text(service, now)
            for service in self._services.values()
            for name, pod in service.pods.items()
            if zlib.crc32(name.encode()) % len(self._ports) == share
        )
        return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})

    async def set_runs(self, request: web.Request) -> web.Response:
        """Change the work of one service; the answer is the time since when it is so."""
        form = await request.json()
        self._services[form["service"]].runs = form["runs"]
        return web.json_response({"at": time.time()})


async def follow(session: aiohttp.ClientSession, path: str, selector: str, take: Callable[[str, Body], None]) -> None:
    """Hand over everything of a collection, then each change, for ever; begin anew when the server ends the watch."""
    while True:
        async with session.get(path, params={"labelSelector": selector}) as answer:
            answer.raise_for_status()
            listing = await answer.json()
        for body in listing["items"]:
            take("ADDED", body)
        watch = {"watch": "1", "labelSelector": selector, "timeoutSeconds": str(WATCH_SECONDS)}
        version = listing["metadata"]["resourceVersion"]
        async with session.get(path, params={**watch, "resourceVersion": version}) as answer:
            async for line in lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break
                take(event["type"], event["object"])


async def lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own refuses long ones."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


def connect(kubeconfig: Path) -> aiohttp.ClientSession:
    """A session with the API server of the harness."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    certificate = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return aiohttp.ClientSession(
        cluster["server"],
        headers={"Authorization": f"Bearer {user['token']}"},
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=certificate)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
    )


async def serve(kubeconfig: Path, runs: Mapping[str, float], ports: Sequence[int]) -> None:
    """Serve until the process is ended."""
    exporter = Exporter(runs, ports)
    application = web.Application()
    application.router.add_get("/metrics", exporter.metrics)
    application.router.add_post("/runs", exporter.set_runs)
    server = web.AppRunner(application, access_log=None)
    await server.setup()
    async with connect(kubeconfig) as session, asyncio.TaskGroup() as group:
        group.create_task(follow(session, "/api/v1/pods", NAME_LABEL, exporter.pod))
        group.create_task(follow(session, "/api/v1/configmaps", OURS, exporter.config_map))
        for port in ports:
            await web.TCPSite(server, "127.0.0.1", port).start()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="JSON: work by namespace/name")
    parser.add_argument("--port", type=int, action="append", required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.kubeconfig, json.loads(arguments.runs.read_text()), arguments.port))


if __name__ == "__main__":
    main()
