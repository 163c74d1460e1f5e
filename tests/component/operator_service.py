"""One AgentDeployment under the whole operator: what a test does to it, and what it sees of it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import requests

from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from e2e.harness.load import Load
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, wait_until

if TYPE_CHECKING:
    from tests.component.operator_stage import Stage

NAMESPACE = "whole"
TIME_SCALE = 0.2
LOOK_EVERY_SECONDS = 0.5
"""The operator under test decides once a second: no two changes fall between two looks."""
Json = dict[str, Any]


class Seen(NamedTuple):
    """What was asked of a Deployment and its pods from one moment on."""

    at: float
    replicas: int
    tuning: Json

    @property
    def workers(self) -> int:
        return int(self.tuning.get("workers", {}).get("maxConcurrent", 0))


class Watcher:
    """Keeps every change of size and settings, whoever is looking elsewhere at that moment."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._looked_at = 0.0
        self._seen: dict[str, list[Seen]] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def seen(self, name: str, since: float = 0.0) -> list[Seen]:
        """All that was in force from `since` until now, the state at that moment first."""
        asked_at = time.time()
        wait_until(lambda: self._looked_at > asked_at, PATIENCE_SECONDS, "one more look at the Deployments")
        return self.noted(name, since)

    def noted(self, name: str, since: float = 0.0) -> list[Seen]:
        """The same as far as it was looked at yet."""
        changes = list(self._seen.get(name, ()))
        first = max((at for at, change in enumerate(changes) if change.at <= since), default=0)
        return changes[first:]

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_SECONDS):
            try:
                self._look()
            except (requests.RequestException, KeyError):
                continue  # the API server is away

    def _look(self) -> None:
        now = time.time()
        # Settings are written before their Deployment: read in this order, none stands without them.
        deployments = self._cluster.get(DEPLOYMENTS.path(NAMESPACE))["items"]
        maps = self._cluster.get(CONFIG_MAPS.path(NAMESPACE))["items"]
        files = {each["metadata"]["name"]: each.get("data", {}).get("tuning.json", "") for each in maps}
        for each in deployments:
            name = each["metadata"]["name"]
            try:
                tuning = json.loads(files.get(f"{name}-settings") or "{}")
            except ValueError:
                tuning = {}
            new = Seen(now, each["spec"]["replicas"], tuning)
            known = self._seen.setdefault(name, [])
            if not known or known[-1][1:] != new[1:]:
                known.append(new)
        self._looked_at = now


def template(
    *, real: bool = True, memory: str | None = "1Gi", time_scale: float = TIME_SCALE, args: tuple[str, ...] = ()
) -> Json:
    """A pod template; `real`: its pods run as processes, else kwok alone plays them."""
    scales = ("--time-scale", str(time_scale), "--memory-scale", "0.002", "--drain-linger-seconds", "0.2")
    container: Json = {"name": "agent", "image": "agent:1", "args": [*scales, *args]}
    if memory is not None:
        container["resources"] = {"limits": {"memory": memory}}
    labels = {"agentscaler.dev/process": "true"} if real else {}
    return {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
    }


def reference(name: str) -> Json:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}


def foreign(name: str, pod: Json, replicas: int = 1) -> Json:
    labels = {"app": name, **pod["metadata"]["labels"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {**pod, "metadata": {"labels": labels}},
        },
    }


