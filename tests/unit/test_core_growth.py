"""Runs that take more than they used to: more memory each, or a worker for the length of a hung call."""

from __future__ import annotations

import random
from dataclasses import replace
from math import ceil
from typing import Any

import pytest

from agentscaler.core.decision import Decision, Diagnosis
from agentscaler.core.learn import memory_law
from agentscaler.core.margin import Margin
from agentscaler.core.memory import Sample
from agentscaler.core.policy import CachePolicy, Mode, Policy, ReplicaPolicy, WorkerPolicy
from tests.worlds import BUSY, LEARNED, MEBIBYTE, POLICY, TARGET, Loop, observe, workers

EIGHT = replace(POLICY, workers=WorkerPolicy(min=1, max=32, initial=8))


def feed(loop: Loop, ticks: int, per_run_mebibytes: float, **values: Any) -> Decision:
    """Twenty runs that hold so much each over the base of `LEARNED`, spread over the pods that there are."""
    for _ in range(ticks):
        runs = 20.0 / loop.target.ready_replicas
        held = (150.0 + per_run_mebibytes * runs) * MEBIBYTE
        decision = loop.tick(
            in_flight=20.0,
            in_flight_max=runs,
            request_rate_60=40.0,
            request_rate_300=40.0,
            memory_mean_bytes=held,
            memory_max_bytes=held,
            cache_bytes=0.0,
            **values,
        )
    return decision


def taught(pods: int = 10) -> Loop:
    """At most so many pods, whose law is known, with the work that they are sized for."""
    few = replace(EIGHT, replicas=ReplicaPolicy(min=1, max=pods))
    loop = Loop(few, replace(TARGET, replicas=min(pods, 4), ready_replicas=min(pods, 4)))
    feed(loop, 40, 20.0)
    loop.memory = replace(loop.memory, learned=replace(LEARNED, service_seconds=0.5))
    return loop


def present_mebibytes(loop: Loop) -> float:
    law = memory_law(loop.memory.learned, observe(loop.now))
    assert law is not None
    return law.present_bytes / MEBIBYTE


def test_runs_that_hold_more_than_they_used_to_are_believed_at_once() -> None:
    loop = taught()
    feed(loop, 3, 100.0)
    assert present_mebibytes(loop) == pytest.approx(100.0, rel=0.15)


def test_replicas_are_ordered_while_memory_still_stands_below_its_objective() -> None:
    loop = taught()
    size = 4
    loop.target = replace(TARGET, replicas=size, ready_replicas=size)
    loop.memory = replace(loop.memory, needs=(Sample(loop.now, size),))
    decision = feed(loop, 4, 120.0)  # 750 of 819 MiB
    assert decision.diagnosis is not Diagnosis.MEMORY_BOUND
    assert decision.settings.replicas > size
    assert workers(decision) <= 6


def test_pods_that_do_the_work_of_cut_workers_are_ordered_in_the_same_decision() -> None:
    loop, before = taught(pods=3), 3
    loop.policy = replace(EIGHT, replicas=ReplicaPolicy(min=1, max=30))
    decision = feed(loop, 1, 700.0 * before / 20.0)  # 850 of 819 MiB, from one tick to the next
    assert decision.diagnosis is Diagnosis.MEMORY_BOUND
    assert workers(decision) < 20.0 / before
    assert decision.settings.replicas * workers(decision) >= 20


def test_pods_that_replace_cut_workers_also_replace_the_slots_that_stood_open_for_bursts() -> None:
    loop, before = taught(pods=3), 3
    loop.policy = replace(EIGHT, replicas=ReplicaPolicy(min=1, max=30))
    open_slots = workers(loop.decisions[-1])
    assert open_slots > 8
    cut = feed(loop, 1, 700.0 * before / 20.0, worker_limit=open_slots)
    assert workers(cut) < 8
    assert cut.settings.replicas * workers(cut) >= Margin().staffed(20.0)


def test_runs_that_memory_gates_keep_waiting_are_done_by_more_pods() -> None:
    loop = taught(pods=3)
    loop.policy = replace(EIGHT, replicas=ReplicaPolicy(min=1, max=30))
    before = loop.target.ready_replicas
    held: dict[str, Any] = BUSY | {"in_flight": 9.0, "in_flight_max": 3.0, "worker_limit": 8.0, "cache_bytes": 0.0}
    full = 750.0 * MEBIBYTE
    decision = loop.tick(**held, queue_depth=12.0, memory_mean_bytes=full, memory_max_bytes=full)
    assert decision.diagnosis is not Diagnosis.MEMORY_BOUND
    assert (decision.demand_runs or 0.0) > 9.0
    assert decision.settings.replicas * 9.0 / before > (decision.demand_runs or 0.0)  # as many in each pod as run now


