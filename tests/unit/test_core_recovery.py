"""What an object comes through: restarts, gaps, throttling, noise. Each was wrong once."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.core.decision import Diagnosis
from agentscaler.core.learn import memory_law
from agentscaler.core.memory import Learned, Memory, Moments
from agentscaler.core.observation import Health, SignalName
from agentscaler.core.policy import Behavior, ReplicaPolicy, ScalingRules, WorkerPolicy
from agentscaler.core.recall import recall
from agentscaler.core.target import Pod
from tests.flow import Flow
from tests.worlds import (
    BUSY,
    LEARNED,
    MEBIBYTE,
    NO_HOLD,
    POLICY,
    SPIKE,
    START,
    TARGET,
    Loop,
    condition,
    observe,
    without_hold,
    workers,
)


def test_a_pod_that_nobody_scrapes_is_said() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    decision = loop.ticks(60, pods_reporting=7.0, targets=7.0, targets_up=7.0)
    assert condition(decision, ConditionType.METRICS_AVAILABLE).reason is Reason.SIGNALS_PARTIAL


def test_a_batch_of_which_one_pod_came_is_still_late() -> None:
    loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=50)))
    loop.ticks(20)
    born = loop.now - 200
    stuck = tuple(Pod(f"n{i}", born, None, "Unschedulable: 0/3 nodes are available") for i in range(4))
    loop.target = replace(
        TARGET, replicas=6, ready_replicas=2, pods=(Pod("a", born - 900, born - 860), Pod("b", born, born + 40), *stuck)
    )
    decision = loop.tick(**(SPIKE | {"queue_depth": 200.0}))
    assert decision.settings.replicas == 6
    assert condition(decision, ConditionType.STALLED).reason is Reason.PODS_NOT_COMING


def test_a_restart_does_not_take_the_cache_for_base_memory() -> None:
    cached: dict[str, Any] = {
        "memory_mean_bytes": 430.0 * MEBIBYTE,
        "memory_max_bytes": 430.0 * MEBIBYTE,
        "in_flight": 4.0,
        "in_flight_max": 2.0,
    }
    # Range queries do not ask for the size of the cache (history.py): 150 + 2 * 20 + 240 MiB of cache.
    history = tuple(observe(START + 15 * i, **cached) for i in range(40))
    history = tuple(
        replace(o, signals={n: s for n, s in o.signals.items() if n is not SignalName.CACHE_BYTES}) for o in history
    )
    kept = Memory(learned=LEARNED, decided_at=START + 600)
    before = memory_law(LEARNED, history[-1])
    after = memory_law(recall(POLICY, TARGET, history, kept).learned, history[-1])
    assert before is not None
    assert after is not None
    room = 819.0 * MEBIBYTE
    assert after.runs_that_fit(room, 64.0 * MEBIBYTE, 8) >= before.runs_that_fit(room, 64.0 * MEBIBYTE, 8)


def test_after_a_restart_a_full_window_passes_although_the_load_fell_before_it() -> None:
    quick = Behavior(scale_up=ScalingRules(), scale_down=ScalingRules(stabilization_window_seconds=0))
    loop = Loop(replace(POLICY, replicas=replace(POLICY.replicas, behavior=quick)))
    loop.ticks(40, **BUSY)
    before = loop.target.replicas
    low = tuple(observe(loop.now - 60 + 15 * i) for i in range(4))
    loop.memory = recall(loop.policy, loop.target, low, loop.memory, in_force=loop.memory.settings)
    restarted = loop.now
    while loop.tick().settings.replicas >= before:
        pass
    assert loop.now - restarted > POLICY.window_seconds


def test_an_unknown_cache_size_teaches_no_tail() -> None:
    twenty = replace(POLICY, workers=WorkerPolicy(min=1, max=32, initial=20))
    loop = Loop(twenty)
    held: dict[str, Any] = {
        "memory_mean_bytes": 350.0 * MEBIBYTE,
        "memory_max_bytes": 350.0 * MEBIBYTE,
        "cache_bytes": 180.0 * MEBIBYTE,
    }
    loop.ticks(20, **held)
    loop.memory = replace(loop.memory, learned=LEARNED)
    before = loop.tick(**held).settings
    assert loop.tick(**(held | {"cache_bytes": Health.EMPTY})).settings.cache == before.cache


def test_a_breaker_found_tight_comes_back_although_status_was_lost() -> None:
    loop = Loop()
    start = loop.ticks(40).settings.breaker
    in_force = loop.ticks(60, upstream_5xx_rate=2.0).settings
    loop.memory = recall(POLICY, loop.target, (), Memory(), in_force=in_force)
    now = loop.ticks(400).settings.breaker
    assert now.failure_rate_threshold_percent == start.failure_rate_threshold_percent


def test_a_cache_that_nothing_hits_is_left_alone() -> None:
    loop = Loop()
    loop.ticks(30)
    loop.memory = replace(loop.memory, learned=LEARNED)
    before = loop.decisions[-1].settings.cache
    full = {"cache_bytes": float(before.max_bytes or 0), "cache_eviction_rate": 2.0, "cache_expired_rate": 2.0}
    assert loop.ticks(100, cache_miss_rate=2.0, cache_hit_ratio=0.0, **full).settings.cache == before


def test_a_clock_that_goes_back_does_not_freeze_the_windows() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    loop.ticks(40, **BUSY)
    loop.now -= 3600
    assert loop.ticks(100).settings.replicas == 1


def test_a_cache_at_the_edge_of_memory_is_not_rewritten_for_noise() -> None:
    noise = random.Random(1)

    def about(value: float) -> float:
        return value * noise.uniform(0.9, 1.1)

    loop = Loop(replace(POLICY, workers=WorkerPolicy(min=2, max=32, initial=16)))
    loop.ticks(20)
    loop.memory = replace(loop.memory, learned=LEARNED)
    sizes = []
    for _ in range(720):  # an hour
        before = loop.decisions[-1].settings.cache.max_bytes or 0
        runs = about(10.0)
        memory = (150 + 20 * 10) * MEBIBYTE + before
        sizes.append(
            loop.tick(
                in_flight=runs,
                in_flight_max=runs,
                request_rate_60=1.0,
                request_rate_300=1.0,
                service_time=10.0,
                memory_mean_bytes=about(memory),
                memory_max_bytes=about(memory),
                cache_bytes=about(before),
                cache_miss_rate=1.0,
                cache_eviction_rate=0.5,
                cache_hit_ratio=0.3,
            ).settings.cache.max_bytes
        )
    later = sizes[360:]
    assert sum(a != b for a, b in itertools.pairwise(later)) <= 3


def test_pods_that_start_slowly_are_held_longer() -> None:
    loop = Loop(target=replace(TARGET, replicas=8, ready_replicas=8))
    loop.ticks(40, **BUSY)
    loop.memory = replace(loop.memory, learned=replace(loop.memory.learned, start_up_seconds=300.0))
    size, since = loop.target.replicas, loop.now
    while loop.tick().settings.replicas >= size:
        pass
    assert loop.now - since > 300  # one start-up at least: what is taken now would not be back in time


def test_after_half_known_signals_a_full_window_passes_before_anything_shrinks() -> None:
    for behavior in (NO_HOLD, None):
        loop = Loop(replace(POLICY, replicas=replace(POLICY.replicas, behavior=behavior)))
        loop.ticks(40, **BUSY)
        before = loop.target.replicas
        half: dict[str, Any] = {"in_flight": 5.0, "request_rate_60": 4.0, "request_rate_300": 4.0}
        assert loop.ticks(120, pods_reporting=before / 2, **half).settings.replicas == before
        recovered = loop.now
        while loop.tick().settings.replicas >= before:
            pass
        assert loop.now - recovered >= POLICY.window_seconds


def test_the_cap_of_429s_does_not_outlive_their_counter() -> None:
    loop = Loop(target=replace(TARGET, memory_limit_bytes=16 * 1024 * MEBIBYTE))
    loop.ticks(40, in_flight=8.0)
    loop.ticks(60, in_flight=4.0, upstream_429_rate=2.0)
    # The pods were replaced; a counter with a label is not there before its first event.
    decision = loop.ticks(360, **BUSY, queue_depth=20.0, upstream_429_rate=Health.EMPTY)
    assert workers(decision) >= 4
    assert decision.settings.replicas > 2


def test_a_spike_during_a_short_429_is_met_within_minutes() -> None:
    loop = Loop(target=replace(TARGET, memory_limit_bytes=16 * 1024 * MEBIBYTE))
    loop.ticks(40, in_flight=8.0)
    loop.ticks(60, in_flight=4.0, upstream_429_rate=2.0)
    spike = SPIKE | {"in_flight": 16.0, "queue_depth": 100.0}
    assert loop.ticks(36, **spike, upstream_429_rate=0.0).settings.replicas > 3


def test_what_fits_by_the_learned_law_is_kept_also_with_a_large_base() -> None:
    n = 30.0
    base, run = 620.0 * MEBIBYTE, 60.0 * MEBIBYTE
    x, xx = 60.0, 200.0  # pairs of 0, 2 and 4 runs, ten of each
    law = Moments(
        n=n, x=x, y=n * base + x * run, xx=xx, xy=x * base + xx * run, yy=n * base**2 + 2 * base * run * x + run**2 * xx
    )
    loop = Loop(replace(POLICY, workers=WorkerPolicy(min=1, max=32, initial=8)))
    loop.ticks(20)
    loop.memory = replace(loop.memory, learned=Learned(memory=law))
    held: dict[str, Any] = {
        "memory_mean_bytes": base + run,
        "memory_max_bytes": base + run,
        "cache_bytes": 0.0,
        "in_flight": 1.0,
    }
    settings = loop.tick(**held).settings
    assert settings.workers is not None
    assert base + settings.workers * run + (settings.cache.max_bytes or 0) <= 0.8 * 1024 * MEBIBYTE


def test_calls_that_begin_to_hang_are_no_demand_although_the_minute_looks_well() -> None:
    loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=1, max=50)))
    before = loop.ticks(60, **BUSY, upstream_call_rate=40.0, upstream_5xx_rate=0.0).settings.replicas
    # Twelve calls failed at once, 0.5 % of the minute; many more hang and stand in the gauge of running work.
    hanging: dict[str, Any] = {**BUSY, "in_flight": 12.0 * before, "in_flight_max": 12.0, "upstream_call_rate": 40.0}
    decision = loop.tick(**hanging, upstream_5xx_rate=12 / 60)
    assert (decision.diagnosis, decision.settings.replicas) == (Diagnosis.DEPENDENCY_BOUND, before)
    assert loop.ticks(4, **hanging, upstream_5xx_rate=12 / 60).settings.replicas == before
    assert loop.ticks(8, **hanging, upstream_5xx_rate=12 / 60).settings.replicas > before, "work it is after all"


def test_a_provider_that_always_fails_a_little_does_not_hinder_growth() -> None:
    loop = Loop()
    loop.ticks(40, upstream_call_rate=10.0, upstream_5xx_rate=0.05)
    before = loop.target.replicas
    assert loop.tick(**SPIKE, upstream_call_rate=10.0, upstream_5xx_rate=0.05 + 2 / 60).settings.replicas > before


def test_workers_that_never_reach_the_pods_are_made_up_for_by_replicas() -> None:
    """Not mounted, refused, or waiting for a restart: what was ordered is not there, and the queue says so."""
    policy = replace(POLICY, replicas=ReplicaPolicy(min=1, max=40), workers=WorkerPolicy(min=2, max=32, initial=8))
    flow = Flow(lambda at: 4.0 if at < 900 else 24.0, policy=policy, delivers=False, own_workers=4)
    flow.run(2400)
    assert max(flow.waits[-180:]) < 1.0
    assert flow.target.replicas * flow.own_workers >= 24.0 * flow.service_seconds


def test_workers_that_arrive_late_order_no_replicas_in_their_place() -> None:
    policy = replace(POLICY, workers=WorkerPolicy(min=2, max=32, initial=8))
    sizes = set()
    for delivered in (8.0, 32.0):
        loop = Loop(policy)
        loop.ticks(60, worker_limit=8.0)
        assert workers(loop.tick(**SPIKE, worker_limit=8.0)) > 8
        sizes.add(loop.ticks(6, **SPIKE, worker_limit=delivered).settings.replicas)
    assert len(sizes) == 1


def test_after_minutes_without_a_decision_a_full_window_passes_before_anything_shrinks() -> None:
    """The API server was away: what was needed meanwhile nobody knows."""
    loop = Loop(without_hold(replace(POLICY, replicas=ReplicaPolicy(min=1, max=20))))
    size = loop.ticks(180, **BUSY).settings.replicas
    assert size > 2
    assert loop.tick(seconds=300.0).settings.replicas == size
    assert loop.ticks(6).settings.replicas == size
    assert loop.ticks(12).settings.replicas < size
