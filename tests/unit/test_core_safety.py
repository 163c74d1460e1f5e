"""What keeps an object safe: nothing is taken on the unknown, the provider is spared, memory comes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.core.decision import Diagnosis
from agentscaler.core.observation import Health
from agentscaler.core.policy import (
    WorkerPolicy,
)
from tests.worlds import (
    BUSY,
    LEARNED,
    MEBIBYTE,
    POLICY,
    SPIKE,
    TARGET,
    Loop,
    blind,
    cache_bytes,
    condition,
    without_hold,
    workers,
)


class TestUnknown:
    @pytest.mark.parametrize("health", [h for h in Health if h not in {Health.FRESH, Health.IDLE}])
    def test_what_is_not_known_is_held(self, health: Health) -> None:
        loop = Loop(without_hold())
        loop.ticks(30, **BUSY)
        before = loop.decisions[-1].settings
        for _ in range(100):
            decision = loop.tick(blind(health=health))
            assert decision.settings == before
        assert condition(decision, ConditionType.SCALING_ACTIVE).status is False

    def test_after_recovery_a_full_window_passes_before_anything_shrinks(self) -> None:
        loop = Loop(without_hold())
        loop.ticks(30, **BUSY)
        before = loop.target.replicas
        loop.tick(blind())
        recovered = loop.now + 5
        while loop.tick().settings.replicas >= before:
            assert loop.now - recovered < POLICY.window_seconds + 5
        assert loop.now - recovered >= POLICY.window_seconds

    def test_all_targets_down_is_dead_and_held(self) -> None:
        loop = Loop(without_hold())
        loop.ticks(30, **BUSY)
        before = loop.decisions[-1].settings
        decision = loop.ticks(50, targets_up=0.0, in_flight=0.0, request_rate_60=0.0)
        assert decision.diagnosis is Diagnosis.DEAD
        assert decision.settings == before

    def test_a_restart_does_not_shrink_for_a_full_window(self) -> None:
        loop = Loop(without_hold(), target=replace(TARGET, replicas=8, ready_replicas=8))
        for _ in range(POLICY.window_seconds // 5):
            assert loop.tick().settings.replicas == 8


class TestDependency:
    def test_an_outage_leaves_replicas_and_tightens_the_breaker(self) -> None:
        loop = Loop()
        loop.ticks(40)
        before = loop.target.replicas
        decision = loop.ticks(20, in_flight=8.0, queue_depth=20.0, upstream_5xx_rate=2.0, error_ratio=0.5)
        assert decision.diagnosis is Diagnosis.DEPENDENCY_BOUND
        assert decision.settings.replicas == before
        assert decision.settings.breaker.failure_rate_threshold_percent == 20
        assert decision.settings.breaker.wait_duration_in_open_state_seconds == 30
        assert decision.settings.breaker.permitted_calls_in_half_open_state == 3, "one lucky call closes nothing"

    def test_the_wait_grows_with_the_outage_and_never_beyond_a_quarter_of_it(self) -> None:
        loop = Loop()
        loop.ticks(40)
        began = loop.now + 5
        for _ in range(400):
            wait = loop.tick(
                upstream_timeout_rate=2.0, breaker_state=2.0
            ).settings.breaker.wait_duration_in_open_state_seconds
            assert wait is not None
            assert wait <= max(30, (loop.now - began) / 4)
        assert wait == 300

    def test_after_two_calm_minutes_the_breaker_is_where_it_started(self) -> None:
        loop = Loop()
        loop.ticks(40)
        started = loop.decisions[-1].settings.breaker
        loop.ticks(40, upstream_5xx_rate=2.0)
        assert loop.ticks(20).settings.breaker != started
        assert loop.ticks(10).settings.breaker == started

    def test_429s_withdraw_workers_and_leave_replicas(self) -> None:
        roomy = replace(TARGET, memory_limit_bytes=16 * 1024 * MEBIBYTE)
        loop = Loop(replace(POLICY, workers=WorkerPolicy(min=2, max=32, initial=10)), roomy)
        loop.ticks(40)
        before = loop.target.replicas
        decision = loop.ticks(20, upstream_429_rate=2.0)
        assert workers(decision) < 10
        assert decision.settings.replicas == before
        assert workers(loop.ticks(60)) == 10

    def test_time_in_the_dark_is_no_calm(self) -> None:
        loop = Loop()
        loop.ticks(40)
        loop.ticks(40, upstream_5xx_rate=2.0, breaker_state=2.0)
        tight = loop.ticks(4).settings.breaker
        for _ in range(60):
            assert loop.tick(blind()).settings.breaker == tight
        assert loop.ticks(20).settings.breaker == tight
        assert loop.ticks(10).settings.breaker.failure_rate_threshold_percent == 50

    def test_429s_that_fade_out_of_the_window_withdraw_nothing_more(self) -> None:
        roomy = replace(TARGET, memory_limit_bytes=16 * 1024 * MEBIBYTE)
        loop = Loop(replace(POLICY, workers=WorkerPolicy(min=2, max=32, initial=10)), roomy)
        loop.ticks(40)
        left = workers(loop.ticks(8, upstream_429_rate=2.0))
        for rate in (1.8, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2):
            assert workers(loop.tick(upstream_429_rate=rate)) == left

    def test_the_wait_does_not_grow_once_the_breaker_has_closed(self) -> None:
        loop = Loop()
        loop.ticks(40)
        loop.ticks(10, upstream_5xx_rate=2.0, breaker_state=2.0)
        waits = loop.tick(upstream_5xx_rate=1.0).settings.breaker.wait_duration_in_open_state_seconds
        assert loop.ticks(30, upstream_5xx_rate=0.5).settings.breaker.wait_duration_in_open_state_seconds == waits


class TestMemory:
    def test_the_cache_gives_way_first(self) -> None:
        loop = Loop()
        loop.ticks(20)
        decision = loop.tick(memory_max_bytes=850.0 * MEBIBYTE, cache_bytes=180.0 * MEBIBYTE)
        assert decision.diagnosis is Diagnosis.MEMORY_BOUND
        assert cache_bytes(decision) < 180 * MEBIBYTE
        assert workers(decision) == 4

    def test_then_workers_and_then_replicas(self) -> None:
        loop = Loop()
        loop.ticks(20)
        pressed: dict[str, Any] = {
            "memory_max_bytes": 1000.0 * MEBIBYTE,
            "cache_bytes": 64.0 * MEBIBYTE,
            "in_flight_max": 4.0,
        }
        decision = loop.ticks(4, in_flight=8.0, request_rate_60=16.0, **pressed)
        assert cache_bytes(decision) == 64 * MEBIBYTE
        assert workers(decision) < 4
        assert loop.ticks(4, in_flight=8.0, request_rate_60=16.0).settings.replicas > 2

    def test_idle_memory_is_reported_and_scales_nothing(self) -> None:
        loop = Loop()
        loop.ticks(20)
        before = loop.target.replicas
        decision = loop.ticks(20, memory_max_bytes=900.0 * MEBIBYTE, in_flight=0.0, in_flight_max=0.0, cache_bytes=0.0)
        assert workers(decision) == 4
        assert decision.settings.replicas <= before
        assert condition(decision, ConditionType.SCALING_LIMITED).reason is Reason.MEMORY_PRESSURE

    def test_a_burst_gets_only_the_workers_that_memory_allows(self) -> None:
        loop = Loop()
        loop.ticks(20)
        loop.memory = replace(loop.memory, learned=LEARNED)
        law_kept: dict[str, Any] = {"memory_mean_bytes": 262.0 * MEBIBYTE, "memory_max_bytes": 262.0 * MEBIBYTE}
        decision = loop.tick(**(SPIKE | law_kept | {"queue_depth": 200.0}))
        budget = 0.8 * 1024 * MEBIBYTE
        used = 150 * MEBIBYTE + workers(decision) * 20 * MEBIBYTE + cache_bytes(decision)
        assert 4 < workers(decision) < 32
        assert used <= budget
        assert cache_bytes(decision) < 100 * MEBIBYTE

    def test_no_limit_switches_the_memory_objective_off_and_says_so(self) -> None:
        loop = Loop(target=replace(TARGET, memory_limit_bytes=None))
        decision = loop.ticks(5, memory_max_bytes=9000.0 * MEBIBYTE)
        assert decision.diagnosis is not Diagnosis.MEMORY_BOUND
        assert condition(decision, ConditionType.METRICS_AVAILABLE).reason is Reason.NO_MEMORY_LIMIT