def test_runs_that_wait_beside_free_workers_for_another_reason_order_no_pod() -> None:
    loop = taught(pods=3)
    loop.policy = replace(EIGHT, replicas=ReplicaPolicy(min=1, max=30))
    before = loop.target.replicas
    light = 200.0 * MEBIBYTE
    calm: dict[str, Any] = BUSY | {"in_flight": 9.0, "in_flight_max": 3.0, "worker_limit": 8.0, "cache_bytes": 0.0}
    decision = loop.tick(**calm, queue_depth=3.0, memory_mean_bytes=light, memory_max_bytes=light)
    assert decision.settings.replicas <= before


def test_the_surplus_is_forgotten_when_runs_are_as_they_were() -> None:
    loop = taught()
    feed(loop, 6, 60.0)
    feed(loop, 100, 20.0)
    assert present_mebibytes(loop) < 30.0


def test_a_surplus_takes_no_more_than_half_of_what_a_pod_is_sized_for() -> None:
    loop = taught()
    size = loop.target.replicas
    assert workers(feed(loop, 60, 130.0)) >= 4
    assert loop.target.replicas <= 2 * size


def test_runs_that_differ_as_they_always_do_are_no_surplus() -> None:
    loop = taught()
    for step in range(60):
        feed(loop, 1, 18.0 + 4.0 * (step % 2))
    assert present_mebibytes(loop) < 22.0


CALLS: dict[str, Any] = {"upstream_call_rate": 40.0, "error_ratio": 0.3}
BACKLOG: dict[str, Any] = BUSY | {"in_flight_max": 20.0}


class TestPartialOutage:
    def begun(self, failing_share: float) -> tuple[Loop, int]:
        """Two minutes into an outage that fails such a share of the calls, and the replicas before it."""
        loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=50)))
        before = loop.ticks(60, **BUSY, upstream_call_rate=40.0).settings.replicas
        loop.ticks(24, **BUSY, **CALLS, upstream_5xx_rate=40.0 * failing_share)
        return loop, before

    def test_what_still_succeeds_is_not_refused_with_the_rest(self) -> None:
        loop, _ = self.begun(0.3)
        assert loop.decisions[-1].settings.breaker.failure_rate_threshold_percent == 80
        loop, _ = self.begun(0.8)
        assert loop.decisions[-1].settings.breaker.failure_rate_threshold_percent == 20

    @pytest.mark.parametrize(("failing_share", "grows"), [(0.3, True), (0.5, False), (1.0, False)])
    def test_it_is_told_from_a_whole_one_before_rates_look_back_on_nothing_else(
        self, failing_share: float, *, grows: bool
    ) -> None:
        loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=50)))
        before = loop.ticks(60, **BUSY, upstream_call_rate=40.0).settings.replicas
        hanging = BUSY | {"in_flight": 20.0 * before, "in_flight_max": 20.0}
        for seconds in range(5, 50, 5):
            failing = 40.0 * failing_share * seconds / 60.0  # of the last minute
            decision = loop.tick(**hanging, **CALLS, upstream_5xx_rate=failing)
        assert decision.diagnosis is Diagnosis.DEPENDENCY_BOUND
        assert (decision.settings.replicas > before) is grows

    @pytest.mark.parametrize(("failing_share", "factor"), [(0.3, 2), (0.8, 1)])
    def test_replicas_follow_work_up_to_twice_their_number_while_most_calls_succeed(
        self, failing_share: float, factor: int
    ) -> None:
        loop, before = self.begun(failing_share)
        hanging = BUSY | {"in_flight": 20.0 * before, "in_flight_max": 20.0}
        decision = loop.ticks(40, **hanging, **CALLS, upstream_5xx_rate=40.0 * failing_share)
        assert decision.diagnosis is Diagnosis.DEPENDENCY_BOUND
        assert decision.settings.replicas == factor * before

    def test_memory_danger_does_not_hide_an_outage_while_a_breaker_is_open(self) -> None:
        loop, before = self.begun(0.8)
        short = BUSY | {"in_flight": 20.0 * before, "in_flight_max": 20.0, "memory_max_bytes": 900.0 * MEBIBYTE}
        decision = loop.ticks(10, **short, **CALLS, upstream_5xx_rate=32.0, breaker_state=2.0)
        assert decision.diagnosis is Diagnosis.MEMORY_BOUND
        assert decision.settings.replicas == before
        decision = loop.ticks(2, **short, **CALLS, upstream_5xx_rate=24.0, breaker_state=0.0)
        assert decision.settings.replicas > before


