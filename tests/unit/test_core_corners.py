"""Corners of the core that a review found: each was wrong once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.core import values
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Health
from agentscaler.core.policy import Behavior, Mode, Range, ReplicaPolicy, ScalingRules, WorkerPolicy
from agentscaler.core.shape import within_tolerance
from agentscaler.core.target import Pod
from tests.worlds import BUSY, LEARNED, MEBIBYTE, POLICY, SPIKE, START, TARGET, Loop, cache_bytes, workers

IDLE: dict[str, Any] = dict.fromkeys(("request_rate_60", "request_rate_300", "queue_wait", "error_ratio"), Health.IDLE)
WORK: dict[str, Any] = {"in_flight": 8.0, "in_flight_max": 3.0, "request_rate_60": 16.0, "request_rate_300": 16.0}


def test_pods_that_do_not_report_are_not_taken_for_idle() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    loop.ticks(
        40, in_flight=24.0, request_rate_60=48.0, request_rate_300=48.0, pods_reporting=8.0, targets=8.0, targets_up=8.0
    )
    before = loop.target.replicas
    half: dict[str, Any] = {"in_flight": 12.0, "request_rate_60": 24.0, "request_rate_300": 24.0}
    assert loop.ticks(60, pods_reporting=4.0, targets=4.0, targets_up=4.0, **half).settings.replicas == before


def test_a_half_open_breaker_without_traffic_is_not_a_failing_provider() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    loop.ticks(40, **BUSY)
    start = loop.decisions[-1].settings.breaker
    loop.ticks(40, **(BUSY | {"upstream_5xx_rate": 2.0}))
    quiet: dict[str, Any] = {"in_flight": 0.0, "in_flight_max": 0.0, "upstream_call_rate": 0.0, "breaker_state": 1.0}
    decision = loop.ticks(400, **quiet, **IDLE)
    assert decision.settings.replicas == 1
    assert decision.settings.breaker == start


def test_a_spike_is_met_although_one_of_the_breakers_is_trying_again() -> None:
    loop = Loop()
    loop.ticks(40)
    assert loop.ticks(10, **(SPIKE | {"queue_depth": 100.0, "breaker_state": 1.0})).settings.replicas > 2


def test_a_pod_that_becomes_ready_again_is_not_a_slow_start() -> None:
    day_old = Pod("a", created_at=START - 86_400, ready_at=START + 2)
    loop = Loop(target=replace(TARGET, pods=(day_old,)))
    assert loop.tick().memory.learned.start_up_seconds < 120


def test_a_rollout_with_one_waiting_run_does_not_inflate_the_size() -> None:
    calm: dict[str, Any] = {"in_flight": 24.0, "request_rate_60": 6.0, "request_rate_300": 6.0, "service_time": 4.0}
    loop = Loop(
        replace(POLICY, replicas=ReplicaPolicy(min=1, max=100)), replace(TARGET, replicas=10, ready_replicas=10)
    )
    loop.ticks(40, **calm)
    before = loop.decisions[-1].settings
    loop.target = replace(loop.target, ready_replicas=0, rolling_out=True)
    after = loop.tick(queue_depth=1.0, **calm).settings
    assert after.replicas <= before.replicas + 1
    assert after.workers == before.workers


def test_one_pod_that_crashes_for_ever_does_not_stop_all_growth() -> None:
    loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=50)), replace(TARGET, replicas=10, ready_replicas=10))
    loop.ticks(40, **BUSY)
    size = loop.target.replicas
    bad = Pod("x", loop.now - 3000, None, "CrashLoopBackOff: back-off")
    good = tuple(Pod(f"g{i}", loop.now - 100, loop.now - 60) for i in range(size - 1))
    loop.target = replace(loop.target, ready_replicas=size - 1, pods=(bad, *good))
    assert loop.tick(**(BUSY | {"in_flight": 100.0, "queue_depth": 100.0})).settings.replicas > size


@pytest.mark.parametrize("own", [2, 12, 32])
def test_the_agents_own_limit_is_the_start_also_when_it_is_reported_late(own: int) -> None:
    loop = Loop(replace(POLICY, workers=WorkerPolicy(min=1, max=64)))
    loop.tick(worker_limit=Health.EMPTY)
    assert (
        loop.tick(worker_limit=float(own), in_flight=1.0, request_rate_60=1.0, request_rate_300=1.0).settings.workers
        == own
    )


def test_the_cap_of_memory_pressure_goes_with_the_memory_limit() -> None:
    loop = Loop()
    loop.ticks(20)
    busy: dict[str, Any] = {"in_flight": 8.0, "request_rate_60": 16.0, "request_rate_300": 16.0, "in_flight_max": 4.0}
    loop.ticks(4, memory_max_bytes=1000.0 * MEBIBYTE, cache_bytes=64.0 * MEBIBYTE, **busy)
    loop.target = replace(loop.target, memory_limit_bytes=None)
    assert workers(loop.ticks(720, **busy)) >= 4


def test_a_knob_switched_from_off_to_auto_gets_all_of_its_start_values() -> None:
    off = replace(
        POLICY,
        cache=replace(POLICY.cache, mode=Mode.OFF),
        breaker=replace(POLICY.breaker, mode=Mode.OFF, wait_duration_in_open_state_seconds=Range(5, 300)),
    )
    loop = Loop(off)
    loop.ticks(3)
    loop.policy = POLICY
    settings = loop.ticks(3).settings
    assert settings.cache.max_bytes is not None
    assert settings.breaker.wait_duration_in_open_state_seconds == 30
    assert settings.breaker.sliding_window_seconds == 60


def test_a_pause_of_scale_out_stops_the_cache_from_growing() -> None:
    loop = Loop(replace(POLICY, paused_scale_out=True))
    loop.ticks(30)
    loop.memory = replace(loop.memory, learned=LEARNED)
    size = cache_bytes(loop.decisions[-1])
    assert cache_bytes(loop.tick(cache_bytes=float(size), cache_eviction_rate=1.0, cache_miss_rate=2.0)) == size


def test_the_cache_does_not_give_way_to_workers_that_a_pause_refuses() -> None:
    loop = Loop()
    loop.ticks(30)
    loop.memory = replace(loop.memory, learned=LEARNED)
    size = cache_bytes(loop.decisions[-1])
    loop.policy = replace(POLICY, paused_scale_out=True)
    law_kept = {"memory_mean_bytes": 262.0 * MEBIBYTE, "memory_max_bytes": 262.0 * MEBIBYTE}
    assert cache_bytes(loop.tick(**(SPIKE | law_kept | {"queue_depth": 200.0}))) == size


def test_without_history_nothing_shrinks_within_the_stabilization_window() -> None:
    slow = Behavior(scale_up=ScalingRules(), scale_down=ScalingRules(stabilization_window_seconds=300))
    loop = Loop(
        replace(POLICY, replicas=replace(POLICY.replicas, behavior=slow)), replace(TARGET, replicas=8, ready_replicas=8)
    )
    while loop.tick().settings.replicas == 8:
        pass
    assert loop.now - START >= 300


def test_exactly_the_tolerance_is_within_it_in_both_directions() -> None:
    assert all(
        within_tolerance(n, n * 11 // 10, 0.1) and within_tolerance(n, n * 9 // 10, 0.1) for n in range(10, 500, 10)
    )


def test_errors_of_the_agent_itself_do_not_freeze_capacity() -> None:
    loop = Loop(target=replace(TARGET, replicas=2, ready_replicas=2))
    busy = BUSY | {"in_flight": 40.0, "in_flight_max": 20.0, "request_rate_60": 80.0}
    decision = loop.ticks(100, error_ratio=0.06, **busy)
    assert decision.settings.replicas > 2
    assert "provider" not in decision.summary


def test_errors_of_an_overloaded_agent_are_not_taken_for_its_provider() -> None:
    """It says nothing of its calls, refuses when it is full, and runs into time-outs."""
    loop = Loop()
    calls = ("upstream_call_rate", "upstream_5xx_rate", "upstream_timeout_rate", "upstream_429_rate", "breaker_state")
    silent: dict[str, Any] = dict.fromkeys(calls, Health.EMPTY)
    for _ in range(60):
        size, limit = loop.target.replicas, workers(loop.decisions[-1]) if loop.decisions else 4
        full: dict[str, Any] = {"in_flight": limit * size, "in_flight_max": limit, "worker_limit": limit}
        loop.tick(**full, **silent, rejected_rate=20.0, error_ratio=0.08, request_rate_60=float(2 * limit * size))
    assert loop.target.replicas == POLICY.replicas.max


def test_what_holds_back_a_saving_is_said() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    decision = loop.ticks(100, error_ratio=0.015)
    assert decision.settings.replicas == 8
    assert decision.reason is Reason.HOLDING_ERRORS
    assert "error" in decision.summary


def test_a_growth_that_is_cut_says_why_it_grew() -> None:
    loop = Loop()
    loop.ticks(30)
    decision = loop.tick(**(SPIKE | {"queue_depth": 8000.0}))
    assert decision.settings.replicas == 10
    assert decision.reason is Reason.BURST


def test_a_leak_in_one_pod_does_not_take_the_workers_of_all() -> None:
    eight = replace(POLICY, workers=WorkerPolicy(min=1, max=32, initial=8))
    loop = Loop(eight, replace(TARGET, replicas=4, ready_replicas=4))
    loop.ticks(40, **WORK)
    loop.memory = replace(loop.memory, learned=LEARNED)
    size = loop.target.replicas
    leak = {"memory_max_bytes": 900.0 * MEBIBYTE, "memory_mean_bytes": 350.0 * MEBIBYTE}
    decision = loop.ticks(24, **WORK, **leak)
    assert workers(decision) >= 4
    assert decision.settings.replicas <= 2 * size


def test_one_heavy_minute_in_one_pod_is_forgotten_within_five() -> None:
    loop = Loop(target=replace(TARGET, replicas=4, ready_replicas=4))
    loop.ticks(20, **WORK)
    loop.memory = replace(loop.memory, learned=LEARNED)
    heavy = {"memory_max_bytes": 850.0 * MEBIBYTE, "memory_mean_bytes": 350.0 * MEBIBYTE}
    loop.ticks(12, **WORK, **heavy)
    calm = {"memory_max_bytes": 300.0 * MEBIBYTE, "memory_mean_bytes": 260.0 * MEBIBYTE}
    assert workers(loop.ticks(60, **WORK, **calm)) == 4


def test_a_burst_takes_no_more_cache_than_the_workers_that_it_needs() -> None:
    loop = Loop()
    loop.ticks(20)
    loop.memory = replace(loop.memory, learned=LEARNED)
    size = cache_bytes(loop.decisions[-1])
    kept = {"memory_mean_bytes": 262.0 * MEBIBYTE, "memory_max_bytes": 262.0 * MEBIBYTE}
    # Two runs wait: eight or nine workers are plenty, and 150 + 10 * 20 + 181 MiB fit into 819.
    assert (
        cache_bytes(
            loop.tick(
                **(
                    SPIKE
                    | kept
                    | {
                        "in_flight": 4.0,
                        "queue_depth": 2.0,
                        "service_time": 10.0,
                        "request_rate_60": 0.4,
                        "request_rate_300": 0.4,
                    }
                )
            )
        )
        == size
    )


def test_after_429s_workers_come_back_step_by_step() -> None:
    loop = Loop(target=replace(TARGET, memory_limit_bytes=16 * 1024 * MEBIBYTE))
    loop.ticks(40, in_flight=8.0)
    throttled = loop.ticks(30, in_flight=4.0, queue_depth=30.0, upstream_429_rate=2.0)
    fewer = workers(throttled)
    assert workers(loop.tick(in_flight=4.0, queue_depth=30.0, upstream_429_rate=0.0)) <= 2 * fewer  # it jumps to 32


def test_retries_against_an_open_breaker_are_not_demand() -> None:
    loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=50)))
    loop.ticks(60, in_flight=8.0, request_rate_60=16.0, request_rate_300=16.0)
    size = loop.target.replicas
    loop.ticks(
        60,
        in_flight=0.0,
        request_rate_60=0.0,
        request_rate_300=8.0,
        rejected_breaker_rate=80.0,
        breaker_state=2.0,
        upstream_5xx_rate=1.0,
    )
    # All is well again; the counter of refusals still looks back a minute, over calls that were tried five times.
    after = loop.ticks(6, in_flight=8.0, request_rate_60=10.0, request_rate_300=10.0, rejected_breaker_rate=40.0)
    assert after.settings.replicas <= 2 * size


def test_advice_on_workers_goes_beyond_what_is_in_force() -> None:
    advice = replace(
        POLICY,
        workers=replace(POLICY.workers, mode=Mode.RECOMMEND),
        replicas=replace(POLICY.replicas, mode=Mode.RECOMMEND, manual=2),
    )
    loop = Loop(advice)
    loop.ticks(20)
    decision = loop.tick(**(SPIKE | {"queue_depth": 100.0}))
    assert (decision.settings.workers, decision.settings.replicas) == (4, 2)
    assert decision.recommended.workers is not None
    assert decision.recommended.workers > 4


def test_advice_on_the_breaker_does_not_drift() -> None:
    loop = Loop(replace(POLICY, breaker=replace(POLICY.breaker, mode=Mode.RECOMMEND)))
    advice = {loop.tick(upstream_call_rate=rate).recommended.breaker for rate in (1.0, 2.0, 3.0, 8.0)}
    assert len(advice) == 1


def test_work_that_the_rate_does_not_show_yet_counts() -> None:
    loop = Loop()
    loop.ticks(70)
    before = loop.target.replicas
    assert loop.tick(in_flight=30.0, request_rate_60=10.0).settings.replicas > before


def test_a_part_that_is_missing_for_a_moment_does_not_restart_the_window() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    loop.ticks(80, **BUSY)
    since = loop.memory.known_since
    assert loop.tick(**(BUSY | {"pods_reporting": 1.0})).memory.known_since == since


def test_a_changed_copy_refuses_a_field_that_does_not_exist_and_leaves_the_original() -> None:
    memory = Memory()
    assert values.replace(memory, decided_at=1.0) == replace(memory, decided_at=1.0) != memory
    unknown: dict[str, Any] = {"nothing": 1}
    with pytest.raises(TypeError, match="no field of Memory: \\['nothing'\\]"):
        values.replace(memory, **unknown)
