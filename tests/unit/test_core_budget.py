"""The error budget: nothing shrinks while it burns, in the short window and in the long one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health
from tests.worlds import BUSY, POLICY, TARGET, Loop, without_hold


def large(errors: float = 0.0, minutes: int = 10) -> Loop:
    """A service of many pods, and work for all of them, for a while."""
    loop = Loop(without_hold(POLICY), target=replace(TARGET, replicas=8, ready_replicas=8))
    loop.ticks(12 * minutes, **BUSY, error_ratio=errors)
    return loop


def test_while_both_windows_burn_nothing_shrinks() -> None:
    loop = large(errors=0.02)
    before = loop.target.replicas
    decision = loop.ticks(30, error_ratio=0.02)
    assert decision.settings.replicas == before
    assert decision.reason is Reason.HOLDING_ERRORS
    assert "error budget burns" in decision.summary


def test_a_few_failures_after_a_good_hour_are_within_the_budget() -> None:
    loop = large(minutes=60)
    before = loop.target.replicas
    assert loop.ticks(6, error_ratio=0.02).settings.replicas < before


def test_a_burst_of_failures_burns_it_in_time() -> None:
    loop = large(minutes=60)
    before = loop.target.replicas
    loop.ticks(24, **BUSY, error_ratio=0.3)
    assert loop.ticks(10, error_ratio=0.3).settings.replicas == before


def test_when_it_is_over_the_long_window_alone_holds_nothing() -> None:
    loop = large(errors=0.3)
    before = loop.target.replicas
    assert loop.ticks(30, error_ratio=0.0).settings.replicas < before


@pytest.mark.parametrize("errors", [Health.EMPTY, Health.STALE, Health.IDLE])
def test_what_is_not_known_burns_no_budget(errors: Health) -> None:
    loop = large(errors=0.3)
    before = loop.target.replicas
    assert loop.ticks(30, error_ratio=errors).settings.replicas < before


def test_without_the_objective_there_is_no_budget() -> None:
    loop = large(errors=0.02)
    before = loop.target.replicas
    loop.policy = replace(loop.policy, objectives=replace(loop.policy.objectives, error_ratio=None))
    assert loop.ticks(30, error_ratio=0.02).settings.replicas < before


def test_a_long_gap_counts_for_no_more_than_two_intervals() -> None:
    loop = large(minutes=60)
    runs = loop.memory.ended.runs
    loop.tick(seconds=3600.0, **BUSY, error_ratio=1.0)
    assert loop.memory.ended.failed <= 2 * POLICY.interval_seconds * BUSY["request_rate_60"]
    assert loop.memory.ended.runs >= 0.9 * runs
