"""A namespace in which a test makes what `Targets` reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from agentscaler.kube.api import KubeApi
from agentscaler.kube.live import Live
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from agentscaler.kube.store import Record, Store
from agentscaler.kube.targets import Targets
from agentscaler.kube.workload import MANAGER, config_map, deployment, owner_of
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until

TEMPLATE = {
    "spec": {
        "containers": [
            {"name": "agent", "image": "agent:1", "resources": {"limits": {"memory": "256Mi", "cpu": "500m"}}}
        ]
    }
}


class World:
    """One namespace, its records, and what `Targets` says of them."""

    def __init__(self, cluster: ControlPlane, api: KubeApi, namespace: str) -> None:
        self.cluster = cluster
        self.api = api
        self.namespace = namespace
        self.targets = Targets(api, [namespace])

    def agent(self, name: str, **spec: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "agentscaler.dev/v1alpha1",
                "kind": "AgentDeployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": spec or {"template": TEMPLATE},
            }
        )

    def deployment(self, name: str, template: dict[str, Any] | None = None, replicas: int = 1) -> None:
        spec = (template or TEMPLATE)["spec"]
        self.cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
                },
            }
        )

    async def records(self) -> dict[str, Record]:
        store = Store()
        store.resync(await self.api.list(AGENT_DEPLOYMENTS.path(self.namespace), resource_version=""))
        return {record.name: record for record in store.snapshot()}

    async def live(self, now: float | None = None, **options: Any) -> dict[str, Live]:
        records = await self.records()
        lives = await self.targets.list(tuple(records.values()), now=time.time() if now is None else now, **options)
        return {name: lives[record.uid] for name, record in records.items()}

    async def make(self, name: str, replicas: int = 1) -> Record:
        """What the actuator makes."""
        record = (await self.records())[name]
        await self.api.create(
            DEPLOYMENTS.path(self.namespace), deployment(record, replicas=replicas), field_manager=MANAGER
        )
        await self.api.create(
            CONFIG_MAPS.path(self.namespace),
            config_map(record, owner_of(record), {"tuning.json": '{"generation":4}'}),
            field_manager=MANAGER,
        )
        return record

    async def scale(self, name: str, replicas: int, manager: str) -> None:
        path = DEPLOYMENTS.path(self.namespace, name, "scale")
        await self.api.patch(path, {"spec": {"replicas": replicas}}, field_manager=manager)

    def ready(self, name: str, replicas: int) -> None:
        def settled() -> bool:
            found = self.cluster.get(DEPLOYMENTS.path(self.namespace, name))
            status = found["status"]
            counts = (status.get("replicas", 0), status.get("readyReplicas", 0), status.get("updatedReplicas", 0))
            return counts == (replicas,) * 3 and status["observedGeneration"] == found["metadata"]["generation"]

        wait_until(settled, PATIENCE_SECONDS, f"{replicas} ready pods of {name}")


async def eventually(read: Callable[[], Any], condition: Callable[[Any], bool], what: str) -> Any:
    """Read again until the condition holds: `resourceVersion=0` may lag behind a write."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(seen := await read()):
        assert time.monotonic() < deadline, f"never saw {what}, but {seen}"
    return seen
