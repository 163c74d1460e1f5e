"""Full records of decisions."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from agentscaler.core.decide import decide
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.kube.live import Live
from agentscaler.kube.records import DecisionRecord, Records, from_json, to_json
from agentscaler.objects import case, record_of
from tests.api_corpus import owned
from tests.leaf_checks import watched
from tests.worlds import POLICY, START, TARGET, observe


def record(now: float = START, name: str = "one", observation: Observation | None = None) -> DecisionRecord:
    observation = observation or observe(now)
    memory = Memory(decided_at=now - 5)
    return DecisionRecord(
        namespace="ns",
        name=name,
        uid=f"u-{name}",
        generation=1,
        now=now,
        spec={"replicas": 1, "template": {"spec": {"containers": [{"name": "a", "x": [1, 2.5, None]}]}}},
        policy=POLICY,
        target=TARGET,
        observation=observation,
        memory=memory,
        decision=decide(POLICY, TARGET, observation, memory, now),
    )


def test_a_record_through_json_makes_the_same_decision_again() -> None:
    buckets = ((0.1, 0.2), (1 / 3, 0.7), (math.inf, 1.0))
    made = record(observation=replace(observe(), service_buckets=buckets, problems=(("SignalsPartial", "some"),)))
    back = from_json(json.loads(json.dumps(to_json(made), allow_nan=False)))
    assert back == made
    assert decide(*back.inputs()) == made.decision


def test_ticks_that_say_nothing_new_are_not_kept_but_the_newest_is_shown() -> None:
    records = Records()
    first = record()
    steady = replace(first, decision=replace(first.decision, settings=first.decision.current))
    assert records.add(steady)
    later = replace(steady, now=START + 5)
    assert not records.add(later)
    newest = replace(steady, now=START + 10)
    assert not records.add(newest)
    assert [each["now"] for each in records.of("ns", "one")] == [START, START + 10]


def moved(number: int, name: str = "one") -> DecisionRecord:
    """A move to so many replicas."""
    made = record(START + number, name)
    settings = replace(made.decision.current, replicas=10 + number)
    return replace(made, decision=replace(made.decision, settings=settings))


def test_a_move_that_is_held_is_kept_once() -> None:
    records, move = Records(), moved(1)
    assert records.add(move)
    assert not any(records.add(replace(move, now=START + 5 * tick)) for tick in range(1, 9))
    assert records.add(moved(2))
    assert records.add(replace(move, now=START + 60))


def test_moves_are_kept_oldest_first_and_bounded() -> None:
    records = Records(most_of_one=3)
    for number in range(5):
        assert records.add(moved(number))
    assert [each["now"] for each in records.of("ns", "one")] == [START + 2, START + 3, START + 4]


def test_all_objects_together_are_bounded_and_each_keeps_its_last() -> None:
    records = Records(most_of_one=10, most_of_all=12)
    for name in "abc":
        for number in range(10):
            records.add(moved(number, name))
    kept = {name: len(records.of("ns", name)) for name in "abc"}
    assert sum(kept.values()) <= 12
    assert min(kept.values()) >= 1
    assert kept["c"] == 10


def test_an_object_that_is_gone_is_forgotten() -> None:
    records = Records()
    records.add(record())
    records.forget("ns", "one")
    assert records.of("ns", "one") == []


def test_no_value_of_the_template_reaches_a_record() -> None:
    spec = owned()
    spec["template"]["spec"]["containers"][0]["env"] = [{"name": "KEY", "value": "hunter2"}]
    one = watched(spec)
    one.memory, one.fresh = Memory(), True
    live = Live()
    made = case(one, live, observe(), START, _nothing)
    assert made.decision is not None
    assert "hunter2" not in repr(record_of(one, made, live))


async def _nothing() -> dict[str, float]:
    return {}
