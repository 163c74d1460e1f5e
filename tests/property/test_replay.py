"""Every decision can be made again from its record, to the last bit."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agentscaler.cli.replay import parse, replayed
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Policy
from agentscaler.core.target import Target
from agentscaler.kube.records import DecisionRecord, Records, from_json, to_json
from tests.effort import examples
from tests.property.strategies import stories

DECISION = TypeAdapter(Decision)


def record_of(story: tuple[Decision, Policy, Target, Observation, Memory, float]) -> DecisionRecord:
    decision, policy, target, observation, memory, now = story
    return DecisionRecord(
        namespace="ns",
        name="one",
        uid="u",
        generation=1,
        now=now,
        spec={},
        policy=policy,
        target=target,
        observation=observation,
        memory=memory,
        decision=decision,
    )


@given(stories(), st.booleans())
@examples(30)
def test_a_recorded_decision_is_made_again_bit_for_bit(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]], indented: bool
) -> None:
    for each in story:
        made = record_of(each)
        text = json.dumps(to_json(made), allow_nan=False, indent=2 if indented else None)
        (plain,) = parse(text, "a record")
        assert replayed(plain).differences == ()
        again = decide(*from_json(plain).inputs())
        assert again == made.decision
        assert DECISION.dump_json(again) == DECISION.dump_json(made.decision)


@given(stories())
@examples(20)
def test_what_the_operator_keeps_replays_in_the_order_it_was_decided(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    ring = Records()
    for each in story:
        ring.add(record_of(each))
    kept = parse(json.dumps({"records": ring.of("ns", "one")}), "records")
    assert [each["now"] for each in kept] == sorted(each["now"] for each in kept)
    assert all(replayed(plain).differences == () for plain in kept)
