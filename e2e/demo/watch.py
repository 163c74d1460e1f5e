"""Threads that follow the API server, the agents, the provider, the fleet and the operator's records."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import requests

from e2e.demo.plan import NAMESPACE
from e2e.demo.world import AgentSample, Delivered, Json, PodsSample, Size, UpstreamSample, World
from e2e.harness.cluster import ControlPlane
from e2e.harness.fleet import Fleet

AGENT_POLL_SECONDS = 0.4
POLL_SECONDS = 1.0
RECORDS_POLL_SECONDS = 2.0
TIMEOUT_SECONDS = 3.0
_METRIC = re.compile(
    r"^(agent_worker_limit|agent_tuning_applied_generation|agent_breaker_state)(?:\{[^}]*\})? (\S+)$", re.MULTILINE
)


class Follower:
    """Runs its parts in daemon threads until it is stopped; a part that fails for a moment goes on."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def every(self, seconds: float, part: Callable[[], None]) -> None:
        """Call `part` again and again."""

        def run() -> None:
            while not self._stop.is_set():
                began = time.monotonic()
                # What is away comes back, or the demo notices it elsewhere.
                with suppress(requests.RequestException, ValueError, KeyError):
                    part()
                self._stop.wait(max(0.0, began + seconds - time.monotonic()))

        self._start(run)

    def watch(self, cluster: ControlPlane, path: str, name: str, on_change: Callable[[float, Json], None]) -> None:
        """Call `on_change` with the time and the object after each change of one object."""

        def run() -> None:
            while not self._stop.is_set():
                try:
                    for body in _changes(cluster, path, name):
                        on_change(time.time(), body)
                        if self._stop.is_set():
                            return
                except (requests.RequestException, ValueError):
                    self._stop.wait(0.5)

        self._start(run)

    def stop(self) -> None:
        """Let the threads end; those that wait for the API server end with it."""
        self._stop.set()

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)


def _changes(cluster: ControlPlane, path: str, name: str) -> Iterator[Json]:
    """What a watch of one object yields, its present state first."""
    with requests.get(
        f"{cluster.url}{path}",
        params={"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": "3600"},
        headers={"Authorization": f"Bearer {cluster.token}"},
        verify=str(cluster.ca),
        stream=True,
        timeout=(TIMEOUT_SECONDS, 3600),
    ) as response:
        response.raise_for_status()
        for line in response.iter_lines(chunk_size=None):
            change = json.loads(line)
            if change["type"] in {"ADDED", "MODIFIED"}:
                yield change["object"]


def follow(world: World, cluster: ControlPlane, fleet: Fleet, upstream_url: str, name: str) -> Follower:
    """Fill the world from the API server, the agents, the provider and the fleet."""
    follower = Follower()
    follower.watch(cluster, f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", name, _on_deployment(world))
    settings = f"{name}-settings"
    follower.watch(cluster, f"/api/v1/namespaces/{NAMESPACE}/configmaps", settings, _on_config_map(world))
    follower.every(AGENT_POLL_SECONDS, _agents(world, fleet, name))
    follower.every(POLL_SECONDS, _upstream(world, upstream_url))
    follower.every(POLL_SECONDS, _pods(world, fleet))
    return follower


def follow_operator(follower: Follower, world: World, cluster: ControlPlane, operator_url: str, name: str) -> None:
    """Fill the world from the AgentDeployment and the operator's own records."""
    path = f"/apis/agentscaler.dev/v1alpha1/namespaces/{NAMESPACE}/agentdeployments"
    follower.watch(cluster, path, name, _on_object(world))
    session = _session()

    def read() -> None:
        answer = session.get(
            f"{operator_url}/records", params={"namespace": NAMESPACE, "name": name}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        for record in answer.json()["records"]:
            world.records.setdefault(float(record["now"]), record)

    follower.every(RECORDS_POLL_SECONDS, read)


def _on_deployment(world: World) -> Callable[[float, Json], None]:
    def changed(at: float, body: Json) -> None:
        size = Size(at, body["spec"]["replicas"], body.get("status", {}).get("readyReplicas", 0))
        last = world.sizes[-1] if world.sizes else None
        if last is None or last[1:] != size[1:]:
            world.sizes.append(size)
            if last is not None and last.replicas != size.replicas:
                world.tell(f"replicas {last.replicas} -> {size.replicas}")

    return changed


def _on_config_map(world: World) -> Callable[[float, Json], None]:
    def changed(at: float, body: Json) -> None:
        settings = json.loads(body.get("data", {}).get("tuning.json", "{}"))
        last = world.deliveries[-1] if world.deliveries else None
        if settings and (last is None or last.settings != settings):
            world.deliveries.append(Delivered(at, settings["generation"], settings))

    return changed


def _on_object(world: World) -> Callable[[float, Json], None]:
    def changed(at: float, body: Json) -> None:
        before = (world.status.get("lastDecision") or {}).get("at")
        world.objects.append((at, body))
        last = (body.get("status") or {}).get("lastDecision") or {}
        if last and last.get("at") != before:
            world.tell(f"decision: {last['summary']}")

    return changed


def _agents(world: World, fleet: Fleet, name: str) -> Callable[[], None]:
    session, pool = _session(), ThreadPoolExecutor(max_workers=4, thread_name_prefix="agents")
    fleet_session = _session()

    def scrape(endpoint: Json) -> None:
        try:
            text = session.get(f"{endpoint['url']}/metrics", timeout=TIMEOUT_SECONDS).text
        except requests.RequestException:
            return  # a pod that leaves
        found = {metric: int(float(value)) for metric, value in _METRIC.findall(text)}
        world.agents.append(
            AgentSample(
                time.time(),
                endpoint["pod"],
                found["agent_worker_limit"],
                found["agent_tuning_applied_generation"],
                found["agent_breaker_state"],
            )
        )

    def poll() -> None:
        answer = fleet_session.get(
            f"{fleet.url}/endpoints", params={"namespace": NAMESPACE, "name": name}, timeout=TIMEOUT_SECONDS
        )
        list(pool.map(scrape, answer.json()))

    return poll


def _upstream(world: World, url: str) -> Callable[[], None]:
    session = _session()

    def poll() -> None:
        stats = session.get(f"{url}/stats", timeout=TIMEOUT_SECONDS).json()
        world.upstream.append(UpstreamSample(time.time(), stats["calls"], stats["failed"]))

    return poll


def _pods(world: World, fleet: Fleet) -> Callable[[], None]:
    session = _session()

    def poll() -> None:
        stats: dict[str, Any] = session.get(f"{fleet.url}/stats", timeout=TIMEOUT_SECONDS).json()
        running = [pod for pod in stats["pods"].values() if pod["pid"]]
        totals = stats["totals"]
        worst = max((pod["rss_bytes"] for pod in running), default=0)
        world.pods.append(PodsSample(time.time(), len(running), worst, totals["oom_kills"], totals["lost_runs"]))

    return poll


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy for 127.0.0.1
    return session
