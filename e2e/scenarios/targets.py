"""Deployments that are not ours, pods that only stand there, and what tells whether any of them was touched."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from e2e.harness.process import wait_until
from e2e.kind import operator, workload
from e2e.kind.images import AGENT
from e2e.scenarios.steps import POLL_SECONDS, READY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kind.cluster import KindCluster

API_VERSION = "apps/v1"
T = TypeVar("T")


def wait(condition: Callable[[], T | Literal[False] | None], what: str) -> T:
    """Wait until a condition is true and return its value; the API server is spared, several wait at a time."""
    return wait_until(condition, READY_SECONDS, what, every_seconds=POLL_SECONDS)


def wait_decided(cluster: KindCluster, namespace: str, name: str, times: int = 3) -> None:
    """Wait until the operator has decided so many times more on an AgentDeployment, whatever came of it."""
    for _ in range(times):
        since = time.time()

        def again(since: float = since) -> bool:
            records = operator.records(cluster, namespace, name)
            return bool(records) and records[-1]["now"] > since

        wait(again, f"one more decision on {name}")


def standing() -> dict[str, Any]:
    """A pod template without metrics: nothing is known of such pods, so their number changes by order only."""
    container = {
        "name": "agent",
        "image": AGENT,
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "16Mi"}},
        "securityContext": workload.HARDENED,
    }
    return {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}


def foreign(name: str, *, settings_of: str | None = None) -> dict[str, Any]:
    """A Deployment of one reference agent that somebody else made.

    Args:
        name: Of it, and the value of the label ``app`` of its pods.
        settings_of: AgentDeployment whose settings it mounts, if they are there; None: it mounts nothing.
    """
    pod = workload.agent_pod()
    pod["metadata"] = {"labels": {"app": name}, "annotations": {"prometheus.io/scrape": "true"}}
    if settings_of is not None:
        pod["spec"]["volumes"] = [
            {"name": "settings", "configMap": {"name": f"{settings_of}-settings", "optional": True}}
        ]
        pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "settings", "mountPath": "/etc/agentscaler"}]
    return {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": pod},
    }


def adopting(name: str, target: str, **spec: Any) -> dict[str, Any]:
    """An AgentDeployment that adopts the Deployment ``target``."""
    manifest = workload.agent_deployment(name, {}, **spec)
    del manifest["spec"]["template"]
    manifest["spec"]["scaleTargetRef"] = {"apiVersion": API_VERSION, "kind": "Deployment", "name": target}
    return manifest


def settings_path(namespace: str, name: str) -> str:
    """API path of the ConfigMap with the settings of an AgentDeployment."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}-settings"


def pods_in(cluster: KindCluster, namespace: str) -> set[str]:
    """Unique ids of all pods that are not ending: another id means that one was replaced."""
    return {pod["metadata"]["uid"] for pod in cluster.pods(namespace, "")}


def revision(cluster: KindCluster, namespace: str, name: str) -> int:
    """How many different templates a Deployment has had: each is a rollout."""
    return int(cluster.deployment(namespace, name)["metadata"]["annotations"]["deployment.kubernetes.io/revision"])
