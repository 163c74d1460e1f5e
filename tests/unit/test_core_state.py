"""Services whose pods keep state in memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from agentscaler.api.conditions import Reason
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Mode, Policy, Schedule
from agentscaler.core.schedules import heed_schedules
from agentscaler.core.target import Target
from tests.effort import examples
from tests.property.strategies import stories
from tests.worlds import BUSY, POLICY, Loop, without_hold

STATEFUL = replace(without_hold(POLICY), state_in_memory=True)


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
