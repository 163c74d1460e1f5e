"""Demand that stands elsewhere than in the agent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.api.conditions import Reason
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.policy import Policy, Schedule
from agentscaler.core.target import Target
from tests.effort import examples
from tests.property.strategies import stories
from tests.worlds import BUSY, POLICY, START, TARGET, Loop, blind, observe, without_hold


def backlogged(per_replica: float = 20.0, policy: Policy = POLICY) -> Policy:
    return replace(policy, replicas=replace(policy.replicas, external_target=per_replica))


@pytest.mark.parametrize(("backlog", "replicas"), [(0.0, 2), (40.0, 2), (41.0, 3), (100.0, 5), (1e12, 10)])
def test_a_backlog_asks_for_its_share_of_replicas_within_the_bounds(backlog: float, replicas: int) -> None:
    decision = Loop(backlogged()).tick(external_demand=backlog)
    assert decision.settings.replicas == replicas
    if replicas > 2:
        assert decision.reason is Reason.EXTERNAL_DEMAND
        assert "at 20 each" in decision.summary


def test_the_larger_need_counts() -> None:
    with_none = Loop(POLICY).ticks(20, **BUSY).settings.replicas
    assert with_none > 3
    assert Loop(backlogged()).ticks(20, **BUSY, external_demand=60.0).settings.replicas == with_none


def test_its_peak_is_held_like_any_other() -> None:
    loop = Loop(backlogged())
    loop.ticks(3, external_demand=160.0)
    assert loop.ticks(20, external_demand=0.0).settings.replicas == 8
    assert loop.ticks(80, external_demand=0.0).settings.replicas < 8


@pytest.mark.parametrize("health", [Health.EMPTY, Health.ERROR, Health.INVALID, Health.STALE])
def test_while_it_is_not_known_nothing_shrinks_and_growth_goes_on(health: Health) -> None:
    loop = Loop(backlogged(policy=without_hold()))
    loop.ticks(30, external_demand=160.0)
    decision = loop.ticks(30, external_demand=health)
    assert decision.settings.replicas == 8
    assert decision.reason is Reason.HOLDING_UNKNOWN
    assert "external demand is not known" in decision.summary
    assert loop.ticks(20, external_demand=health, **(BUSY | {"in_flight": 60.0})).settings.replicas > 8


def test_a_part_of_it_is_enough_to_grow() -> None:
    seen = observe(START)
    part = {**seen.signals, SignalName.EXTERNAL_DEMAND: Signal(100.0, Health.PARTIAL, START)}
    decision = decide(backlogged(), TARGET, replace(seen, signals=part), Memory(manual_replicas=1), START)
    assert decision.settings.replicas == 5


def test_it_counts_although_the_services_own_signals_are_lost() -> None:
    lost = blind(START)
    known = {**lost.signals, SignalName.EXTERNAL_DEMAND: Signal(100.0, Health.FRESH, START)}
    decision = decide(backlogged(), TARGET, replace(lost, signals=known), Memory(manual_replicas=1), START)
    assert decision.settings.replicas == 5


def test_where_the_resource_does_not_ask_for_it_it_is_nothing() -> None:
    assert Loop(POLICY).tick(external_demand=1000.0).settings.replicas == 2


def test_it_wakes_a_resting_service_and_keeps_one_from_resting() -> None:
    resting = Schedule("all", tuple(range(7)), 0, 24 * 60, "UTC", min=0)
    policy = backlogged(policy=without_hold())
    loop = Loop(replace(policy, replicas=replace(policy.replicas, behavior=None, schedules=(resting,))))
    quiet: dict[str, Any] = dict.fromkeys(
        ("in_flight", "in_flight_max", "request_rate_60", "request_rate_300", "request_rate_600"), 0.0
    )
    loop.ticks(30, external_demand=0.0)
    assert loop.ticks(80, **quiet, external_demand=1.0).settings.replicas == 1
    assert loop.tick(**quiet, external_demand=Health.EMPTY).settings.replicas == 1
    assert loop.tick(**quiet, external_demand=0.0).settings.replicas == 0
    assert loop.tick(blind()).settings.replicas == 0
    woken = blind(START)
    woken = replace(woken, signals={**woken.signals, SignalName.EXTERNAL_DEMAND: Signal(45.0, Health.FRESH, START)})
    assert loop.tick(woken).settings.replicas == 3


@given(stories(auto=True), st.floats(0.001, 1000), st.floats(0, 1e9))
@examples(30)
def test_it_only_ever_adds(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]], per_replica: float, backlog: float
) -> None:
    for _, policy, target, observation, memory, now in story:
        plain = replace(policy, replicas=replace(policy.replicas, external_target=None))
        waiting = {**observation.signals, SignalName.EXTERNAL_DEMAND: Signal(backlog, Health.FRESH, now)}
        less = decide(plain, target, observation, memory, now)
        more = decide(backlogged(per_replica, policy), target, replace(observation, signals=waiting), memory, now)
        assert more.settings.replicas >= less.settings.replicas
