"""A model provider that fails, then throttles, then is well again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from e2e.harness.process import wait_until
from e2e.kind import workload
from e2e.kind.load import PodLoad
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import READY_SECONDS, other_than_ok, wait_ready
from e2e.scenarios.targets import wait
from e2e.scenarios.together import long_side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

RATE = 5.0
EARLY_SECONDS = 20.0
LATE_SECONDS = 20.0
THROTTLED_RATE = 1.0
CALM_SECONDS = 10.0
STILL_SECONDS = 15.0
TUNING = {
    "replicas": {"min": 2, "max": 6, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
    "workers": {"min": 2, "max": 12, "initial": 10},  # two pods are enough, also when runs take twice as long
    "circuitBreaker": {
        "failureRateThresholdPercent": {"min": 20, "max": 80, "initial": 60},
        "waitDurationInOpenStateSeconds": {"min": 5, "max": 60, "initial": 5},
    },
}


class Provider:
    """The provider of a namespace, and what it was asked in vain."""

    def __init__(self, cluster: KindCluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def feels(self, mode: str, **numbers: float) -> None:
        """Change its mode."""
        workload.set_mode(self._cluster, self._namespace, mode, **numbers)

    def in_vain(self, mode: str, seconds: float) -> int:
        """Calls of a mode that are answered with a failure, or never, within so many seconds from now on."""
        before, until = self._in_vain(mode), time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= until, seconds + 30, "the end of the count")
        return self._in_vain(mode) - before

    def _in_vain(self, mode: str) -> int:
        found = workload.upstream_stats(self._cluster, self._namespace)["by_mode"][mode]
        # A call that is never answered counts as failed only when its caller gives up.
        return int(found["calls"] if mode == "failing" else found["failed"])


def breaker(settings: dict[str, Any]) -> tuple[int, int]:
    found = settings["circuitBreaker"]
    return found["failureRateThresholdPercent"], found["waitDurationInOpenStateSeconds"]


@long_side_by_side
def test_an_outage_and_throttling_move_the_breaker_and_no_replica_and_pass(
    cluster: KindCluster, namespace: str
) -> None:
    name = "dependent"
    agd = workload.agent_deployment(name, workload.agent_pod(arguments=("--seed=5",)), tuning=TUNING)
    cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(name), agd))
    wait_ready(cluster, namespace, name, 2)
    provider = Provider(cluster, namespace)
    with (
        Timeline(cluster, namespace, name, agents=True) as seen,
        PodLoad(cluster, namespace, name, rate_per_second=RATE, max_duration_seconds=1800, timeout_seconds=60) as load,
    ):
        # The breaker's own window and the operator's have to know what healthy is.
        wait(lambda: load.stats()["finished"] >= 20 * RATE, "a healthy time")
        # A size that moves by itself would say nothing of the outage.
        wait_until(
            lambda: len(seen.replicas_between(time.time() - STILL_SECONDS, time.time())) == 1,
            READY_SECONDS,
            "replicas that stand still",
        )
        first = breaker(seen.written[-1].settings)

        # Beside other scenarios a run takes longer, and may have been worth another pod.
        ill, size = time.time(), seen.replicas
        provider.feels("failing", error_share=1.0)
        early = provider.in_vain("failing", EARLY_SECONDS)
        wait_until(lambda: breaker(seen.written[-1].settings) != first, READY_SECONDS, "another setting of the breaker")
        late = provider.in_vain("failing", LATE_SECONDS)
        moved = breaker(seen.written[-1].settings)
        print(f"outage: {early} calls in vain, then {late}; breaker {first} -> {moved}")
        assert moved[0] < first[0] or moved[1] > first[1]
        assert late < early

        provider.feels("rate_limited", requests_per_second=THROTTLED_RATE)
        throttled = provider.in_vain("rate_limited", EARLY_SECONDS)
        throttled_late = provider.in_vain("rate_limited", LATE_SECONDS)
        print(f"throttled: {throttled} calls in vain, then {throttled_late}")
        assert late + throttled_late < early + throttled
        well = time.time()
        assert seen.replicas_between(ill, well) == [size]

        provider.feels("healthy")

        def all_closed() -> bool:
            last = {each.pod: each.breaker_state for each in seen.agents if each.at > well + 2}
            return {last.get(pod["metadata"]["name"]) for pod in cluster.ready_pods_of(namespace, name)} == {0}

        wait(all_closed, "closed breakers")
        print(f"closed after {time.time() - well:.1f} s")
        closed = time.time()
        wait(lambda: load.stats(since=closed)["finished"] >= CALM_SECONDS * RATE, "a healthy time")
        assert other_than_ok(load, since=closed) == {}
