"""Pods that leave while runs of half a minute are under way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from e2e.harness.administrator import checked
from e2e.kind import workload
from e2e.kind.load import PodLoad
from e2e.scenarios.steps import other_than_ok, wait_ready
from e2e.scenarios.targets import wait
from e2e.scenarios.together import side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

RUN_SECONDS = 30
BUSY = {"busy": "yes"}
RATE = 0.3
BUSY_RUNS = 3


def in_flight(cluster: KindCluster, namespace: str, pod: str) -> float:
    return cluster.metric(namespace, pod, "agent_inflight_requests")


def wait_left(cluster: KindCluster, namespace: str, name: str, count: int) -> set[str]:
    """Wait until so many pods are left that do not leave; their names."""

    def left() -> set[str]:
        found = {str(pod["metadata"]["name"]) for pod in cluster.pods_of(namespace, name)}
        return found if len(found) == count else set()

    return wait(left, f"{count} pods left")


@side_by_side
def test_idle_pods_leave_first_and_a_busy_one_finishes_what_it_began(cluster: KindCluster, namespace: str) -> None:
    name = "patient"
    agd = workload.agent_deployment(
        name,
        workload.agent_pod(time_scale=1.0, arguments=(f"--run-seconds={RUN_SECONDS}",), grace_seconds=120),
        replicas=4,
        tuning={"replicas": {"mode": "Off"}, "workers": {"mode": "Off", "initial": 8}},
    )
    manifests = [*workload.upstream(), workload.service(name), workload.service("busy", BUSY), agd]
    cluster.apply(workload.in_namespace(namespace, *manifests))
    wait_ready(cluster, namespace, name, 4)
    pods = sorted(cluster.ready_pods_of(namespace, name), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    busy = {str(pod["metadata"]["name"]) for pod in pods[-2:]}  # the newest: those that would go without costs
    for pod in busy:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
        checked(cluster.request("PATCH", path, {"metadata": {"labels": BUSY}}, "application/merge-patch+json"))

    with PodLoad(
        cluster, namespace, "busy", rate_per_second=RATE, max_duration_seconds=1800, timeout_seconds=150
    ) as load:

        def wait_busy() -> None:
            """Until both have so many runs, also as Prometheus knows, that neither is idle a few seconds later."""
            which = f'agent_inflight_requests{{namespace="{namespace}", pod="%s"}}'

            def both() -> bool:
                found = [in_flight(cluster, namespace, pod) for pod in busy]
                return min([*found, *(cluster.value(which % pod) or 0.0 for pod in busy)]) >= BUSY_RUNS

            wait(both, "runs in both")

        def scale(replicas: int) -> None:
            cluster.kubectl("scale", f"--namespace={namespace}", f"agd/{name}", f"--replicas={replicas}")

        wait_busy()
        scale(2)
        assert wait_left(cluster, namespace, name, 2) == busy

        wait_busy()
        scale(1)
        began = time.monotonic()
        (leaving,) = busy - wait_left(cluster, namespace, name, 1)
        runs = in_flight(cluster, namespace, leaving)
        assert runs >= 1
        path = f"/api/v1/namespaces/{namespace}/pods/{leaving}"
        wait(lambda: cluster.request("GET", path).status_code == 404, "the end of the busy pod")
        print(f"a pod with {runs:g} runs was gone after {time.monotonic() - began:.1f} s")
        assert other_than_ok(load) == {}
