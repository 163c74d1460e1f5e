"""The operator at rest, and an API server that goes away under it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import requests

from e2e.kind import operator, workload
from e2e.kind.stages import say
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import change, wait_ready
from e2e.scenarios.targets import wait, wait_decided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.kind.cluster import KindCluster

NAME = "researcher"
REST_SECONDS = 40.0
MOST_MEBIBYTES, MOST_CORES = 192.0, 0.2
"""The memory that the chart requests, and twice the CPU: ticks are shorter here than a user's."""


@pytest.fixture(scope="module")
def running(installed: KindCluster) -> Iterator[tuple[KindCluster, str]]:
    """Two agents that nobody asks anything, and a while for the operator to come to rest."""
    with installed.namespace() as namespace:
        agd = workload.agent_deployment(NAME, workload.agent_pod(), tuning={"replicas": {"min": 2, "max": 3}})
        installed.apply(workload.in_namespace(namespace, agd))
        wait_ready(installed, namespace, NAME, 2)
        yield installed, namespace


def test_at_rest_it_needs_little(running: tuple[KindCluster, str]) -> None:
    cluster, _ = running
    (pod,) = operator.operator_pods(cluster)
    rested = time.monotonic() + REST_SECONDS
    wait(lambda: time.monotonic() >= rested, "some rest")
    which = f'namespace="{operator.NAMESPACE}", pod="{pod}", container="operator"'

    def needs() -> tuple[float, float] | None:
        cores = cluster.value(f"sum(rate(container_cpu_usage_seconds_total{{{which}}}[30s]))")
        memory = cluster.value(f"sum(container_memory_rss{{{which}}})")
        if not cores or not memory:
            return None  # cAdvisor has not looked often enough yet
        say(f"operator at rest: {cores:.3f} cores, rss {memory / 2**20:.0f} MiB")
        return (cores, memory / 2**20) if cores < MOST_CORES else None

    cores, mebibytes = wait(needs, f"less than {MOST_CORES} cores, as cAdvisor tells")
    assert 0 < cores < MOST_CORES
    assert 0 < mebibytes < MOST_MEBIBYTES


def test_when_the_api_server_restarts_nothing_shrinks_and_the_operator_goes_on(
    running: tuple[KindCluster, str],
) -> None:
    cluster, namespace = running
    before = {pod["metadata"]["uid"] for pod in cluster.ready_pods_of(namespace, NAME)}
    with Timeline(cluster, namespace, NAME) as seen:
        wait(lambda: seen.sizes, "the size")
        since = time.time()
        (process,) = api_servers(cluster)
        cluster.node_exec("kill", "-9", process)

        def another() -> bool:
            with suppress(requests.RequestException):
                return cluster.request("GET", "/readyz").ok and process not in api_servers(cluster)
            return False

        wait(another, "another API server")
        print(f"API server back after {time.time() - since:.1f} s")
        wait_decided(cluster, namespace, NAME)
        change(cluster, namespace, NAME, {"tuning": {"replicas": {"min": 3}}})
        wait_ready(cluster, namespace, NAME, 3)
        print(f"a change carried out after {time.time() - since:.1f} s")
        # Its watch broke as well, and may notice late.
        wait(lambda: seen.replicas == 3, "the size seen")
        assert seen.replicas_between(0, time.time()) == [2, 3]
        assert min(size.available for size in seen.sizes) >= 2
    assert before <= {pod["metadata"]["uid"] for pod in cluster.ready_pods_of(namespace, NAME)}
    assert restarts(cluster) == 0


def api_servers(cluster: KindCluster) -> list[str]:
    """Process ids on the node; none for a moment after it was killed."""
    return cluster.node_exec("sh", "-c", "pgrep --exact kube-apiserver || true").split()


def restarts(cluster: KindCluster) -> int:
    path = f"/api/v1/namespaces/{operator.NAMESPACE}/pods"
    pods = (cluster.get(f"{path}/{name}") for name in operator.operator_pods(cluster))
    return sum(status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"])
