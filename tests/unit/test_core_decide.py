"""What a person would expect of one object over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.core.decision import Diagnosis
from agentscaler.core.hold import LEAST_HOLD_SECONDS
from agentscaler.core.observation import Health
from agentscaler.core.policy import (
    Behavior,
    Mode,
    PolicyType,
    QuantileObjective,
    Range,
    ReplicaPolicy,
    ScalingPolicy,
    ScalingRules,
    WorkerPolicy,
)
from agentscaler.core.settings import Breaker, Cache
from agentscaler.core.target import Pod
from tests.worlds import (
    BUSY,
    FLOOD,
    LEARNED,
    MEBIBYTE,
    POLICY,
    SPIKE,
    START,
    TARGET,
    Loop,
    blind,
    cache_bytes,
    condition,
    observe,
    without_hold,
    workers,
)


class TestStart:
    def test_every_knob_gets_its_start_value(self) -> None:
        settings = Loop().tick().settings
        assert settings.workers == 4
        assert settings.cache == Cache(int((64 * 512) ** 0.5 * MEBIBYTE), 600)
        assert settings.breaker.failure_rate_threshold_percent == 50
        assert settings.breaker.wait_duration_in_open_state_seconds == 30

    def test_without_initial_the_reported_limit_is_the_start(self) -> None:
        policy = replace(POLICY, workers=WorkerPolicy(min=1, max=64))
        assert Loop(policy).tick(worker_limit=12.0).settings.workers == 12

    def test_without_initial_and_report_workers_are_left_alone(self) -> None:
        policy = replace(POLICY, workers=WorkerPolicy(min=1, max=64))
        assert Loop(policy).tick(worker_limit=Health.EMPTY).settings.workers is None


class TestDemand:
    def test_a_spike_moves_workers_and_replicas_in_one_decision(self) -> None:
        loop = Loop()
        loop.ticks(20)
        before = loop.target.replicas
        decision = loop.tick(**FLOOD)
        assert decision.diagnosis is Diagnosis.WORKER_BOUND
        assert workers(decision) > 4
        assert decision.settings.replicas > before
        assert decision.reason is Reason.BURST

    def test_a_short_queue_that_hot_workers_end_orders_no_pods(self) -> None:
        loop = Loop()
        loop.ticks(20)
        decision = loop.tick(**(SPIKE | {"queue_depth": 1.0}))
        assert workers(decision) * decision.settings.replicas > SPIKE["in_flight"]
        assert decision.settings.replicas == 2

    def test_a_spike_is_met_by_hot_workers_and_by_pods_that_hold_it_without_the_reserve(self) -> None:
        loop = Loop()
        loop.ticks(20)
        decision = loop.tick(**SPIKE)
        assert workers(decision) * loop.target.ready_replicas >= SPIKE["in_flight"] + SPIKE["queue_depth"]
        assert 2 < decision.settings.replicas <= (SPIKE["in_flight"] + SPIKE["queue_depth"]) / 4

    def test_a_new_service_of_short_runs_gets_no_pods_for_long_ones(self) -> None:
        loop = Loop(target=replace(TARGET, replicas=1, ready_replicas=1))
        short = {"in_flight": 1.0, "in_flight_max": 1.0, "request_rate_60": 1.0, "service_time": 1.0}
        decision = loop.ticks(3, **short)
        assert decision.settings.replicas == 1
        assert decision.forecast is not None
        assert decision.forecast.ahead_runs < 1.5

    def test_the_first_minute_of_a_rate_makes_no_run_longer(self) -> None:
        """Each second a run of a second and a half: a series of ten seconds shows a sixth of that rate."""
        loop = Loop()
        for second in range(5, 65, 5):
            busy: dict[str, Any] = {"in_flight": 1.5, "in_flight_max": 1.5, "service_time": 1.5}
            decision = loop.tick(**busy, request_rate_60=second / 60, request_rate_300=second / 300)
            assert loop.memory.learned.service_seconds == pytest.approx(1.5, rel=0.1)
            assert decision.settings.replicas <= 2

    def test_rare_runs_that_take_long_are_not_believed_to_take_longer_each_time(self) -> None:
        """One of five minutes in an hour and a half: fewer than two are remembered at a time."""
        loop = Loop()
        for second in range(0, 12 * 3600, 15):
            at = second % 5400
            rate = 1 / 60 if 300 <= at < 360 else 0.0
            busy = 1.0 if at < 300 else 0.0
            took = {"service_time": 300.0} if rate else {"service_time": Health.IDLE}
            loop.tick(in_flight=busy, in_flight_max=busy, request_rate_60=rate, seconds=15.0, **took)
        assert 200 < loop.memory.learned.service_seconds < 450

    def test_workers_fall_back_when_the_replicas_are_there(self) -> None:
        loop = Loop()
        loop.ticks(20)
        assert workers(loop.tick(**SPIKE)) > 4
        assert workers(loop.ticks(30, in_flight=8.0, request_rate_60=16.0, request_rate_300=16.0)) == 4

    def test_replicas_fall_to_the_minimum_without_traffic(self) -> None:
        loop = Loop(target=replace(TARGET, replicas=6, ready_replicas=6))
        idle: dict[str, Any] = dict.fromkeys(("request_rate_60", "request_rate_300", "queue_wait"), Health.IDLE)
        assert loop.ticks(70, in_flight=0.0, in_flight_max=0.0, **idle).settings.replicas == 1

    def test_a_spike_seen_by_part_of_the_pods_still_raises(self) -> None:
        loop = Loop(without_hold())
        loop.ticks(30)
        seen = observe(loop.now + 5, **SPIKE)
        signals = {
            n: replace(s, health=Health.PARTIAL) if n in {"inFlight", "queueDepth"} else s
            for n, s in seen.signals.items()
        }
        assert loop.tick(replace(seen, signals=signals)).settings.replicas > 1

    def test_hpa_is_shown_beside_every_decision(self) -> None:
        assert Loop().ticks(3, **BUSY).hpa_replicas is not None


class TestCache:
    def test_a_cache_that_evicts_grows_when_memory_allows(self) -> None:
        loop = Loop()
        loop.ticks(30)
        loop.memory = replace(loop.memory, learned=LEARNED)
        size = cache_bytes(loop.decisions[-1])
        decision = loop.tick(cache_bytes=float(size), cache_eviction_rate=1.0, cache_miss_rate=2.0, cache_hit_ratio=0.3)
        assert cache_bytes(decision) > size

    def test_entries_that_expire_live_longer(self) -> None:
        loop = Loop()
        loop.ticks(30)
        assert (
            loop.tick(cache_expired_rate=1.5, cache_miss_rate=2.0, cache_hit_ratio=0.3).settings.cache.ttl_seconds
            == 900
        )


class TestShape:
    def test_scale_down_waits_for_the_stabilization_window(self) -> None:
        loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
        loop.ticks(2, **BUSY)
        held_until = loop.now + LEAST_HOLD_SECONDS
        while loop.tick().settings.replicas >= 5:
            assert loop.now < held_until + 10
        assert loop.now >= held_until

    def test_percent_policies_are_exact(self) -> None:
        ten_percent = ScalingRules(policies=(ScalingPolicy(PolicyType.PERCENT, 10, 60),))
        policy = replace(
            POLICY,
            replicas=ReplicaPolicy(min=1, max=1000, behavior=Behavior(scale_up=ten_percent, scale_down=ScalingRules())),
        )
        loop = Loop(policy, target=replace(TARGET, replicas=100, ready_replicas=100))
        decision = loop.tick(in_flight=4000.0, request_rate_60=8000.0, request_rate_300=8000.0)
        assert decision.settings.replicas == 110
        assert loop.tick(in_flight=4000.0, request_rate_60=8000.0, request_rate_300=8000.0).settings.replicas == 110

    def test_bounds_apply_at_once_and_without_any_signal(self) -> None:
        loop = Loop(target=replace(TARGET, replicas=40, ready_replicas=40))
        assert loop.tick(blind()).settings.replicas == 10

    def test_zero_means_zero_and_tuning_stops(self) -> None:
        loop = Loop(replace(POLICY, replicas=replace(POLICY.replicas, manual=0)))
        decision = loop.tick(**SPIKE)
        assert decision.settings.replicas == 0
        assert condition(decision, ConditionType.SCALING_ACTIVE).reason is Reason.SCALED_TO_ZERO

    def test_zero_means_zero_also_while_paused(self) -> None:
        paused = replace(POLICY, paused_scale_in=True, paused_scale_out=True)
        loop = Loop(replace(paused, replicas=replace(POLICY.replicas, manual=0)))
        assert loop.ticks(2).settings.replicas == 0

    def test_a_changed_spec_replicas_restarts_from_that_size_once(self) -> None:
        loop = Loop()
        loop.ticks(40)
        loop.policy = replace(POLICY, replicas=replace(POLICY.replicas, manual=6))
        assert loop.tick().settings.replicas == 6
        assert loop.ticks(60).settings.replicas < 6


class TestModes:
    def test_recommend_computes_and_does_not_act(self) -> None:
        modes: dict[str, Any] = {
            "replicas": replace(POLICY.replicas, mode=Mode.RECOMMEND, manual=2),
            "workers": replace(POLICY.workers, mode=Mode.RECOMMEND),
        }
        loop = Loop(replace(POLICY, **modes))
        loop.ticks(20)
        decision = loop.tick(**FLOOD)
        assert (decision.settings.replicas, workers(decision)) == (2, 4)
        assert decision.recommended.replicas > 2

    def test_off_renders_initial_or_nothing(self) -> None:
        policy = replace(
            POLICY,
            workers=replace(POLICY.workers, mode=Mode.OFF),
            cache=replace(POLICY.cache, mode=Mode.OFF),
            breaker=replace(POLICY.breaker, mode=Mode.OFF, wait_duration_in_open_state_seconds=Range(5, 300)),
        )
        settings = Loop(policy).tick(**SPIKE).settings
        assert settings.workers == 4
        assert settings.cache == Cache(None, 600)
        assert settings.breaker == Breaker(failure_rate_threshold_percent=50)

    def test_manual_replicas_are_law(self) -> None:
        loop = Loop(replace(POLICY, replicas=replace(POLICY.replicas, mode=Mode.OFF, manual=7)))
        assert loop.tick(**SPIKE).settings.replicas == 7

    def test_adopting_without_auto_leaves_the_size_until_the_resource_names_one(self) -> None:
        manual = replace(POLICY.replicas, mode=Mode.RECOMMEND, manual=1)
        adopted = replace(TARGET, replicas=5, ready_replicas=5, adopted=True)
        loop = Loop(replace(POLICY, replicas=manual), adopted)
        assert loop.ticks(5).settings.replicas == 5
        loop.policy = replace(POLICY, replicas=replace(manual, manual=3))
        assert loop.tick().settings.replicas == 3
        assert loop.tick().settings.replicas == 3

    def test_a_pause_of_scale_in_does_not_stop_memory_relief(self) -> None:
        loop = Loop(replace(POLICY, paused_scale_in=True))
        loop.ticks(20)
        decision = loop.tick(memory_max_bytes=850.0 * MEBIBYTE, cache_bytes=180.0 * MEBIBYTE)
        assert cache_bytes(decision) < 180 * MEBIBYTE

    def test_a_conflict_leaves_replicas_to_the_other(self) -> None:
        loop = Loop(target=replace(TARGET, conflict=True))
        assert loop.ticks(10, **SPIKE).settings.replicas == 2

    def test_a_pause_stops_everything(self) -> None:
        loop = Loop()
        loop.ticks(20)
        before = loop.decisions[-1].settings
        loop.policy = replace(POLICY, paused_scale_in=True, paused_scale_out=True)
        assert loop.ticks(5, **SPIKE).settings == before
        assert loop.tick(memory_max_bytes=2000.0 * MEBIBYTE).settings == before

    def test_a_pause_of_one_direction_leaves_the_other(self) -> None:
        loop = Loop(replace(without_hold(), paused_scale_in=True))
        loop.ticks(20)
        high = loop.tick(**FLOOD).settings.replicas
        assert high > 2
        assert loop.ticks(60).settings.replicas == high
        loop.policy = replace(without_hold(), paused_scale_out=True)
        low = loop.ticks(60).settings.replicas
        assert low < high
        assert loop.tick(**FLOOD).settings.replicas == low


class TestPodsOnTheirWay:
    def test_pods_that_do_not_come_stop_the_growth(self) -> None:
        loop = Loop()
        loop.ticks(20)
        waiting = Pod("p3", created_at=loop.now, problem="Unschedulable: 0/3 nodes are available")
        loop.target = replace(TARGET, replicas=3, ready_replicas=2, pods=(waiting,))
        decision = loop.tick(**(SPIKE | {"queue_depth": 100.0}))
        assert decision.settings.replicas == 3
        assert condition(decision, ConditionType.STALLED).reason is Reason.PODS_NOT_COMING

    def test_start_up_is_learned_from_pods(self) -> None:
        loop = Loop()
        loop.target = replace(TARGET, pods=(Pod("a", START, START + 90),))
        assert loop.tick().memory.learned.start_up_seconds == 60

    def test_a_restarted_container_teaches_no_start_up(self) -> None:
        loop = Loop()
        loop.target = replace(TARGET, pods=(Pod("a", START, START + 300, restarted=True),))
        assert loop.tick().memory.learned.start_up_seconds == 30

    def test_an_unreachable_latency_is_said_and_scales_nothing(self) -> None:
        objectives = replace(POLICY.objectives, latency=QuantileObjective(0.95, 2.0))
        loop = Loop(replace(POLICY, objectives=objectives))
        decision = loop.ticks(30, latency=9.0, queue_wait=0.01)
        assert condition(decision, ConditionType.OBJECTIVE_UNREACHABLE).status is True
        assert decision.settings.replicas <= 2
