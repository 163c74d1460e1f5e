"""A stage for the act side: the real API server and the real loop; what agents report is set by the test."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS, PODS, Resource
from agentscaler.kube.records import Records
from agentscaler.kube.store import Store
from agentscaler.kube.targets import Targets
from agentscaler.loop import Loop
from agentscaler.signals.collector import Collector
from agentscaler.signals.request import SignalRequest
from agentscaler.telemetry import Telemetry
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS

EVENTS = Resource("", "v1", "events")
MEBIBYTE = 2**20
READS = {"get", "list", "watch"}
RATES = (
    SignalName.REQUEST_RATE_60,
    SignalName.REQUEST_RATE_120,
    SignalName.REQUEST_RATE_300,
    SignalName.REQUEST_RATE_600,
)
AT_LEAST_TWO = {"replicas": {"min": 2, "max": 20}}
TEMPLATE: dict[str, Any] = {
    "spec": {"containers": [{"name": "agent", "image": "agent:1", "resources": {"limits": {"memory": "1Gi"}}}]}
}


class Agents:
    """What a collector would answer of agents that the test plays."""

    def __init__(self) -> None:
        self.values: dict[SignalName, float | Health] = {
            SignalName.IN_FLIGHT: 1.0,
            SignalName.IN_FLIGHT_MAX: 1.0,
            SignalName.QUEUE_DEPTH: 0.0,
            SignalName.REQUEST_RATE_60: 1.0,
            SignalName.REQUEST_RATE_120: 1.0,
            SignalName.REQUEST_RATE_300: 1.0,
            SignalName.REQUEST_RATE_600: 1.0,
            SignalName.SERVICE_TIME: 1.0,
            SignalName.WORKER_LIMIT: 4.0,
            SignalName.ERROR_RATIO: 0.0,
            SignalName.MEMORY_MAX_BYTES: 200.0 * MEBIBYTE,
            SignalName.MEMORY_MEAN_BYTES: 200.0 * MEBIBYTE,
            SignalName.CACHE_BYTES: 10.0 * MEBIBYTE,
            SignalName.TARGETS: 1.0,
            SignalName.TARGETS_UP: 1.0,
            SignalName.UPSTREAM_CALL_RATE: 1.0,
            SignalName.UPSTREAM_5XX_RATE: 0.0,
            SignalName.UPSTREAM_TIMEOUT_RATE: 0.0,
            SignalName.UPSTREAM_429_RATE: 0.0,
        }
        self.in_flight: dict[str, float] = {}
        self.names: frozenset[str] = frozenset()
        self.names_asked = 0
        self.queries = 0
        self.failures = 0

    async def collect(self, requests: Sequence[SignalRequest], now: float) -> dict[str, Observation]:
        def signal(value: float | Health) -> Signal:
            return Signal(None, value) if isinstance(value, Health) else Signal(value, Health.FRESH, now - 1)

        seen = Observation(now, {name: signal(value) for name, value in self.values.items()})
        return {request.uid: seen for request in requests}

    async def history(self, requests: Sequence[SignalRequest], now: float) -> dict[str, tuple[Observation, ...]]:
        return {request.uid: () for request in requests if now}

    async def agent_names(self, *_: Any) -> frozenset[str]:
        self.names_asked += 1
        return self.names

    async def pods_in_flight(self, *_: Any) -> Mapping[str, float]:
        return dict(self.in_flight)


class Stage:
    """One namespace under the operator, tick by tick; time runs 5 s a tick, whatever the clock says."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.agents = Agents()
        self.now = time.time()
        self.apis: list[KubeApi] = []
        self.start()

    def start(self) -> None:
        """An operator that has just been started."""
        self.api = KubeApi(load_configuration(str(self.cluster.kubeconfig)))
        self.apis.append(self.api)
        self.store = Store()
        self.telemetry = Telemetry()
        self.records = Records()
        self.loop = Loop(
            store=self.store,
            targets=Targets(self.api, [self.namespace]),
            collector=cast("Collector", self.agents),
            api=self.api,
            records=self.records,
            telemetry=self.telemetry,
        )

    def close(self) -> None:
        for api in self.apis:
            api.close()

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self._refresh_cache()
            # What the watch would bring, and caught up with what has been written.
            self.store.resync(await self.api.list(AGENT_DEPLOYMENTS.path(self.namespace), resource_version=""))
            await self.loop.tick(self.now)
            await self.loop.finish()
            self.now += 5

    def _refresh_cache(self) -> None:
        """Let the cache, from which the operator lists, catch up with what is stored: a lag would cost it a tick.

        The API server answers a list that names no version from that cache as well, once it is as new as the store.
        """
        for resource in (DEPLOYMENTS, CONFIG_MAPS):
            self.get(f"{resource.path(self.namespace)}?labelSelector=none")

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Tick until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            if found := condition():
                return found
            assert time.monotonic() < deadline, f"never saw {what}; status is {json.dumps(self.status(), indent=1)}"
            await self.tick()
            # Kubernetes' own controllers live by the clock: not too many ticks for each second.
            await asyncio.sleep(0.15)

    def apply(self, name: str = "one", **spec: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "agentscaler.dev/v1alpha1",
                "kind": "AgentDeployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"template": TEMPLATE} | spec if "scaleTargetRef" not in spec else spec,
            }
        )

    def foreign_deployment(self, name: str, replicas: int = 2, **pod: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {**TEMPLATE["spec"], **pod}},
                },
            }
        )

    async def settle(self, name: str = "one") -> None:
        """Tick until the object is Ready, nothing is under way, and a tick has written nothing."""
        written: Counter[tuple[str, str]] | None = None

        def rests() -> bool:
            nonlocal written
            before, written = written, self.writes()
            return self.is_settled(name) and written == before

        await self.until(rests, f"{name} Ready and not Reconciling")

    def is_settled(self, name: str = "one") -> bool:
        self.report(name)
        found = self.object(name)
        status = found.get("status") or {}
        held = {each["type"]: each["status"] for each in status.get("conditions", ())}
        wanted = {"Ready": "True", "Reconciling": "False", "Stalled": "False"}
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return is_seen and wanted.items() <= held.items()

    async def until_rolled_out(self, name: str = "one") -> None:
        """Tick until the Deployment's controller has done all that the template and the size ask for."""

        def is_done() -> bool:
            made = self.deployment(name)
            wanted, status = made["spec"]["replicas"], made["status"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            return counts == [wanted] * 3 and status.get("observedGeneration") == made["metadata"]["generation"]

        await self.until(is_done, f"the end of the rollout of {name}")

    def report(self, name: str = "one") -> None:
        """Pods apply what their ConfigMap says, and say so."""
        found = self.find(CONFIG_MAPS.path(self.namespace, f"{name}-settings"))
        if found is not None:
            generation = json.loads(found["data"]["tuning.json"])["generation"]
            self.agents.values[SignalName.APPLIED_GENERATION] = float(generation)

    def find(self, path: str) -> dict[str, Any] | None:
        answer = self.cluster.request("GET", path)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return cast("dict[str, Any]", answer.json())

    def get(self, path: str) -> dict[str, Any]:
        found = self.find(path)
        assert found is not None, path
        return found

    def object(self, name: str = "one") -> dict[str, Any]:
        return self.get(AGENT_DEPLOYMENTS.path(self.namespace, name))

    def status(self, name: str = "one") -> dict[str, Any]:
        return cast("dict[str, Any]", self.object(name).get("status") or {})

    def conditions(self, name: str = "one") -> dict[str, str]:
        return {each["type"]: each["status"] for each in self.status(name).get("conditions", ())}

    def condition(self, kind: str, name: str = "one") -> dict[str, Any]:
        return next((each for each in self.status(name).get("conditions", ()) if each["type"] == kind), {})

    def deployment(self, name: str = "one") -> dict[str, Any]:
        return self.get(DEPLOYMENTS.path(self.namespace, name))

    def config_map(self, name: str = "one") -> dict[str, Any]:
        return self.get(CONFIG_MAPS.path(self.namespace, f"{name}-settings"))

    def tuning(self, name: str = "one") -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(self.config_map(name)["data"]["tuning.json"]))

    def pods(self, selector: str = "agentscaler.dev/name=one") -> list[dict[str, Any]]:
        answer = self.cluster.request("GET", PODS.path(self.namespace), params={"labelSelector": selector})
        answer.raise_for_status()
        return [pod for pod in answer.json()["items"] if "deletionTimestamp" not in pod["metadata"]]

    def events(self) -> list[tuple[str, str]]:
        items = self.get(EVENTS.path(self.namespace))["items"]
        ours = [each for each in items if each.get("reportingComponent", "").startswith("agentscaler")]
        return [(each["reason"], each["message"]) for each in ours]

    def writes(self) -> Counter[tuple[str, str]]:
        """How many of each kind have gone out."""
        return Counter({asked: count for asked, count in self.api.requests.items() if asked[0] not in READS})

    def merge(self, path: str, body: dict[str, Any], manager: str = "someone") -> None:
        self.cluster.request(
            "PATCH", path, body, content_type="application/merge-patch+json", params={"fieldManager": manager}
        ).raise_for_status()
