"""What many scenarios do or ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.harness.administrator import checked, is_true
from e2e.harness.process import wait_until

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster
    from e2e.kind.load import PodLoad

POLL_SECONDS = 0.3
READY_SECONDS = 300.0
"""Of whoever waits: only a failure has to wait for so long."""


def wait_ready(cluster: KindCluster, namespace: str, name: str, pods: int) -> list[str]:
    """Wait until an AgentDeployment is Ready with so many pods, ready as well; their names."""

    def ready() -> list[str]:
        found = [pod["metadata"]["name"] for pod in cluster.ready_pods_of(namespace, name)]
        return found if len(found) == pods and is_true(cluster.agent_deployment(namespace, name), "Ready") else []

    return wait_until(ready, READY_SECONDS, f"{name} Ready with {pods} pods", every_seconds=POLL_SECONDS)


def wait_pods(cluster: KindCluster, namespace: str, selector: str, pods: int) -> None:
    """Wait until so many pods of a selector are ready."""
    wait_until(
        lambda: sum(is_true(pod, "Ready") for pod in cluster.pods(namespace, selector)) == pods,
        READY_SECONDS,
        f"{pods} ready pods of {selector}",
        every_seconds=POLL_SECONDS,
    )


def change(cluster: KindCluster, namespace: str, name: str, spec: dict[str, Any]) -> None:
    """Merge into the spec of an AgentDeployment."""
    path = f"/apis/agentscaler.dev/v1alpha1/namespaces/{namespace}/agentdeployments/{name}"
    checked(cluster.request("PATCH", path, {"spec": spec}, "application/merge-patch+json"))


def condition(cluster: KindCluster, namespace: str, name: str, kind: str) -> dict[str, Any]:
    """A condition of an AgentDeployment; empty while it has none of that type."""
    status = cluster.agent_deployment(namespace, name).get("status") or {}
    found: list[dict[str, Any]] = status.get("conditions") or []
    return next((each for each in found if each["type"] == kind), {})


def restarts(cluster: KindCluster, namespace: str, name: str) -> int:
    """How often containers of the pods of an AgentDeployment were started again."""
    pods = cluster.pods_of(namespace, name)
    return sum(status["restartCount"] for pod in pods for status in pod["status"].get("containerStatuses") or ())


def other_than_ok(load: PodLoad, since: float = 0.0) -> dict[str, int]:
    """Wait until every request has its answer; what was not well, by status."""
    load.set_rate(0)
    answered = "an answer to every request"
    wait_until(lambda: load.stats()["in_flight"] == 0, READY_SECONDS, answered, every_seconds=POLL_SECONDS)
    stats = load.stats(since=since)
    assert stats["finished"] > 0
    counts: dict[str, int] = stats["counts"]
    return {status: count for status, count in counts.items() if count and status != "ok"}
