"""The baselines as policies: what they make of what Prometheus and the API server show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest

from agentscaler.core.target import Pod
from agentscaler.simulate import policies
from agentscaler.simulate.hpa import Hpa, hpa_cpu, hpa_inflight
from agentscaler.simulate.keda import keda
from agentscaler.simulate.kpa import kpa
from agentscaler.simulate.model import Variant
from agentscaler.simulate.policies import Policy
from agentscaler.simulate.scrape import LiveStats, View

OLD = -10_000.0


@dataclass
class Shown:
    """A view that a test sets by hand: `busy` runs and `cores` on `pods` of which all answered the last scrape."""

    busy: float = 0.0
    cores: float = 0.0
    pods: tuple[Pod, ...] = ()
    observed_at: float = 0.0
    seen: bool = True
    seconds: list[float] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        return len(self.pods)

    @property
    def ready_replicas(self) -> int:
        return sum(pod.ready_at is not None for pod in self.pods)

    @property
    def live(self) -> LiveStats:
        return LiveStats(np.array(self.seconds))

    def gauge(self, name: str) -> float | None:
        return self.mean(name, 0) if self._answering else None

    def mean(self, name: str, window_seconds: float) -> float | None:
        del window_seconds
        return {"pods": self._answering, "serving_pods": self._answering}.get(name, self.busy)

    def rate(self, name: str, window_seconds: float) -> float:
        assert (name, window_seconds) == ("cpu_seconds", 60.0)
        return self.cores

    @property
    def _answering(self) -> float:
        return float(sum(pod.ready_at is not None and pod.ready_at <= self.observed_at for pod in self.pods))


def pods(old: int, starting: int = 0, fresh: int = 0, at: float = 0.0) -> tuple[Pod, ...]:
    return (
        *(Pod(f"old-{i}", OLD, OLD) for i in range(old)),
        *(Pod(f"starting-{i}", at - 10) for i in range(starting)),
        *(Pod(f"fresh-{i}", at - 40, at + 1) for i in range(fresh)),
    )


def begun(policy: Policy, replicas: int) -> Policy:
    begin = getattr(policy, "begin", None)
    assert begin is not None
    begin(Variant(), replicas)
    return policy


def act(policy: Policy, shown: Shown, now: float = 0.0) -> int:
    shown.observed_at = now - 15.0
    return policy.act(cast("View", shown), now).replicas


def test_the_hpa_asks_for_pods_as_full_as_its_target() -> None:
    hpa = begun(hpa_inflight(), 10)
    assert act(hpa, Shown(busy=80, pods=pods(10))) == 15  # all 8 workers busy, 5.6 wanted: 10 / 0.7, rounded up
    assert act(hpa, Shown(busy=60, pods=pods(10))) == 10  # 7 % over its target


def test_pods_that_start_count_as_idle_while_the_hpa_grows() -> None:
    hpa = begun(hpa_inflight(), 10)
    assert act(hpa, Shown(busy=80, pods=pods(10, starting=4))) == 14
    assert act(hpa, Shown(busy=80, pods=pods(10, starting=2))) == 15
    assert act(hpa, Shown(busy=80, pods=pods(10, fresh=4, at=0.0))) == 14


@pytest.mark.parametrize("seconds", [0.0, 60.0, 300.0])
def test_the_hpa_gives_up_nothing_before_its_stabilization_ends(seconds: float) -> None:
    hpa = begun(hpa_inflight(stabilization_seconds=seconds), 10)
    shrunk = next(
        now for now in np.arange(0.0, 1000.0, 15.0).tolist() if act(hpa, Shown(busy=28, pods=pods(10)), now) < 10
    )
    assert shrunk == seconds


def test_the_hpa_on_cpu_sees_no_more_than_the_workers_use() -> None:
    hpa = begun(hpa_cpu(), 10)
    full = 10 * 8 * 0.13
    assert act(hpa, Shown(cores=full, pods=pods(10))) == 13
    assert act(hpa, Shown(cores=0.85 * full, pods=pods(10))) == 10
    # For five minutes a pod's CPU counts only where its whole sample is newer than the pod's readiness.
    young = (*pods(10), *(Pod(f"young-{i}", -60.0, -50.0) for i in range(5)))
    assert act(hpa, Shown(cores=1.5 * full, pods=young)) == 15


def test_without_any_scrape_nobody_moves() -> None:
    for policy in (hpa_inflight(), hpa_cpu(), keda()):
        assert act(begun(policy, 4), Shown(pods=pods(0, starting=4), seen=False)) == 4
    assert act(begun(kpa(), 4), Shown(pods=pods(4))) == 4


def test_keda_asks_for_the_sum_over_its_threshold() -> None:
    scaler = begun(keda(), 10)
    assert act(scaler, Shown(busy=80, pods=pods(10))) == 15
    assert act(scaler, Shown(busy=80, pods=pods(14))) == 14  # 2 % above 80 / 14
    assert act(scaler, Shown(busy=80, pods=pods(10, starting=10))) == 15  # the sum knows no readiness


def test_keda_takes_an_empty_answer_for_no_load() -> None:
    scaler = begun(keda(stabilization_seconds=0), 4)
    assert act(scaler, Shown(busy=20, pods=pods(0, starting=4))) == 1


def test_the_kpa_panics_at_twice_its_pods_and_shrinks_nothing_then() -> None:
    scaler = begun(kpa(), 1)
    calm, burst = [5.5] * 60, [5.5] * 54 + [55.0] * 6
    assert act(scaler, Shown(pods=pods(1), seconds=calm)) == 1
    assert act(scaler, Shown(pods=pods(1), seconds=burst), 2) == 10
    assert act(scaler, Shown(pods=pods(10), seconds=calm), 4) == 10
    assert act(scaler, Shown(pods=pods(10), seconds=calm), 64) == 5  # at most halved


@pytest.mark.parametrize("name", ["hpa-cpu", "hpa-inflight", "keda"])
def test_a_fixed_pair_sets_its_workers_and_sizes_pods_for_them(name: str) -> None:
    policy = policies.make(name, workers=16, target=0.5)
    begun(policy, 10)
    shown = Shown(busy=80, cores=80 * 0.13, pods=pods(10))
    shown.observed_at = -15.0
    orders = policy.act(cast("View", shown), 0.0)
    assert (orders.workers, orders.replicas) == (16, 10)
    assert getattr(policy, "fixed_pair", False)


def test_every_baseline_is_known_by_its_name() -> None:
    for name in ("hpa-cpu", "hpa-inflight", "keda", "kpa"):
        assert policies.make(name).name == name
    assert policies.make("kpa").interval_seconds == 2.0
    assert policies.traits(policies.make("kpa"))[1], "only it reads live statistics"
    assert not policies.traits(Hpa())[1]
