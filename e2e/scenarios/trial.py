"""One agent framework's example on the cluster: applied as it stands, changed by hand, and put under a spike."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

from e2e.kind import workload
from e2e.kind.load import PodLoad
from e2e.kind.timeline import AGENT_AGE_SECONDS, Timeline, Written
from e2e.scenarios.steps import change, condition, other_than_ok, restarts, wait_ready
from e2e.scenarios.targets import revision, wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kind.cluster import KindCluster
    from e2e.scenarios.measured import Row

QUIET, SPIKE = 0.5, 6.0  # runs a second, of 4 s each
RUN = "--run-seconds=80"  # at the agents' own time scale of a twentieth
PODS, WORKERS = 2, 8
ON_THIS_CLUSTER: dict[str, Any] = {
    "signals": {"windowSeconds": 60},
    "tuning": {
        "intervalSeconds": 5,
        "replicas": {"min": PODS, "max": PODS + 1},
        "workers": {"min": WORKERS, "max": 3 * WORKERS, "initial": WORKERS},
    },
}
"""What is put on top of an example: nobody waits for long windows, and two cores carry few pods of few workers."""
BY_HAND: dict[str, Any] = {
    "cache": {"min": "128Mi", "max": "224Mi", "initial": "128Mi", "ttlSeconds": {"min": 7200, "max": 14400}},
    "circuitBreaker": {
        "failureRateThresholdPercent": {"min": 20, "max": 30},
        "waitDurationInOpenStateSeconds": {"min": 90, "max": 120},
    },
}
"""Bounds that leave no value of cache and breaker where any framework's defaults put it."""
WORKERS_BY_HAND: dict[str, Any] = {"workers": {"min": WORKERS + 2, "initial": WORKERS + 2}}
"""Besides, where settings come by a restart: the operator asks for none but for what a service needs."""
AGAIN_BY_HAND: dict[str, Any] = {"cache": {"ttlSeconds": {"min": 3600, "max": 5400}}}


def fitted(manifest: dict[str, Any]) -> dict[str, Any]:
    """An example's AgentDeployment as this cluster can carry it."""
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["args"].append(RUN)
    container["resources"]["requests"] = {"cpu": "20m", "memory": "64Mi"}
    container["readinessProbe"] |= {"periodSeconds": 1, "timeoutSeconds": 5}
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": workload.LEAVE_SECONDS}}}
    return {**manifest, "spec": {**manifest["spec"], **ON_THIS_CLUSTER}}


