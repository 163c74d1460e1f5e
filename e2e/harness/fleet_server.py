"""The fleet's supervisor, which keeps one runner for each pod, and its HTTP face."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from e2e.harness.fleet_api import Event
from e2e.harness.fleet_pod import UnsupportedPodError, parse_pod
from e2e.harness.fleet_runner import Host, Runner

MEMORY_SAMPLE_SECONDS = 0.25
COUNTERS = ("started", "restarts", "oom_kills", "drained", "drain_kills", "lost_runs", "mount_refreshes")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hidden:
    """The pods whose targets are kept from Prometheus."""

    namespace: str
    pod_prefix: str

    def covers(self, runner: Runner) -> bool:
        """Whether the runner's pod is one of them."""
        return runner.pod.namespace == self.namespace and runner.pod.name.startswith(self.pod_prefix)


class Supervisor:
    """Runs what the API server says should run."""

    def __init__(self, host: Host, tasks: asyncio.TaskGroup) -> None:
        self.host = host
        self.hidden: Hidden | None = None
        self.refused: dict[str, str] = {}
        self._tasks = tasks
        self._runners: dict[str, Runner] = {}

    @property
    def runners(self) -> list[Runner]:
        """The runners, by the name of their pod."""
        return sorted(self._runners.values(), key=lambda runner: runner.pod.key)

    async def follow(self) -> None:
        """Follows the pods for ever."""
        async for event in self.host.api.pods():
            if event.type == "LISTED":
                present = {pod["metadata"]["uid"] for pod in event.pods}
                for uid in self._runners.keys() - present:
                    self._runners.pop(uid).remove()
            for pod in event.pods:
                self._take(event, pod)

    async def enforce_memory(self) -> None:
        """Holds every process to its limit, for ever."""
        while True:
            for runner in self._runners.values():
                runner.enforce_memory()
            await asyncio.sleep(MEMORY_SAMPLE_SECONDS)

    def _take(self, event: Event, raw: Mapping[str, Any]) -> None:
        uid = raw["metadata"]["uid"]
        known = self._runners.get(uid)
        if event.type == "DELETED":
            self.refused.pop(uid, None)
            if known is not None:
                self._runners.pop(uid).remove()
            return
        try:
            pod = parse_pod(raw)
        except UnsupportedPodError as error:
            self.refused[uid] = f"{raw['metadata']['namespace']}/{raw['metadata']['name']}: {error}"
            _log.warning("Pod %s does not run: %s", raw["metadata"]["name"], error)
            return
        if known is not None:
            known.update(pod)
        elif pod.assigned and not pod.finished:
            runner = self._runners[uid] = Runner(pod, self.host)
            self._tasks.create_task(runner.run())


def application(supervisor: Supervisor) -> web.Application:
    """The HTTP face: `/sd`, `/endpoints`, `/stats`, `/scrape`."""

    async def targets(_request: web.Request) -> web.Response:
        hidden = supervisor.hidden
        return web.json_response(
            [
                {
                    "targets": [f"127.0.0.1:{runner.port}"],
                    "labels": {
                        "job": "agents",
                        "namespace": runner.pod.namespace,
                        "pod": runner.pod.name,
                        "container": runner.pod.container.name,
                    },
                }
                for runner in supervisor.runners
                if runner.pid is not None and not (hidden and hidden.covers(runner))
            ]
        )

    async def endpoints(request: web.Request) -> web.Response:
        namespace, name = request.query.get("namespace"), request.query.get("name")
        selector = [part.split("=", 1) for part in request.query.get("selector", "").split(",") if part]
        if any(len(part) != 2 for part in selector):
            raise web.HTTPBadRequest(text="selector is key=value, joined by commas")
        return web.json_response(
            [
                {"pod": runner.pod.name, "url": f"http://127.0.0.1:{runner.port}"}
                for runner in supervisor.runners
                if runner.ready
                and namespace in {None, runner.pod.namespace}
                and (name is None or runner.pod.belongs_to(name))
                and all(runner.pod.labels.get(key) == value for key, value in selector)
            ]
        )

    async def stats(_request: web.Request) -> web.Response:
        pods = {runner.pod.key: _pod_stats(runner) for runner in supervisor.runners}
        totals = {name: supervisor.host.totals[name] for name in COUNTERS}
        totals |= {
            "pods": len(pods),
            "running": sum(pod["pid"] is not None for pod in pods.values()),
            "ready": sum(pod["ready"] for pod in pods.values()),
            "rss_bytes": sum(pod["rss_bytes"] for pod in pods.values()),
        }
        return web.json_response({"pods": pods, "totals": totals, "refused": sorted(supervisor.refused.values())})

    async def scrape(request: web.Request) -> web.Response:
        body = await request.json()
        try:
            hide = body["hide"]
            supervisor.hidden = None if hide is None else Hidden(hide["namespace"], hide.get("pod_prefix", ""))
        except (KeyError, TypeError, AttributeError) as error:
            raise web.HTTPBadRequest(text='want {"hide": null | {"namespace": ..., "pod_prefix": ...}}') from error
        return web.Response(status=204)

    app = web.Application()
    app.add_routes(
        [
            web.get("/sd", targets),
            web.get("/endpoints", endpoints),
            web.get("/stats", stats),
            web.put("/scrape", scrape),
        ]
    )
    return app


def _pod_stats(runner: Runner) -> dict[str, Any]:
    return {
        "pid": runner.pid,
        "port": runner.port,
        "ready": runner.ready,
        "rss_bytes": runner.rss_bytes,
        "memory_limit_bytes": runner.pod.container.memory_limit_bytes,
        "restarts": runner.restarts,
        "oom_kills": runner.oom_kills,
        "last_exit_code": None if runner.last_exit is None else runner.last_exit.code,
        "waiting": runner.waiting,
    }
