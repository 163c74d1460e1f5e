"""Others who write the size: an HPA, a person, an HPA that is meant to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from e2e.kind import workload
from e2e.kind.timeline import Timeline
from e2e.scenarios.shell import type_in
from e2e.scenarios.steps import change, condition, wait_pods
from e2e.scenarios.targets import standing, wait, wait_decided
from e2e.scenarios.together import side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster


def hpa(name: str, kind: str, target: str, least: int, api_version: str) -> dict[str, Any]:
    """An HPA that needs no metrics as long as its target is smaller than ``least``."""
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": target},
            "minReplicas": least,
            "maxReplicas": least,
            "metrics": [cpu],
        },
    }


def sized(name: str, mode: str) -> dict[str, Any]:
    return workload.agent_deployment(name, standing(), tuning={"replicas": {"mode": mode, "min": 1, "max": 9}})


@side_by_side
def test_an_hpa_on_the_target_is_named_and_not_fought_until_it_goes(cluster: KindCluster, namespace: str) -> None:
    name = "contested"
    selector = f"agentscaler.dev/name={name}"
    cluster.apply(workload.in_namespace(namespace, sized(name, "Auto")))
    wait_pods(cluster, namespace, selector, 1)
    with Timeline(cluster, namespace, name) as seen:
        wait(lambda: seen.sizes, "the first size")
        rival = hpa("rival", "Deployment", name, 3, "apps/v1")
        cluster.apply(workload.in_namespace(namespace, rival))

        def conflict() -> dict[str, Any]:
            found = condition(cluster, namespace, name, "Conflict")
            return found if found.get("status") == "True" else {}

        told = wait(conflict, "Conflict")
        assert told["reason"] == "ForeignAutoscaler"
        assert f"HorizontalPodAutoscaler {namespace}/rival" in told["message"]
        wait_pods(cluster, namespace, selector, 3)

        change(cluster, namespace, name, {"tuning": {"replicas": {"min": 4}}})
        wait_decided(cluster, namespace, name)
        wait(lambda: seen.replicas == 3, "the size of the HPA seen")
        assert seen.replicas_between(0, time.time()) == [1, 3]

        type_in(cluster, f"kubectl delete hpa rival --namespace {namespace}")
        wait_pods(cluster, namespace, selector, 4)
        wait(lambda: condition(cluster, namespace, name, "Conflict").get("status") == "False", "peace")
        wait(lambda: seen.replicas == 4, "our size seen")
        assert seen.replicas_between(0, time.time()) == [1, 3, 4]


@side_by_side
def test_one_kubectl_scale_of_the_deployment_is_taken_as_the_size(cluster: KindCluster, namespace: str) -> None:
    name = "scaled"
    cluster.apply(workload.in_namespace(namespace, sized(name, "Auto")))
    wait_pods(cluster, namespace, f"agentscaler.dev/name={name}", 1)
    with Timeline(cluster, namespace, name) as seen:
        wait(lambda: seen.sizes, "the first size")
        type_in(cluster, f"kubectl scale deployment/{name} --namespace {namespace} --replicas=4")
        wait_pods(cluster, namespace, f"agentscaler.dev/name={name}", 4)
        wait_decided(cluster, namespace, name)
        wait(lambda: seen.replicas == 4, "the person's size seen")
        assert seen.replicas_between(0, time.time()) == [1, 4]
    wait(lambda: cluster.agent_deployment(namespace, name)["status"]["settings"]["replicas"] == 4, "a word of it")
    assert condition(cluster, namespace, name, "Conflict")["status"] == "False"


@side_by_side
def test_an_hpa_drives_the_object_itself_while_its_replicas_are_off(cluster: KindCluster, namespace: str) -> None:
    name = "driven"
    driver = hpa("driver", "AgentDeployment", name, 3, "agentscaler.dev/v1alpha1")
    cluster.apply(workload.in_namespace(namespace, sized(name, "Off")))
    wait_pods(cluster, namespace, f"agentscaler.dev/name={name}", 1)
    cluster.apply(workload.in_namespace(namespace, driver))
    wait_pods(cluster, namespace, f"agentscaler.dev/name={name}", 3)
    assert cluster.agent_deployment(namespace, name)["spec"]["replicas"] == 3
    # Fewer as well: what the HPA may ask for at most.
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/driver"
    bounds = {"spec": {"minReplicas": 2, "maxReplicas": 2}}
    assert cluster.request("PATCH", path, bounds, "application/merge-patch+json").ok
    wait_pods(cluster, namespace, f"agentscaler.dev/name={name}", 2)
    assert cluster.agent_deployment(namespace, name)["spec"]["replicas"] == 2
    wait_decided(cluster, namespace, name)
    assert condition(cluster, namespace, name, "Conflict")["status"] == "False"
    # False for a tick when a write met another one.
    wait(lambda: condition(cluster, namespace, name, "AbleToScale").get("status") == "True", "able to scale")