class TestAfterAnOutage:
    def down(self, policy: Policy = POLICY) -> tuple[Loop, int]:
        """Two minutes into an outage with open breakers, and the replicas before it."""
        loop = Loop(replace(policy, replicas=ReplicaPolicy(min=1, max=50)))
        before = loop.ticks(60, **BUSY, upstream_call_rate=40.0).settings.replicas
        backlog = BACKLOG | {"in_flight": 20.0 * before}
        decision = loop.ticks(24, **backlog, **CALLS, upstream_5xx_rate=36.0, breaker_state=2.0)
        assert decision.settings.replicas == before
        return loop, before

    def test_replicas_follow_work_when_breakers_have_closed_and_failures_fall(self) -> None:
        loop, before = self.down()
        backlog = BACKLOG | {"in_flight": 20.0 * before}
        for tick in range(2):
            decision = loop.tick(**backlog, **CALLS, upstream_5xx_rate=36.0 - 3.0 * tick)
            assert decision.settings.replicas == before
        assert loop.ticks(2, **backlog, **CALLS, upstream_5xx_rate=28.0).settings.replicas == 2 * before

    def test_replicas_follow_work_when_breakers_have_closed_and_calls_succeed(self) -> None:
        """The burst of failures that opened them has left the minute already: the rest of it falls slowly."""
        loop, before = self.down()
        backlog = BACKLOG | {"in_flight": 20.0 * before, "error_ratio": 0.3}
        for calls in (40.0, 40.5):
            decision = loop.tick(**backlog, upstream_call_rate=calls, upstream_5xx_rate=36.0)
            assert decision.settings.replicas == before
        decision = loop.ticks(2, **backlog, upstream_call_rate=44.0, upstream_5xx_rate=36.0)
        assert decision.settings.replicas == 2 * before

    def test_replicas_follow_work_while_only_the_429s_before_the_end_are_left_in_the_minute(self) -> None:
        loop, before = self.down(replace(POLICY, workers=replace(POLICY.workers, mode=Mode.OFF)))
        backlog = BACKLOG | {"in_flight": 20.0 * before, "error_ratio": 0.3, "upstream_call_rate": 44.0}
        loop.tick(**backlog, upstream_5xx_rate=8.0, upstream_429_rate=8.0)
        decision = loop.ticks(4, **backlog, upstream_5xx_rate=0.0, upstream_429_rate=6.0)
        assert decision.diagnosis is Diagnosis.DEPENDENCY_BOUND
        assert decision.settings.replicas == 2 * before

    def test_breakers_that_closed_while_calls_go_on_failing_tell_nothing(self) -> None:
        loop, before = self.down()
        backlog = BACKLOG | {"in_flight": 20.0 * before}
        assert loop.ticks(60, **backlog, **CALLS, upstream_5xx_rate=36.0).settings.replicas == before

    def test_an_outage_that_comes_and_goes_grows_from_the_pods_before_the_first(self) -> None:
        loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=200)))
        before = loop.ticks(60, **BUSY, upstream_call_rate=40.0).settings.replicas
        backlog = BACKLOG | {"in_flight": 20.0 * before}
        for _ in range(4):
            found = loop.target.replicas
            loop.ticks(24, **backlog, **CALLS, upstream_5xx_rate=12.0)
            assert loop.target.replicas <= max(2 * before, found)
            loop.tick(**BUSY, **CALLS, upstream_5xx_rate=0.0)


def test_a_stale_half_open_breaker_does_not_tighten_all_others() -> None:
    loop = Loop()
    loop.ticks(40)
    for _ in range(20):
        settings = loop.ticks(2, upstream_call_rate=10.0, upstream_5xx_rate=0.6, breaker_state=1.0).settings
        assert settings.breaker.failure_rate_threshold_percent == 50
        loop.ticks(2, upstream_call_rate=10.0, upstream_5xx_rate=0.4, breaker_state=1.0)


def test_memory_that_no_cut_frees_leaves_half_of_the_workers() -> None:
    """Idle it stands above the objective: what runs take is little, and cuts do not help."""
    policy = replace(POLICY, replicas=ReplicaPolicy(min=2, max=30), workers=WorkerPolicy(min=1, max=32, initial=8))
    loop = Loop(replace(policy, cache=CachePolicy()))
    draws = random.Random(5)
    for _ in range(720):
        size, limit = loop.target.replicas, workers(loop.decisions[-1]) if loop.decisions else 8
        busy = min(sum(draws.random() < 0.012 for _ in range(1000)), limit * size)
        held = (845 + 3 * busy / size) * MEBIBYTE
        loop.tick(
            in_flight=float(busy),
            in_flight_max=float(ceil(busy / size)),
            worker_limit=float(limit),
            memory_max_bytes=held,
            memory_mean_bytes=held,
            cache_bytes=0.0,
        )
        assert workers(loop.decisions[-1]) >= 4
    assert loop.target.replicas <= 5
