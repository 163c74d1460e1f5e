"""The operator itself is killed, or stopped in the middle of its work. Two of its pods run; one of them leads."""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests

from e2e.harness.process import wait_until
from e2e.kind import artefacts, operator, workload
from e2e.kind.load import PodLoad
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import READY_SECONDS, change, other_than_ok, restarts, wait_ready
from e2e.scenarios.targets import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.kind.cluster import KindCluster
    from e2e.scenarios.together import Together

NAME = "kept"
RATE, MORE = 1.0, 12.0  # the first is so low that chance does not ask for more workers, which would go again
FIRST_TICK_SECONDS = 15.0
KILLED_LEADERS = 3
"""So many are killed at most until one of the standbys is in time: a busy machine may be late once."""
LEASE_SECONDS = 8.0
ASLEEP_SECONDS = 1.5 * LEASE_SECONDS
WATCH_SECONDS = 8.0  # several ticks
CALM_SECONDS = 600.0
"""After a start of the operator nothing is taken away for a full window, and workers are held longer."""
KILLS = 10
LONGEST_GAP_SECONDS = 9.0
"""Twice as long as an operator takes to start: some are killed before their first tick."""
SLEEPERS = 8
SECOND = {"version": "2"}
TUNING: dict[str, dict[str, Any]] = {
    "replicas": {"min": 2, "max": 4, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
    "workers": {"min": 2, "max": 8, "initial": 4},
    "cache": {"min": "8Mi", "max": "32Mi"},  # memory, which may always take workers, is no matter here
}


class Served(NamedTuple):
    """A service under load that the operator looks after."""

    cluster: KindCluster
    namespace: str
    seen: Timeline
    load: PodLoad


@pytest.fixture(scope="module")
def served(together: Together, request: pytest.FixtureRequest) -> Iterator[Served]:
    cluster, failed = together.cluster, request.session.testsfailed
    with cluster.namespace() as namespace:
        agd = workload.agent_deployment(NAME, workload.agent_pod(arguments=("--seed=11",)), tuning=TUNING)
        cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(NAME), agd))
        wait_ready(cluster, namespace, NAME, 2)
        with (
            Timeline(cluster, namespace, NAME) as seen,
            PodLoad(cluster, namespace, NAME, rate_per_second=RATE, max_duration_seconds=3600) as load,
        ):
            yield Served(cluster, namespace, seen, load)
        if request.session.testsfailed > failed:
            artefacts.collect(cluster, "operator", [namespace, operator.NAMESPACE])


def says(cluster: KindCluster, pod: str, name: str) -> float | None:
    """A number of one operator; None while it does not answer."""
    try:
        return cluster.metric(operator.NAMESPACE, pod, name)
    except (requests.RequestException, KeyError):
        return None


def leader(cluster: KindCluster) -> str:
    """The pod that leads, while another one stands by."""

    def found() -> str:
        pods = {pod: says(cluster, pod, "agentscaler_leader") for pod in operator.operator_pods(cluster)}
        leading = [pod for pod, leads in pods.items() if leads == 1]
        return leading[0] if sorted(pods.values(), key=str) == [0, 1] else ""

    return wait(found, "a leader and a standby")


def other_than(cluster: KindCluster, pod: str) -> str:
    (found,) = set(operator.operator_pods(cluster)) - {pod}
    return found


def calm(served: Served) -> float:
    """Wait until nothing is left to take away from the service: what shrinks after that is a fault. The time."""
    least = (TUNING["replicas"]["min"], TUNING["workers"]["initial"])
    wait_until(
        lambda: served.seen.written and (served.seen.replicas, served.seen.written[-1].workers) == least,
        CALM_SECONDS,
        "the least that the load needs",
    )
    return time.time()


def signal_operator(cluster: KindCluster, pod: str, signal: str) -> None:
    """Send a signal to the process of one operator pod, as root of its node."""
    script = (
        f"for p in $(pgrep -f 'agentscaler run'); do "
        f"grep -qz '^HOSTNAME={pod}$' /proc/$p/environ && kill -{signal} $p && echo $p; done; true"
    )
    assert cluster.node_exec("sh", "-c", script).split()


def wait_first_tick(cluster: KindCluster, pod: str, since: float) -> float:
    """Wait until a pod that stood by has ended a tick of its own; seconds from `since` until that tick."""

    def ticked() -> float | None:
        at = says(cluster, pod, "agentscaler_last_tick_timestamp_seconds")
        return at if at is not None and at > since and says(cluster, pod, "agentscaler_leader") == 1 else None

    return wait_until(ticked, READY_SECONDS, "the first tick of the standby") - since


