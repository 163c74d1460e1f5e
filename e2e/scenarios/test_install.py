"""The first steps of a user: install the chart, apply the minimal example, send load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from e2e.harness.process import wait_until
from e2e.kind import workload
from e2e.kind.images import ROOT
from e2e.kind.load import PodLoad
from e2e.scenarios.steps import READY_SECONDS, wait_ready

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster


def test_the_minimal_example_becomes_ready_and_a_spike_moves_the_workers_in_the_pods(
    installed: KindCluster, namespace: str
) -> None:
    cluster = installed
    example = yaml.safe_load((ROOT / "examples" / "minimal.yaml").read_text())
    name = example["metadata"]["name"]
    cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(name), example))

    (pod,) = wait_ready(cluster, namespace, name, 1)
    before = cluster.metric(namespace, pod, "agent_worker_limit")

    with PodLoad(cluster, namespace, name, rate_per_second=30, max_duration_seconds=600):
        wait_until(lambda: cluster.metric(namespace, pod, "agent_worker_limit") > before, READY_SECONDS, "more workers")

    (same,) = [each for each in cluster.pods_of(namespace, name) if each["metadata"]["name"] == pod]
    assert [status["restartCount"] for status in same["status"]["containerStatuses"]] == [0]
