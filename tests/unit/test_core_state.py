"""Services whose pods keep state in memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Mode, Policy, Schedule
from agentscaler.core.schedules import heed_schedules
from agentscaler.core.target import Target
from tests.effort import examples
from tests.property.strategies import stories
from tests.worlds import BUSY, POLICY, TARGET, Loop, blind, condition, without_hold

STATEFUL = replace(without_hold(POLICY), state_in_memory=True)
QUIET = {"in_flight": 0.0, "in_flight_max": 0.0, "request_rate_60": 0.0, "request_rate_300": 0.0}


def test_it_grows_with_demand_and_does_not_shrink_when_that_has_gone() -> None:
    loop = Loop(STATEFUL)
    grown = loop.ticks(40, **BUSY).settings.replicas
    assert grown > 2
    decision = loop.ticks(100)
    assert decision.settings.replicas == grown
    assert decision.reason is Reason.HOLDING_STATE
    assert "only a person" in decision.summary
    loop.policy = replace(STATEFUL, state_in_memory=False)
    assert loop.ticks(10).settings.replicas < grown


def test_a_person_takes_pods_away_by_a_size_a_bound_or_a_schedule() -> None:
    loop = Loop(STATEFUL)
    loop.ticks(40, **BUSY)
    replicas = STATEFUL.replicas
    loop.policy = replace(STATEFUL, replicas=replace(replicas, manual=4))
    assert loop.tick().settings.replicas == 4
    assert loop.ticks(20).settings.replicas == 4
    loop.policy = replace(STATEFUL, replicas=replace(replicas, manual=4, max=3))
    assert loop.tick().settings.replicas == 3
    two = Schedule("two", tuple(range(7)), 0, 24 * 60, "UTC", max=2)
    loop.policy = replace(STATEFUL, replicas=replace(replicas, manual=4, schedules=(two,)))
    assert loop.tick().settings.replicas == 2


@given(stories(auto=True))
@examples(60)
def test_whatever_the_signals_say_it_never_shrinks_by_itself(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    for _, policy, target, observation, memory, now in story:
        decision = decide(replace(policy, state_in_memory=True), target, observation, memory, now)
        bounds = heed_schedules(policy, target.replicas, now).replicas
        assert bounds.mode is Mode.AUTO
        assert target.conflict or decision.settings.replicas >= min(target.replicas, bounds.max)


def named(manual: int, *, paused: bool = False) -> Policy:
    """A person has named a size."""
    replicas = replace(STATEFUL.replicas, manual=manual)
    return replace(STATEFUL, replicas=replicas, paused_scale_in=paused, paused_scale_out=paused)


def limited(decision: Decision) -> tuple[bool | None, Reason]:
    found = condition(decision, ConditionType.SCALING_LIMITED)
    return found.status, found.reason


def test_a_smaller_size_that_demand_does_not_allow_yet_is_told_and_comes_with_the_quiet() -> None:
    loop = Loop(STATEFUL)
    grown = loop.ticks(40, **BUSY).settings.replicas
    assert grown > 2
    loop.policy = named(2)
    waiting = loop.ticks(3, **BUSY)
    assert waiting.settings.replicas == grown, "demand needs them still"
    assert limited(waiting) == (True, Reason.DEMAND)
    assert "spec.replicas names a smaller size" in condition(waiting, ConditionType.SCALING_LIMITED).message
    assert loop.tick(blind()).settings.replicas == grown, "nor is anything known"
    done = loop.ticks(100)
    assert done.settings.replicas == 2
    assert limited(done)[0] is False
    # It was an order for once: what comes later stays.
    again = loop.ticks(40, **BUSY).settings.replicas
    assert again > 2
    assert loop.ticks(100).settings.replicas == again


def test_pods_that_come_for_demand_after_a_smaller_size_was_named_stay() -> None:
    loop = Loop(STATEFUL)
    grown = loop.ticks(40, **BUSY).settings.replicas
    loop.policy = named(2)
    loop.ticks(2, **BUSY)
    more = {name: 1.6 * value for name, value in BUSY.items()}
    final = loop.ticks(40, **more).settings.replicas
    assert final > grown
    assert loop.ticks(100).settings.replicas == final


def test_a_size_that_is_named_anew_takes_the_place_of_one_that_waits() -> None:
    loop = Loop(STATEFUL)
    grown = loop.ticks(40, **BUSY).settings.replicas
    loop.policy = named(2)
    loop.ticks(2, **BUSY)
    loop.policy = named(grown)
    loop.ticks(2, **BUSY)
    assert loop.ticks(100).settings.replicas == grown


@given(stories(auto=True), st.integers(2, 60))
@examples(60)
def test_a_size_that_a_person_names_is_there_or_waits_for_a_reason_that_is_told(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]], manual: int
) -> None:
    """Whatever was before, and whatever the signals say: with state in memory it is not forgotten."""
    last, policy, *_, now = story[-1]
    bounds = replace(policy.replicas, manual=manual, schedules=(), external_target=None)
    policy, size, memory = replace(policy, state_in_memory=True, replicas=bounds), last.settings.replicas, last.memory
    order = min(max(manual, bounds.min), bounds.max)
    for _, _, seen, observation, _, _ in story:
        now += 5.0
        target = replace(seen, replicas=size, ready_replicas=min(seen.ready_replicas, size))
        decision = decide(policy, target, replace(observation, evaluated_at=now), memory, now)
        before, size, memory = size, decision.settings.replicas, decision.memory
        if size <= max(order, manual) or size > before:
            return  # it is there (above a lower maximum, too), or demand has added to it
        assert limited(decision)[0]
        assert "spec.replicas names a smaller size" in condition(decision, ConditionType.SCALING_LIMITED).message
    loop = Loop(without_hold(policy), replace(TARGET, replicas=size, ready_replicas=size), memory, now)
    assert loop.ticks(200, **QUIET).settings.replicas == order


def test_a_size_that_is_named_in_a_pause_comes_when_that_ends() -> None:
    """Of any service: here nothing but the order says how many pods there are to be."""
    loop = Loop(replace(POLICY, paused_scale_in=True, paused_scale_out=True))
    before = loop.tick(blind()).settings.replicas
    loop.policy = replace(loop.policy, replicas=replace(POLICY.replicas, manual=6))
    paused = [loop.tick(blind()) for _ in range(3)]
    assert {each.settings.replicas for each in paused} == {before}
    assert {each.recommended.replicas for each in paused} == {6}
    assert condition(paused[-1], ConditionType.SCALING_ACTIVE).reason is Reason.PAUSED
    loop.policy = replace(POLICY, replicas=replace(POLICY.replicas, manual=6))
    assert loop.tick(blind()).settings.replicas == 6


def test_a_size_that_is_taken_back_in_a_pause_changes_nothing() -> None:
    loop = Loop(STATEFUL)
    grown = loop.ticks(40, **BUSY).settings.replicas
    for policy in (named(2, paused=True), STATEFUL):
        loop.policy = policy
        loop.ticks(3, **BUSY)
    assert loop.ticks(100).settings.replicas == grown
