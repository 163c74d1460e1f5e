"""Settings that only a restart delivers, and pods that do not come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from e2e.kind import workload
from e2e.kind.load import PodLoad
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import change, condition, other_than_ok, wait_ready
from e2e.scenarios.targets import wait
from e2e.scenarios.together import side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

PODS = 4
LEAST_AVAILABLE = 3  # the API server's default: a quarter may be away
INTERVAL_SECONDS = 3600
MOST_PODS = 60


def replica_sets(cluster: KindCluster, namespace: str, name: str) -> int:
    """How many templates its pods have had."""
    answer = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/replicasets?labelSelector=agentscaler.dev/name={name}")
    return len(answer["items"])


def wait_missing(cluster: KindCluster, namespace: str, name: str, kind: str) -> dict[str, Any]:
    """Wait until a condition of an object says that its pods do not come; the condition."""

    def said() -> dict[str, Any]:
        found = condition(cluster, namespace, name, kind)
        return found if (found.get("status"), found.get("reason")) == ("True", "PodsNotComing") else {}

    return wait(said, f"{name} {kind}")


@side_by_side
def test_settings_that_need_a_restart_roll_the_pods_once_and_a_few_at_a_time(
    cluster: KindCluster, namespace: str
) -> None:
    name = "rolled"
    agd = workload.agent_deployment(
        name,
        workload.agent_pod(arguments=("--seed=7",)),
        replicas=PODS,
        delivery={"mode": "Restart", "minRestartIntervalSeconds": INTERVAL_SECONDS},
        tuning={
            "replicas": {"mode": "Off"},
            "workers": {"mode": "Off", "initial": 4},
            "cache": {"mode": "Off", "initial": "16Mi"},
        },
    )
    cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(name), agd))
    first = wait_ready(cluster, namespace, name, PODS)
    with (
        Timeline(cluster, namespace, name) as seen,
        PodLoad(cluster, namespace, name, rate_per_second=3, max_duration_seconds=1800) as load,
    ):
        change(cluster, namespace, name, {"tuning": {"workers": {"initial": 6}, "cache": {"initial": "24Mi"}}})

        def renewed() -> list[str]:
            pods = [pod["metadata"]["name"] for pod in cluster.ready_pods_of(namespace, name)]
            return pods if len(pods) == PODS == len(cluster.pods_of(namespace, name)) and not {*pods} & {*first} else []

        pods = wait(renewed, "new pods")

        def limits() -> set[tuple[float, ...]]:
            names = ("agent_worker_limit", "agent_cache_limit_bytes")
            return {tuple(cluster.metric(namespace, pod, each) for each in names) for pod in pods}

        # A kubelet that is behind starts a pod with the file of before, and brings the new one at once.
        wait(lambda: limits() == {(6, 24 * 2**20)}, "the new settings in each pod")
        wait(lambda: condition(cluster, namespace, name, "Delivered").get("status") == "True", "the pods' report")
        assert min(size.available for size in seen.sizes) >= LEAST_AVAILABLE
        assert replica_sets(cluster, namespace, name) == 2

        # The next change has to wait for its time.
        change(cluster, namespace, name, {"tuning": {"workers": {"initial": 8}}})

        def waits() -> bool:
            found = condition(cluster, namespace, name, "Delivered")
            return found["status"] == "False" and "next restart" in found["message"]

        wait(waits, "a word that it waits")
        assert replica_sets(cluster, namespace, name) == 2
        assert {pod["metadata"]["name"] for pod in cluster.pods_of(namespace, name)} == set(pods)
        assert other_than_ok(load) == {}


@side_by_side
def test_pods_that_no_node_takes_are_told_and_no_more_are_ordered(cluster: KindCluster, namespace: str) -> None:
    name = "lonely"
    template = workload.agent_pod(arguments=("--seed=9",))
    one_a_node = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"agentscaler.dev/name": name}},
    }
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [one_a_node]}}
    template["spec"]["affinity"] = anti
    agd = workload.agent_deployment(
        name,
        template,
        objectives={"queueWait": {"quantile": "0.95", "targetMilliseconds": 3000}},
        tuning={"replicas": {"min": 1, "max": MOST_PODS}, "workers": {"min": 2, "max": 4, "initial": 4}},
    )
    cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(name), agd))
    wait_ready(cluster, namespace, name, 1)
    with (
        Timeline(cluster, namespace, name) as seen,
        PodLoad(cluster, namespace, name, rate_per_second=8, max_duration_seconds=1800, timeout_seconds=30) as load,
    ):
        stalled = wait_missing(cluster, namespace, name, "Stalled")
        assert "Unschedulable" in stalled["message"]
        # The first pod too many may be enough for a while; then more are needed.
        wait_missing(cluster, namespace, name, "ScalingLimited")
        # Two orders may come before the scheduler has spoken, none after that.
        ordered = int(cluster.deployment(namespace, name)["spec"]["replicas"])
        wait(lambda: seen.replicas == ordered, "the order seen")
        told, answered = time.time(), load.stats()["finished"]
        wait(lambda: load.stats()["finished"] > answered + 100, "more of the same")
        # The queue grows, and with it the need; nothing more is ordered.
        wait(lambda: load.stats()["in_flight"] > 50, "a queue")
        assert 1 < ordered < MOST_PODS
        assert seen.replicas_between(told, time.time()) == [ordered]
        assert seen.replicas_between(0, told) == sorted(seen.replicas_between(0, told))


@side_by_side
def test_an_image_that_cannot_be_pulled_is_named(cluster: KindCluster, namespace: str) -> None:
    name = "absent"
    template = workload.agent_pod()
    template["spec"]["containers"][0]["image"] = "localhost:1/absent:1"
    agd = workload.agent_deployment(name, template, tuning={"replicas": {"min": 2, "max": 8}})
    cluster.apply(workload.in_namespace(namespace, agd))
    with Timeline(cluster, namespace, name) as seen:
        stalled = wait_missing(cluster, namespace, name, "Stalled")
        assert "ImagePull" in stalled["message"]
        assert condition(cluster, namespace, name, "Ready")["status"] == "False"
        wait(lambda: seen.sizes, "the size")
        assert seen.replicas_between(0, time.time()) == [2]
