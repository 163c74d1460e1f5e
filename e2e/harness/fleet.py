"""The fleet: plays kubelet for real agent processes, one for each pod labelled `agentscaler.dev/process: "true"`.

`Fleet` is the harness' handle; `python -m e2e.harness.fleet` is the process behind it. A pod's first container (or
the one that `kubectl.kubernetes.io/default-container` names) runs as one process on a loopback port. ConfigMap
volumes are refreshed when the pod's annotations change and every 60 s, never otherwise. See fleet_runner.py.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from e2e.harness.fleet_api import KubeApi
from e2e.harness.fleet_runner import REFRESH_SECONDS, Host
from e2e.harness.fleet_server import Supervisor, application
from e2e.harness.part import Part
from e2e.harness.process import REQUEST_SECONDS, Process
from e2e.harness.workspace import Workspace

_ROOT = Path(__file__).parents[2]


class Endpoint(NamedTuple):
    """A pod that takes requests."""

    pod: str
    url: str


class Fleet(Part):
    """A fleet process with its HTTP face.

    Args:
        kubeconfig: Admin's kubeconfig of the control plane.
        upstream_url: Given to every agent as `$(UPSTREAM_URL)`.
        directory: Where mounts and logs (`logs/<namespace>_<pod>.log`) go; None makes a temporary one.
        port: Where it listens; None takes a free one, known before the start.
        refresh_seconds: How often mounts are refreshed without a touch.
        namespace: The only one whose pods it runs; None runs those of all. Two fleets must not share a pod.
    """

    def __init__(
        self,
        kubeconfig: Path,
        upstream_url: str,
        directory: Path | None = None,
        *,
        port: int | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
        namespace: str | None = None,
    ) -> None:
        super().__init__("fleet", directory, port)
        self.sd_url = f"{self.url}/sd"
        argv = [
            *(sys.executable, "-m", "e2e.harness.fleet", "--kubeconfig", kubeconfig),
            *("--port", str(self.port), "--upstream", upstream_url, "--directory", self.directory / "pods"),
            *("--refresh-seconds", str(refresh_seconds)),
            *(() if namespace is None else ("--namespace", namespace)),
        ]
        self.process = Process(argv, self.directory / "fleet.log", cwd=_ROOT)

    def endpoints(self, namespace: str, name: str) -> list[Endpoint]:
        """The ready pods of the Deployment `name`."""
        found = self.ask("endpoints", {"namespace": namespace, "name": name})
        return [Endpoint(entry["pod"], entry["url"]) for entry in found]

    def targets(self) -> list[dict[str, Any]]:
        """What Prometheus is told to scrape."""
        found: list[dict[str, Any]] = self.ask("sd")
        return found

    def stats(self) -> dict[str, Any]:
        """`pods` by `namespace/name`, `totals`, and `refused` pods with the reason."""
        found: dict[str, Any] = self.ask("stats")
        return found

    def hide(self, namespace: str, pod_prefix: str = "") -> None:
        """Takes the targets of these pods away from Prometheus: their series go stale. One call replaces another."""
        self._scrape({"namespace": namespace, "pod_prefix": pod_prefix})

    def show(self) -> None:
        """Gives all targets back."""
        self._scrape(None)

    def _scrape(self, hide: dict[str, str] | None) -> None:
        self._http.put(f"{self.url}/scrape", json={"hide": hide}, timeout=REQUEST_SECONDS).raise_for_status()


async def serve(api: KubeApi, port: int, upstream_url: str, directory: Path, refresh_seconds: float) -> None:
    """Runs a fleet until SIGTERM or SIGINT; its agents end with it."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    timeout = aiohttp.ClientTimeout(total=1.0)
    async with api, aiohttp.ClientSession(timeout=timeout) as agents:
        try:
            async with asyncio.TaskGroup() as tasks:
                supervisor = Supervisor(Host(api, directory, upstream_url, agents, refresh_seconds), tasks)
                server = web.AppRunner(application(supervisor), access_log=None)
                await server.setup()
                await web.TCPSite(server, "127.0.0.1", port).start()
                tasks.create_task(supervisor.follow())
                tasks.create_task(supervisor.enforce_memory())
                tasks.create_task(_end_when(stop, server))
        except* _StopError:
            pass


class _StopError(Exception):
    """Ends the task group: all runners are cancelled, and each takes its process along."""


async def _end_when(stop: asyncio.Event, server: web.AppRunner) -> None:
    await stop.wait()
    await server.cleanup()
    raise _StopError


def main() -> None:
    """Command line of the fleet process."""
    parser = argparse.ArgumentParser(prog="python -m e2e.harness.fleet", description="Runs pods as local processes.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="URL that the agents get as $(UPSTREAM_URL)")
    parser.add_argument("--namespace", help="run only the pods of this one")
    parser.add_argument("--refresh-seconds", type=float, default=REFRESH_SECONDS, help="of mounts without a touch")
    parser.add_argument("--directory", type=Path, help="mounts and logs; a temporary one if not given")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    async def run(directory: Path) -> None:
        api = KubeApi(args.kubeconfig, args.namespace)
        await serve(api, args.port, args.upstream, directory, args.refresh_seconds)

    with Workspace(args.directory, "fleet") as workspace:
        print(json.dumps({"url": f"http://127.0.0.1:{args.port}", "directory": str(workspace.path)}), flush=True)
        asyncio.run(run(workspace.path))


if __name__ == "__main__":
    main()