class Service:
    """One AgentDeployment and all that belongs to it."""

    def __init__(self, stage: Stage, name: str, target: str) -> None:
        self.stage = stage
        self.name = name
        self.target = target
        self._load: Load | None = None

    def edit(self, **spec: Any) -> None:
        """A merge patch of the spec, as `kubectl edit` sends it."""
        self.stage.merge(AGENT_DEPLOYMENTS.path(NAMESPACE, self.name), {"spec": spec})

    def load(self, rate_per_second: float, memory_factor: float | None = None) -> None:
        """Requests from now on."""
        if self._load is None:
            load = Load(
                self.stage.fleet.url,
                NAMESPACE,
                self.target,
                rate_per_second=rate_per_second,
                max_duration_seconds=3600,
                memory_factor=memory_factor,
            )
            self._load = self.stage.stack.enter_context(load)
        self._load.set_body(memory_factor, 0)
        self._load.set_rate(rate_per_second)

    def until_edited(self, **spec: Any) -> None:
        """Edit, and wait until the operator has decided on what was edited and has acted."""
        self.edit(**spec)
        generation = self.body["metadata"]["generation"]
        self.until(lambda: self.status.get("observedGeneration") == generation, "the edit observed")

    @property
    def body(self) -> Json:
        return self.stage.cluster.get(AGENT_DEPLOYMENTS.path(NAMESPACE, self.name))

    @property
    def status(self) -> Json:
        return cast("Json", self.body.get("status") or {})

    def condition(self, kind: str) -> Json:
        return next((each for each in self.status.get("conditions", ()) if each["type"] == kind), {})

    @property
    def deployment(self) -> Json:
        return self.stage.cluster.get(DEPLOYMENTS.path(NAMESPACE, self.target))

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"]["replicas"])

    @property
    def tuning(self) -> Json:
        data = self.stage.cluster.get(CONFIG_MAPS.path(NAMESPACE, f"{self.name}-settings"))["data"]
        return cast("Json", json.loads(data["tuning.json"]))

    def urls(self) -> dict[str, str]:
        """The ready agents, by pod."""
        return dict(self.stage.fleet.endpoints(NAMESPACE, self.target))

    def metric(self, name: str) -> list[float]:
        """A metric without labels as each ready agent says it itself."""
        found = []
        for url in self.urls().values():
            line = re.search(
                rf"^{name} (\S+)$", requests.get(f"{url}/metrics", timeout=REQUEST_SECONDS).text, re.MULTILINE
            )
            assert line is not None, name
            found.append(float(line[1]))
        return found

    def lowest(self, name: str) -> float:
        """The lowest that a ready agent says; below everything while none is ready, a busy one for a moment."""
        return min(self.metric(name), default=-inf)

    def highest(self, name: str) -> float:
        """The highest that a ready agent says; above everything while none is ready."""
        return max(self.metric(name), default=inf)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait; a failure shows what stands. To look costs the machine more than to wait a little longer."""
        look_at, failure = 0.0, "none"

        def holds() -> Any:
            nonlocal look_at, failure
            if time.monotonic() < look_at:
                return False
            self.stage.operator.check()
            try:
                found = condition()
            except requests.RequestException as error:  # not there yet, or gone since it was named
                found, failure = False, repr(error)
            look_at = time.monotonic() + LOOK_EVERY_SECONDS
            return found

        try:
            wait_until(holds, seconds, what)
        except TimeoutError as error:
            told = ("conditions", "settings", "recommended", "diagnosis", "lastDecision", "records")
            status = {key: value for key, value in self.status.items() if key in told}
            error.add_note(f"last failed request: {failure}")
            error.add_note(f"status of {self.name}: {json.dumps(status, indent=1)}")
            error.add_note("\n".join(map(str, ["seen:", *self.stage.watcher.noted(self.target)])))
            raise

    def until_condition(
        self, kind: str, status: str, reason: str | None = None, seconds: float = PATIENCE_SECONDS
    ) -> Json:
        """Wait for a condition and return it."""

        def holds() -> bool:
            found = self.condition(kind)
            return found.get("status") == status and reason in {None, found["reason"]}

        self.until(holds, f"{kind}={status} {reason or ''}", seconds)
        return self.condition(kind)

    def until_decided(self) -> None:
        """Wait until the operator has decided on it once more."""
        since = time.time()
        self.until(lambda: self.stage.records(self.name)[-1]["now"] > since, "one more decision")

    def until_pods(self, ready: int) -> None:
        """Wait until status counts so many ready pods."""
        self.until(lambda: self.status.get("readyReplicas", 0) == ready, f"{ready} ready pods in status")

    def until_without(self, kind: str, reason: str) -> None:
        """Wait until a condition no longer says that."""
        self.until(lambda: self.condition(kind).get("reason") != reason, f"{kind} without {reason}")

    def until_size(self, replicas: int, seconds: float = PATIENCE_SECONDS) -> None:
        self.until(lambda: self.replicas == replicas, f"{replicas} replicas of {self.name}", seconds)

    def until_serving(self, pods: int = 1) -> None:
        """Wait until so many agents are ready, under current settings, and seen by the operator."""
        self.until(lambda: len(self.urls()) == pods, f"{pods} ready agents")
        self.until_condition("Ready", "True")

    def seen(self, since: float = 0.0) -> list[Seen]:
        return self.stage.watcher.seen(self.target, since)