def written_by(cluster: KindCluster, pod: str) -> float | None:
    """Writes that one operator has sent, its Lease apart. A review of rights stores nothing: a standby asks, too."""
    try:
        answer = cluster.http(operator.NAMESPACE, f"pods/{pod}:8080", "metrics")
        answer.raise_for_status()
    except requests.RequestException:
        return None
    lines = [line for line in answer.text.splitlines() if line.startswith("agentscaler_kube_requests_total{")]
    reads = ('verb="get"', 'verb="list"', 'verb="watch"', 'resource="leases', 'resource="selfsubjectaccessreviews')
    return sum(float(line.rpartition(" ")[2]) for line in lines if not any(read in line for read in reads))


def renewed(cluster: KindCluster, namespace: str) -> dict[str, int]:
    """Generations of the sleepers' Deployments, once each has the second template."""
    found: dict[str, int] = {}
    for item in cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments")["items"]:
        annotations = item["spec"]["template"]["metadata"].get("annotations") or {}
        if item["metadata"]["name"].startswith("sleeper-") and annotations == SECOND:
            found[item["metadata"]["name"]] = item["metadata"]["generation"]
    return found if len(found) == SLEEPERS else {}


def never_less(served: Served, since: float) -> None:
    """Since then neither replicas nor workers have ever become fewer."""
    seen = served.seen
    for steps in (seen.replicas_between(since, time.time()), seen.workers_between(since, time.time())):
        assert all(after >= before for before, after in pairwise(steps)), (seen.sizes, seen.written)


def test_a_standby_acts_soon_after_the_leader_was_killed(served: Served) -> None:
    cluster, began = served.cluster, calm(served)
    for _ in range(KILLED_LEADERS):
        first = leader(cluster)
        standby = other_than(cluster, first)
        killed = time.time()
        signal_operator(cluster, first, "KILL")
        took = wait_first_tick(cluster, standby, killed)
        print(f"first tick of the standby {took:.1f} s after the kill")
        lease = cluster.get(f"/apis/coordination.k8s.io/v1/namespaces/{operator.NAMESPACE}/leases/{operator.RELEASE}")
        assert lease["spec"]["holderIdentity"].startswith(standby)
        if took <= FIRST_TICK_SECONDS:
            break
    assert took <= FIRST_TICK_SECONDS
    never_less(served, began)


def test_a_leader_that_slept_past_its_lease_writes_nothing_when_it_wakes(served: Served) -> None:
    cluster, namespace = served.cluster, served.namespace
    asleep = leader(cluster)
    awake = other_than(cluster, asleep)
    names = [f"sleeper-{number}" for number in range(SLEEPERS)]
    # Without pods: what is counted is writes.
    made = [workload.agent_deployment(each, workload.agent_pod(), replicas=0) for each in names]
    cluster.apply(workload.in_namespace(namespace, *made))
    stopped = time.time()
    signal_operator(cluster, asleep, "STOP")  # in the middle of making them, or just before
    try:
        wait_first_tick(cluster, awake, stopped)
        for each in names:
            change(cluster, namespace, each, {"template": {"metadata": {"annotations": SECOND}}})

        settled = wait(lambda: renewed(cluster, namespace), "the standby's templates")
        wait_until(lambda: time.time() - stopped >= ASLEEP_SECONDS, 60, "the end of the Lease")
    finally:
        signal_operator(cluster, asleep, "CONT")

    def count() -> list[float]:
        number = written_by(cluster, asleep)
        return [] if number is None else [number]  # 0 is an answer, too

    first = wait(count, "a word of the one that slept")
    woke = time.time()
    wait_until(lambda: time.time() - woke >= WATCH_SECONDS, 60, "several ticks")
    assert wait(count, "its word once more") == first
    wait(
        lambda: [says(cluster, pod, "agentscaler_leader") for pod in (asleep, awake)] == [0, 1],
        "the one asleep to stand by, and the other one to lead",
    )
    # Whatever it had in hand when it was stopped has reached nobody.
    assert renewed(cluster, namespace) == settled


def test_ten_kills_at_random_moments_never_cost_capacity(served: Served) -> None:
    cluster, began = served.cluster, calm(served)
    moments = random.Random(4)
    pause = threading.Event()
    for kill in range(KILLS):
        pause.wait(moments.uniform(0, LONGEST_GAP_SECONDS))
        pods = wait(lambda: operator.operator_pods(cluster), "a pod to kill")
        pod = moments.choice(pods)
        cluster.kubectl("delete", f"--namespace={operator.NAMESPACE}", "pod", pod, "--force", "--grace-period=0")
        if kill == KILLS // 3:
            served.load.set_rate(MORE)
    wait_until(lambda: served.seen.replicas > 2, READY_SECONDS, "more replicas for more load")
    never_less(served, began)
    assert other_than_ok(served.load) == {}
    assert restarts(cluster, served.namespace, NAME) == 0
    leader(cluster)
