"""Load that rises and falls, and settings that reach pods while they work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from e2e.harness.process import wait_until
from e2e.kind import workload
from e2e.kind.load import PodLoad
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import READY_SECONDS, change, other_than_ok, restarts, wait_ready
from e2e.scenarios.targets import wait
from e2e.scenarios.together import slow_side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

QUIET, SPIKE = 1.0, 18.0  # runs a second; each takes about 0.9 s, and twice as long needs no third pod in the quiet
FIRST_WORKERS = 4
DELIVERY_SECONDS = 5.0
DELIVERIES = 3
TUNING = {
    "replicas": {"min": 2, "max": 3, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
    "workers": {"min": 2, "max": 16, "initial": FIRST_WORKERS},  # more than the reserve that stands open for bursts
    "cache": {"min": "8Mi", "max": "64Mi"},
}
BACK_SECONDS = 600.0
"""Longer than any window, also when the operator begins anew meanwhile."""
OBJECTIVES = {"queueWait": {"quantile": "0.95", "targetMilliseconds": 3000}}


def delivered(cluster: KindCluster, namespace: str, name: str, seen: Timeline, least: int) -> dict[str, float]:
    """Ask for so many workers at least; seconds from the write until they are in force, by pod."""
    since = time.time()
    change(cluster, namespace, name, {"tuning": {"workers": {"min": least, "initial": least}}})
    written = wait_until(
        lambda: next((each for each in seen.written if each.at > since and each.workers >= least), None),
        READY_SECONDS,
        "the write",
    )

    def in_both() -> dict[str, float]:
        took = seen.in_force_after(written)
        return took if len(took) == 2 and max(took.values()) < float("inf") else {}

    return wait_until(in_both, READY_SECONDS, "the new limit in each pod")


@slow_side_by_side
def test_a_changed_limit_is_in_force_at_once_and_a_spike_moves_workers_and_replicas_which_go_when_it_is_over(
    cluster: KindCluster, namespace: str
) -> None:
    name = "spiky"
    template = workload.agent_pod(arguments=("--seed=1",))
    agd = workload.agent_deployment(name, template, tuning=TUNING, objectives=OBJECTIVES)
    cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(name), agd))
    wait_ready(cluster, namespace, name, 2)
    with (
        Timeline(cluster, namespace, name, agents=True) as seen,
        PodLoad(cluster, namespace, name, rate_per_second=QUIET, max_duration_seconds=1800) as load,
    ):
        wait_until(lambda: len({each.pod for each in seen.agents}) == 2, READY_SECONDS, "both pods seen")

        # A person's change is in force in every pod a moment after it was written. A kubelet that starts many pods
        # meanwhile may be late once; one that nobody wakes is late each time.
        for least in range(FIRST_WORKERS + 1, FIRST_WORKERS + 1 + DELIVERIES):
            took = delivered(cluster, namespace, name, seen, least)
            print(f"in force after {took}")
            if max(took.values()) <= DELIVERY_SECONDS:
                break
        assert max(took.values()) <= DELIVERY_SECONDS

        began = time.time()
        load.set_rate(SPIKE)
        wait_until(lambda: seen.agents[-1].workers > least, READY_SECONDS, "more workers in a pod")
        print(f"workers in a pod after {time.time() - began:.1f} s")
        wait_until(lambda: seen.replicas > 2, READY_SECONDS, "more replicas")
        print(f"replicas after {time.time() - began:.1f} s")
        most = seen.replicas
        wait(lambda: len(cluster.ready_pods_of(namespace, name)) > 2, "a third pod that is ready")

        over = time.time()
        load.set_rate(QUIET)
        wait_until(lambda: seen.replicas == 2, BACK_SECONDS, "as many replicas as before")
        print(f"replicas back after {time.time() - over:.1f} s")
        peak = max(seen.workers_between(began, time.time()))
        wait_until(
            lambda: {each.workers for each in seen.agents[-4:]} < set(range(peak)), BACK_SECONDS, "fewer workers"
        )
        print(f"workers back after {time.time() - over:.1f} s: {seen.workers_between(0, time.time())}, most {most}")

        assert other_than_ok(load) == {}
    assert restarts(cluster, namespace, name) == 0
