"""`behavior` of autoscaling/v2 in exact integers: windows, policies, tolerance; and the user's bounds and modes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentscaler.core.capacity import RESERVE
from agentscaler.core.limits import obey_modes
from agentscaler.core.memory import Change, Sample
from agentscaler.core.policy import (
    Behavior,
    BreakerPolicy,
    CachePolicy,
    Mode,
    PolicyType,
    Range,
    ReplicaPolicy,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
    WorkerPolicy,
)
from agentscaler.core.settings import Breaker, Cache, Settings
from agentscaler.core.shape import limited, stabilized, within_tolerance
from tests.worlds import BUSY, MEBIBYTE, POLICY, TARGET, Loop, cache_bytes, workers

NOW = 1000.0


def percent(value: int, period_seconds: int = 60) -> ScalingPolicy:
    return ScalingPolicy(PolicyType.PERCENT, value, period_seconds)


def pods(value: int, period_seconds: int = 60) -> ScalingPolicy:
    return ScalingPolicy(PolicyType.PODS, value, period_seconds)


@pytest.mark.parametrize(
    ("current", "wanted", "policy", "allowed"),
    [
        (100, 500, percent(10), 110),  # the HPA's floating point says 111
        (5, 50, percent(10), 6),  # upwards a part of a pod is a pod
        (0, 20, percent(100), 2),  # of nothing, that of one pod: what rests could never wake
        (7, 50, percent(50), 11),
        (100, 1, percent(10), 90),
        (5, 1, percent(10), 4),  # downwards as well
        (3, 1, percent(50), 1),
        (10, 50, pods(4), 14),
        (10, 1, pods(4), 6),
        (10, 12, pods(4), 12),
        (10, 9, pods(4), 9),
    ],
)
def test_a_policy_allows_exactly_so_many(current: int, wanted: int, policy: ScalingPolicy, allowed: int) -> None:
    assert limited(current, wanted, ScalingRules(policies=(policy,)), (), NOW) == allowed


@pytest.mark.parametrize(("age_seconds", "allowed"), [(0, 110), (59.9, 110), (60, 121)])
def test_what_moved_within_the_period_is_part_of_the_allowance(age_seconds: float, allowed: int) -> None:
    changes = (Change(NOW - age_seconds, 10),)
    assert limited(110, 500, ScalingRules(policies=(percent(10),)), changes, NOW) == allowed


@pytest.mark.parametrize(
    ("select", "up", "down"),
    [(SelectPolicy.MAX, 20, 5), (SelectPolicy.MIN, 14, 6), (SelectPolicy.DISABLED, 10, 10)],
)
def test_of_several_policies_the_selected_one_counts(select: SelectPolicy, up: int, down: int) -> None:
    rules = ScalingRules(select_policy=select, policies=(pods(4), percent(100)))
    assert limited(10, 99, rules, (), NOW) == up
    rules = ScalingRules(select_policy=select, policies=(pods(4), percent(50)))
    assert limited(10, 1, rules, (), NOW) == down


@pytest.mark.parametrize(("wanted", "amount"), [(50, 30), (2, -30)])
def test_an_allowance_that_is_used_up_turns_nothing_round(wanted: int, amount: int) -> None:
    rules = ScalingRules(policies=(pods(4),))
    assert limited(10, wanted, rules, (Change(NOW - 1, amount),), NOW) == 10


def test_each_direction_has_its_own_rules() -> None:
    behavior = Behavior(scale_up=ScalingRules(policies=(pods(1),)), scale_down=ScalingRules(policies=(pods(3),)))
    policy = replace(POLICY, replicas=ReplicaPolicy(min=1, max=100, behavior=behavior))
    loop = Loop(policy, target=replace(TARGET, replicas=20, ready_replicas=20))
    assert loop.tick(in_flight=400.0, request_rate_60=800.0, request_rate_300=800.0).settings.replicas == 21
    loop = Loop(policy, target=replace(TARGET, replicas=20, ready_replicas=20))
    sizes = [loop.tick(seconds=30).settings.replicas for _ in range(8)]
    assert 17 in sizes
    assert min(sizes) <= 14


def at(age_seconds: float, value: float) -> Sample:
    return Sample(NOW - age_seconds, value)


@pytest.mark.parametrize(
    ("current", "wanted", "samples", "result"),
    [
        (5, 2, [at(299, 4)], 4),  # down to the highest of the window
        (5, 2, [at(300, 4)], 2),  # exactly as old as the window is outside of it
        (5, 2, [at(-1, 4)], 2),  # a sample of the future says nothing
        (5, 9, [at(59, 7)], 7),  # up to the lowest of the window
        (5, 9, [at(60, 7)], 9),
        (5, 9, [at(59, 3)], 5),  # and no further down than it stands
        (5, 2, [at(59, 8)], 5),
    ],
)
def test_windows_hold_to_the_highest_and_the_lowest_of_them(
    current: int, wanted: int, samples: list[Sample], result: int
) -> None:
    held = stabilized(
        current, wanted, ups=samples, downs=samples, up_window_seconds=60, down_window_seconds=300, now=NOW
    )
    assert held == result


@pytest.mark.parametrize(
    ("current", "wanted", "within"), [(10, 11, True), (10, 9, True), (10, 12, False), (0, 0, False)]
)
def test_a_move_within_the_tolerance_is_none_and_zero_is_near_to_nothing(
    current: int, wanted: int, within: bool
) -> None:
    assert within_tolerance(current, wanted, 0.1) is within


def test_every_knob_that_was_outside_comes_back_inside_the_bounds() -> None:
    loop = Loop()
    loop.ticks(5)
    assert loop.memory.settings is not None
    wild = Settings(2, 90, Cache(9000 * MEBIBYTE, 90_000), Breaker(99, 900, 60, 10, 2))
    loop.memory = replace(loop.memory, settings=wild)
    settings = loop.tick().settings
    assert settings.workers == POLICY.workers.max
    assert settings.cache == Cache(512 * MEBIBYTE, 3600)
    assert (
        settings.breaker.failure_rate_threshold_percent,
        settings.breaker.wait_duration_in_open_state_seconds,
    ) == (80, 300)


def test_a_knob_without_bounds_is_left_to_the_agent() -> None:
    bare = replace(POLICY, cache=CachePolicy(max_bytes=None, ttl_seconds=Range(60, 600)), breaker=BreakerPolicy())
    settings = Loop(bare).ticks(5).settings
    assert settings.cache.max_bytes is None
    assert settings.cache.ttl_seconds is not None
    assert settings.breaker.failure_rate_threshold_percent is None


@pytest.mark.parametrize(
    ("mode", "initial", "applied"),
    [(Mode.AUTO, None, 9), (Mode.RECOMMEND, None, 4), (Mode.RECOMMEND, 6, 6), (Mode.OFF, None, None), (Mode.OFF, 6, 6)],
)
def test_what_is_applied_of_a_recommendation_of_workers(mode: Mode, initial: int | None, applied: int | None) -> None:
    policy = replace(POLICY, workers=WorkerPolicy(mode=mode, min=2, max=32, initial=initial))
    found = obey_modes(policy, Settings(2, 4), Settings(3, 9), keep_replicas=False)
    assert found.workers == applied


def test_a_surge_opens_no_more_workers_than_memory_is_safe_for() -> None:
    loop = Loop(replace(POLICY, workers=WorkerPolicy(min=2, max=500, initial=4)))
    loop.ticks(20)
    loop.memory = replace(loop.memory, worker_cap=7)
    decision = loop.tick(**(BUSY | {"queue_depth": 300.0}))
    assert workers(decision) <= 7
    assert cache_bytes(decision) > 0


SLOW_RUNS: dict[str, Any] = {"service_time": 5.0, "request_rate_60": 0.4, "request_rate_300": 0.4}
"""Two runs of 5 s each on two pods."""


@pytest.mark.parametrize(("runs", "grows"), [(4 * 2 * RESERVE, False), (100.0, True)])
def test_a_jump_far_beyond_the_reserve_orders_replicas_before_the_rates_tell_it(runs: float, grows: bool) -> None:
    loop = Loop(POLICY, TARGET)
    loop.ticks(20, **SLOW_RUNS)
    loop.target = TARGET
    assert (loop.tick(**SLOW_RUNS | {"in_flight": runs}).settings.replicas > 2) is grows