class Trial:
    """One framework's example in a namespace, and what was seen of it."""

    def __init__(self, cluster: KindCluster, namespace: str, row: Row) -> None:
        self.cluster, self.namespace, self.row = cluster, namespace, row
        self.framework = row.framework
        *self.others, agd = self.framework.example()
        self.agd = fitted(agd)
        self.name: str = agd["metadata"]["name"]
        row.delivery = agd["spec"]["delivery"]["mode"]

    @property
    def by_restart(self) -> bool:
        return self.row.delivery == "Restart"

    def play(self) -> None:
        """From `kubectl apply` to the end of a spike.

        Raises:
            AssertionError: Something is not as it should be.
        """
        cluster, namespace, name = self.cluster, self.namespace, self.name
        behind = (*workload.upstream(), workload.service(name))
        cluster.apply(workload.in_namespace(namespace, *behind, *self.others, self.agd))
        wait_ready(cluster, namespace, name, PODS)
        with (
            Timeline(cluster, namespace, name, agents=True) as seen,
            PodLoad(cluster, namespace, name, rate_per_second=QUIET, max_duration_seconds=1800) as load,
        ):
            wait(lambda: bool(seen.written), "the first settings")
            wait(lambda: self.shows(seen.written[0]), "the first settings in each pod")
            wait(lambda: load.stats()["finished"] >= 10, "answers")
            if not self.by_restart:
                self.reserve(seen)
            self.change_by_hand(seen)
            if self.by_restart:
                self.wait_for_the_next(seen)
            self.spike(seen, load)
            lost = other_than_ok(load)
            self.row.lost = sum(lost.values())
            self.row.sent = load.stats()["finished"]
            wait(lambda: self.is_delivered() or self.waits_for_a_restart(), f"{self.name}: a word of the delivery")
            assert self.condition("NativeSettings")["status"] == "True"
            # Not one write of the whole time is wrong.
            assert {each.at: faults for each in seen.written if (faults := self.framework.faults(each.files))} == {}
            assert min(size.available for size in seen.sizes) >= PODS
        assert restarts(cluster, namespace, name) == 0
        assert lost == {}
        self.row.complete = True

    def reserve(self, seen: Timeline) -> None:
        """The operator's own first move: workers kept free for bursts, once it knows the memory of a run."""
        first = seen.written[0]
        self.arrives(seen, self.written(seen, first, lambda it: it["workers"]["maxConcurrent"] > WORKERS, "a reserve"))
        self.moved("workers", first, seen.written[-1], lambda it: it["workers"]["maxConcurrent"])

    def change_by_hand(self, seen: Timeline) -> None:
        """Other bounds: one write for all of them."""
        before = seen.written[-1]
        self.change({"tuning": BY_HAND | (WORKERS_BY_HAND if self.by_restart else {})})
        after = self.written(seen, before, lambda it: it["cache"]["ttlSeconds"] >= 7200, "another cache")
        breaker = after.settings["circuitBreaker"]
        assert 128 * 2**20 <= after.settings["cache"]["maxBytes"] <= 224 * 2**20
        assert breaker["failureRateThresholdPercent"] <= 30
        assert breaker["waitDurationInOpenStateSeconds"] >= 90
        self.arrives(seen, after)
        if self.by_restart:
            self.moved("workers", before, after, lambda it: it["workers"]["maxConcurrent"])
        self.moved("cache MiB", before, after, lambda it: it["cache"]["maxBytes"] // 2**20)
        self.moved("cache seconds", before, after, lambda it: it["cache"]["ttlSeconds"])
        if self.framework.breaks:
            self.moved("breaker percent", before, after, lambda it: it["circuitBreaker"]["failureRateThresholdPercent"])
            wait_of = "waitDurationInOpenStateSeconds"
            self.moved("breaker seconds", before, after, lambda it: it["circuitBreaker"][wait_of])

    def wait_for_the_next(self, seen: Timeline) -> None:
        """A second change within the hour waits for the next restart, and says so."""
        before, rolls = seen.written[-1], self.rolls()
        self.change({"tuning": AGAIN_BY_HAND})
        wait(self.waits_for_a_restart, f"{self.name}: a word that the change waits")
        assert (self.rolls(), seen.written[-1]) == (rolls, before)

    def spike(self, seen: Timeline, load: PodLoad) -> None:
        """More load than the pods carry: more replicas, and more workers in each where that takes no restart."""
        began, before, rolls = time.time(), seen.written[-1], self.rolls()
        load.set_rate(SPIKE)
        wait(lambda: seen.replicas > PODS, f"{self.name}: more replicas")
        wait(lambda: self.ready() > PODS, f"{self.name}: one more ready pod")
        self.row.moved["replicas"] = (PODS, max(seen.replicas_between(began, time.time())))
        if self.by_restart:
            assert (self.rolls(), seen.written[-1]) == (rolls, before)
            return
        had = before.workers
        self.arrives(seen, self.written(seen, before, lambda it: it["workers"]["maxConcurrent"] > had, "more workers"))
        self.moved("workers", seen.written[0], seen.written[-1], lambda it: it["workers"]["maxConcurrent"])

    def arrives(self, seen: Timeline, write: Written) -> None:
        """Wait until a write is in force: in the pods that there are, or by one roll of them."""
        pods = {each.pod for each in seen.agents if each.at > write.at - AGENT_AGE_SECONDS and each.at <= write.at}
        self.row.in_force_seconds.append(self.in_force(seen, write))
        wait(lambda: self.shows(seen.written[-1]), f"{self.name}: the settings in each pod")
        kept = {pod["metadata"]["name"] for pod in self.pods()} & pods
        assert pods
        assert kept == (set() if self.by_restart else pods)
        assert self.rolls() == (len(seen.written) - 1 if self.by_restart else 0)

    def written(self, seen: Timeline, before: Written, wanted: Callable[[dict[str, Any]], bool], what: str) -> Written:
        """Wait for settings; the write that brought them."""

        def brought() -> Written | None:
            later = (each for each in seen.written if each.at > before.at)
            return next((each for each in later if wanted(each.settings)), None)

        return wait(brought, f"{self.name}: {what}")

    def in_force(self, seen: Timeline, write: Written) -> float:
        """Wait until every pod reports a write, or a later one.

        Returns:
            Seconds from the write to the last report: of the pods that there were, or of those that a roll has made.
        """

        def of_new_pods() -> dict[str, float]:
            news = [each for each in seen.agents if each.generation >= write.settings["generation"]]
            pods = [pod["metadata"]["name"] for pod in self.pods()]
            after = {pod: min((each.at - write.at for each in news if each.pod == pod), default=inf) for pod in pods}
            return after if len(pods) == seen.replicas else {}

        def last() -> float:
            after = of_new_pods() if self.by_restart else seen.in_force_after(write)
            return max(after.values(), default=inf)

        wait(lambda: last() < inf, f"{self.name}: generation {write.settings['generation']} in each pod")
        return last()

    def shows(self, write: Written) -> bool:
        """Whether each pod's own /metrics say what a write says."""
        wanted = self.framework.shows(write.settings) | {
            "agent_tuning_applied_generation": write.settings["generation"]
        }
        pods = [pod["metadata"]["name"] for pod in self.pods()]
        return all(self.cluster.metric(self.namespace, pod, key) == wanted[key] for pod in pods for key in wanted)

    def pods(self) -> list[dict[str, Any]]:
        return self.cluster.pods_of(self.namespace, self.name)

    def ready(self) -> int:
        return len(self.cluster.ready_pods_of(self.namespace, self.name))

    def change(self, spec: dict[str, Any]) -> None:
        change(self.cluster, self.namespace, self.name, spec)

    def condition(self, kind: str) -> dict[str, Any]:
        return condition(self.cluster, self.namespace, self.name, kind)

    def rolls(self) -> int:
        return revision(self.cluster, self.namespace, self.name) - 1

    def is_delivered(self) -> bool:
        return self.condition("Delivered").get("status") == "True"

    def waits_for_a_restart(self) -> bool:
        found = self.condition("Delivered")
        return found.get("status") == "False" and "next restart" in found["message"]

    def moved(self, what: str, before: Written, after: Written, value: Callable[[dict[str, Any]], object]) -> None:
        self.row.moved[what] = value(before.settings), value(after.settings)
        assert self.row.moved[what][0] != self.row.moved[what][1]
