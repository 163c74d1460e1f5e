"""What happened to one target, seen from outside: its size and settings as the API server tells, its agents' own words.

Times are Unix seconds at which this process saw it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.kind.cluster import KindCluster

WATCH_SECONDS = 600
IDLE_SECONDS = 30.0  # a watch that says nothing for so long is begun anew
AGENT_POLL_SECONDS = 0.5
AGENT_AGE_SECONDS = 10.0  # an agent that was read so long ago still serves: on a busy machine a round takes seconds
_METRIC = re.compile(
    r"^(agent_worker_limit|agent_inflight_requests|agent_tuning_applied_generation|agent_breaker_state)"
    r"(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)


class Size(NamedTuple):
    """The Deployment after a change."""

    at: float
    replicas: int
    available: int
    generation: int


class Written(NamedTuple):
    """A content of the settings."""

    at: float
    settings: dict[str, Any]
    """Of tuning.json."""
    files: dict[str, str]
    """All of them, the framework's own beside tuning.json."""

    @property
    def workers(self) -> int:
        """The worker limit that stands in it."""
        return int(self.settings["workers"]["maxConcurrent"])


class Agent(NamedTuple):
    """One agent's own /metrics."""

    at: float
    pod: str
    workers: int
    generation: int
    in_flight: int
    breaker_state: int | None
    """None: it has no breaker."""


class Timeline:
    """Follows one target as a context manager; what it saw stays readable afterwards.

    Args:
        cluster: Where.
        namespace: Of the target.
        name: Of the Deployment; the settings are those of ``<name>-settings``.
        agents: Whether each pod's own metrics are read twice a second.
    """

    def __init__(self, cluster: KindCluster, namespace: str, name: str, *, agents: bool = False) -> None:
        self.sizes: list[Size] = []
        self.written: list[Written] = []
        self.agents: list[Agent] = []
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._stop = threading.Event()
        apps, core = f"/apis/apps/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}"
        targets: list[Callable[[], None]] = [
            lambda: self._follow(f"{apps}/deployments", name, self._saw_deployment),
            lambda: self._follow(f"{core}/configmaps", f"{name}-settings", self._saw_settings),
            *([self._follow_agents] if agents else []),
        ]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # the threads end with their next line, or with the process

    @property
    def replicas(self) -> int:
        """What the target's spec asks for now; 0 before it was seen."""
        return self.sizes[-1].replicas if self.sizes else 0

    def replicas_between(self, since: float, until: float) -> list[int]:
        """Each size that the target's spec asked for in [since, until), the one it began with first."""
        before = [size.replicas for size in self.sizes if size.at < since][-1:]
        steps = before + [size.replicas for size in self.sizes if since <= size.at < until]
        return steps[:1] + [after for before_it, after in pairwise(steps) if after != before_it]

    def workers_between(self, since: float, until: float) -> list[int]:
        """Likewise, each worker limit that was written."""
        before = [each.workers for each in self.written if each.at < since][-1:]
        steps = before + [each.workers for each in self.written if since <= each.at < until]
        return steps[:1] + [after for before_it, after in pairwise(steps) if after != before_it]

    def in_force_after(self, write: Written) -> dict[str, float]:
        """Seconds from a write until the agents that served at that time report its generation; inf: never did."""
        serving = {seen.pod for seen in self.agents if write.at - AGENT_AGE_SECONDS <= seen.at <= write.at}
        return {
            pod: next(
                (
                    seen.at - write.at
                    for seen in self.agents
                    if seen.pod == pod and seen.at > write.at and seen.generation >= write.settings["generation"]
                ),
                float("inf"),
            )
            for pod in serving
        }

    def _saw_deployment(self, body: dict[str, Any]) -> None:
        status, spec = body.get("status") or {}, body["spec"]
        generation = int(body["metadata"]["generation"])
        self.sizes.append(Size(time.time(), spec["replicas"], status.get("availableReplicas") or 0, generation))

    def _saw_settings(self, body: dict[str, Any]) -> None:
        files = body.get("data") or {}
        settings = json.loads(files.get("tuning.json", "null"))
        if settings and (not self.written or self.written[-1].settings != settings):
            self.written.append(Written(time.time(), settings, files))

    def _follow(self, path: str, name: str, saw: Callable[[dict[str, Any]], None]) -> None:
        while not self._stop.is_set():
            with suppress(requests.RequestException, ValueError):
                for body in self._changes(path, name):
                    if self._stop.is_set():
                        return
                    saw(body)
            self._stop.wait(0.5)

    def _changes(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        """What a watch of one object yields, its present state first."""
        params = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(WATCH_SECONDS)}
        cluster = self._cluster
        with requests.Session() as session:
            session.trust_env = False  # no proxy for 127.0.0.1
            with session.get(
                f"{cluster.url}{path}",
                params=params,
                headers={"Authorization": f"Bearer {cluster.token}"},
                verify=str(cluster.ca),
                stream=True,
                timeout=(5.0, IDLE_SECONDS),
            ) as response:
                response.raise_for_status()
                for line in response.iter_lines(chunk_size=None):
                    change = json.loads(line)
                    if change["type"] in {"ADDED", "MODIFIED"}:
                        yield change["object"]

    def _follow_agents(self) -> None:
        while not self._stop.wait(AGENT_POLL_SECONDS):
            with suppress(requests.RequestException, KeyError):
                for pod in self._cluster.ready_pods_of(self._namespace, self._name):
                    self._read_agent(pod["metadata"]["name"])

    def _read_agent(self, pod: str) -> None:
        answer = self._cluster.http(self._namespace, f"pods/{pod}:8080", "metrics")
        if not answer.ok:
            return  # it leaves
        found = {metric: int(float(value)) for metric, value in _METRIC.findall(answer.text)}
        seen = Agent(
            time.time(),
            pod,
            found["agent_worker_limit"],
            found["agent_tuning_applied_generation"],
            found["agent_inflight_requests"],
            found.get("agent_breaker_state"),
        )
        self.agents.append(seen)
