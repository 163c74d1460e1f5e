"""The status of an object: what it says, when it is written, how large it gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.api.status import AgentDeploymentStatus
from agentscaler.core.decide import decide
from agentscaler.core.memory import Change, Memory
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.core.settings import Breaker, Cache, Settings
from agentscaler.frameworks.describe import describe
from agentscaler.frameworks.effective import effective
from agentscaler.kube import status, tuning, verdicts
from agentscaler.kube.case import Case, Delivered, Outcome
from agentscaler.kube.facts import deployment_facts
from agentscaler.kube.live import ConflictFacts, Live
from agentscaler.kube.memo import Problem
from agentscaler.kube.store import project
from tests.worlds import START, TARGET, observe

REPORTED = Condition(ConditionType.DELIVERED, True, Reason.REPORTED, "every ready pod reports the current settings")
SETTINGS = Settings(2, 8, Cache(256 * 2**20, 600), Breaker(50, 30, 60, 10, 2))
DELIVERED = Delivered(REPORTED, 4, tuning.text(SETTINGS, 4), 4)


def body(old: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "agent", "image": "a:1"}]}}
    return {
        "metadata": {"uid": "u1", "namespace": "ns", "name": "one", "generation": 3, "resourceVersion": "5"},
        "spec": {"template": template, **spec},
        "status": dict(old or {}),
    }


def live(replicas: int = 2, ready: int = 2, **changes: Any) -> Live:
    facts = deployment_facts(
        {
            "metadata": {"uid": "d1", "namespace": "ns", "name": "one", "resourceVersion": "9", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"agentscaler.dev/name": "one"}}},
            "status": {
                "observedGeneration": 1,
                "replicas": replicas,
                "updatedReplicas": replicas,
                "readyReplicas": ready,
                "availableReplicas": ready,
            },
        }
    )
    return replace(Live(deployment=facts, container="agent", settings_mounted=True), **changes)


def case(
    old: Mapping[str, Any] | None = None,
    observation: Observation | None = None,
    *,
    now: float = START,
    decided: bool = True,
    seen: Live | None = None,
    before: Memory | None = None,
    **spec: Any,
) -> Case:
    record = project(body(old, **spec))
    assert record.spec is not None
    policy = effective(record.spec)
    observation = observation or observe(now)
    memory = before or Memory(settings=SETTINGS, manual_replicas=1, manual_heeded=True)

    async def nothing() -> dict[str, float]:
        return {}

    return Case(
        record=record,
        live=seen or live(),
        policy=policy,
        effective=describe(record.spec, policy),
        observation=observation,
        decision=decide(policy, TARGET, observation, memory, now) if decided else None,
        fresh=True,
        before=memory,
        now=now,
        in_flight=nothing,
    )


def outcome(made: Case, **changes: Any) -> Outcome:
    memory = made.decision.memory if made.decision is not None else made.before
    return replace(Outcome(DELIVERED, memory, replicas=2), **changes)


def whole(made: Case, **changes: Any) -> dict[str, Any]:
    done = outcome(made, **changes)
    return status.whole(status.shown(made, done, "f1"), made, done)


def build(made: Case, **changes: Any) -> dict[str, Any]:
    built = whole(made, **changes)
    AgentDeploymentStatus.model_validate_json(json.dumps(built))
    return built


def held(built: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in built["conditions"]}


def test_a_service_that_runs_well_is_ready() -> None:
    built = build(case())
    assert held(built)["Ready"] == ("True", "Available")
    assert held(built)["Reconciling"] == ("False", "Stable")
    assert held(built)["Stalled"][0] == "False"
    assert held(built)["AbleToScale"] == ("True", "ReadyToScale")
    assert built["observedGeneration"] == 3
    assert (built["replicas"], built["readyReplicas"]) == (2, 2)
    assert built["selector"] == "agentscaler.dev/name=one"
    assert built["settings"] == {
        "generation": 4,
        "replicas": 2,
        "workers": 8,
        "cache": {"size": "256Mi", "ttlSeconds": 600},
        "circuitBreaker": {
            "failureRateThresholdPercent": 50,
            "waitDurationInOpenStateSeconds": 30,
            "slidingWindowSeconds": 60,
            "minimumNumberOfCalls": 10,
            "permittedCallsInHalfOpenState": 2,
        },
    }
    assert built["effective"]["tuning"]["workers"]["max"] == 64


def test_every_condition_is_there_from_the_first_write() -> None:
    assert set(held(build(case()))) == {str(kind) for kind in ConditionType}


def test_numbers_that_drift_are_no_reason_to_write() -> None:
    old = build(case())
    later = case(
        old,
        observe(START + 15, in_flight=2.1, memory_max_bytes=2.2e8, request_rate_60=4.3, cache_bytes=3.1e7),
        now=START + 15,
    )
    assert later.decision is not None
    assert not later.decision.changed
    new = build(later)
    assert new["signals"] != old["signals"]
    assert not status.is_worth_a_write(new, old)


@pytest.mark.parametrize("lost", ["in_flight", "queue_depth", "memory_max_bytes"])
def test_a_change_of_health_is_written(lost: str) -> None:
    old = build(case())
    new = build(case(old, observe(START + 15, **{lost: Health.STALE}), now=START + 15))
    assert status.is_worth_a_write(new, old)


def test_idle_and_fresh_are_both_known() -> None:
    old = build(case())
    idle = observe(START + 15, service_time=Health.IDLE, error_ratio=Health.IDLE)
    assert not status.is_worth_a_write(build(case(old, idle, now=START + 15)), old)


@pytest.mark.parametrize("seen", [live(2, 1), live(3, 2), replace(live(), problems=(REPORTED,), deployment=None)])
def test_a_change_of_pods_is_written(seen: Live) -> None:
    old = build(case())
    assert status.is_worth_a_write(build(case(old, seen=seen, now=START + 15)), old)


def test_a_transition_time_moves_only_when_the_status_flips() -> None:
    old = build(case())
    stamped = {each["type"]: each["lastTransitionTime"] for each in old["conditions"]}
    other = Problem(Reason.FORBIDDEN, "may not patch deployments/scale.apps", stalled=True)
    new = build(case(old, now=START + 60), problem=other)
    moved = {e["type"] for e in new["conditions"] if e["lastTransitionTime"] != stamped[e["type"]]}
    assert moved == {"Ready", "Stalled", "AbleToScale"}
    again = build(case(new, now=START + 90), problem=replace(other, message="may not create events"))
    assert [e["lastTransitionTime"] for e in again["conditions"]] == [
        e["lastTransitionTime"] for e in new["conditions"]
    ]


def test_what_only_a_decision_knows_stays_while_nothing_can_be_decided() -> None:
    old = build(case())
    problem = Problem(Reason.TARGET_UNAVAILABLE, "the target cannot be read now: everything is held")
    new = build(case(old, decided=False, now=START + 15), problem=problem)
    assert held(new)["ObjectiveUnreachable"] == held(old)["ObjectiveUnreachable"]
    assert held(new)["ScalingActive"] == ("False", "TargetUnavailable")
    assert new["lastDecision"] == old["lastDecision"]
    assert new["memory"] == old["memory"]


def test_waiting_pods_are_reconciling_and_stay_ready_until_they_are_overdue() -> None:
    old = build(case())
    waits = Condition(ConditionType.DELIVERED, False, Reason.WAITING_FOR_REPORT, "not every pod reports")
    waiting = replace(DELIVERED, condition=waits, waiting=True)
    new = build(case(old), delivered=waiting)
    assert held(new)["Ready"][0] == "True"
    assert held(new)["Reconciling"] == ("True", "WaitingForReport")
    late = build(case(old), delivered=replace(waiting, overdue=True))
    assert held(late)["Ready"] == ("False", "WaitingForReport")


def test_settings_that_were_never_reported_are_not_ready() -> None:
    waits = Condition(ConditionType.DELIVERED, False, Reason.WAITING_FOR_REPORT, "not every pod reports")
    built = build(case(), delivered=replace(DELIVERED, condition=waits, waiting=True, applied=None))
    assert held(built)["Ready"] == ("False", "WaitingForReport")


def test_unknown_signals_are_not_ready() -> None:
    built = build(case(observation=Observation(START)))
    assert held(built)["Ready"][0] == "False"
    assert held(built)["MetricsAvailable"][0] == "False"


def test_a_conflict_is_named_and_keeps_replicas_out_of_our_hands() -> None:
    conflict = ConflictFacts(Reason.FOREIGN_AUTOSCALER, "HorizontalPodAutoscaler ns/x scales the target as well")
    built = build(case(seen=live(conflict=conflict)))
    assert held(built)["Conflict"] == ("True", "ForeignAutoscaler")
    assert held(built)["AbleToScale"] == ("False", "HoldingConflict")


def test_being_blind_for_autoscalers_blocks_nothing() -> None:
    blind = Condition(ConditionType.CONFLICT, None, Reason.FORBIDDEN, "may not list horizontalpodautoscalers")
    made = case(seen=live(problems=(blind,)))
    assert verdicts.blocked(made) is None
    assert held(build(made))["Conflict"] == ("Unknown", "Forbidden")


def test_two_objects_on_one_target_block_the_younger() -> None:
    shared = ConflictFacts(Reason.TARGET_SHARED, "AgentDeployment ns/two came first")
    problem = verdicts.blocked(case(seen=live(conflict=shared)))
    assert problem is not None
    assert (problem.reason, problem.stalled) == (Reason.TARGET_SHARED, True)


def test_ten_records_at_most_newest_first() -> None:
    old: dict[str, Any] = {}
    for number in range(15):
        made = case(old, now=START + number, tuning={"workers": {"min": 20 + number, "max": 40}})
        assert made.decision is not None
        assert made.decision.changed
        old = build(made)
    assert len(old["records"]) == 10
    assert old["records"][0]["at"] > old["records"][-1]["at"]
    assert old["records"][0]["to"]["workers"] == 34
    assert old["lastDecision"]["at"] == old["records"][0]["at"]


def test_status_is_at_most_eight_kibibytes_and_keeps_what_matters() -> None:
    long = "x" * 2000
    records = [{"at": "2026-11-21T08:00:00Z", "reason": "Demand", "summary": "s" * 300}] * 10
    changes = tuple(Change(START - n, 1) for n in range(200))
    before = Memory(settings=SETTINGS, manual_replicas=1, manual_heeded=True, changes=changes)
    problems = tuple(Condition(kind, False, Reason.WRITE_FAILED, long) for kind in ConditionType)
    made = case({"records": records}, seen=live(problems=problems), before=before)
    built = whole(made, problem=Problem(Reason.FORBIDDEN, long, stalled=True))
    AgentDeploymentStatus.model_validate_json(json.dumps(built))
    assert len(json.dumps(built, separators=(",", ":"))) <= status.LARGEST_BYTES
    assert len(built["conditions"]) == len(ConditionType)
    assert built["memory"]["core"]


def test_a_flip_or_a_move_is_urgent_and_a_count_is_not() -> None:
    old = build(case())
    assert not status.is_urgent(build(case(old, seen=live(3, 2))), old)
    problem = Problem(Reason.FORBIDDEN, "may not", stalled=True)
    assert status.is_urgent(build(case(old), problem=problem), old)
    assert status.is_urgent({**old, "lastDecision": {"at": "later"}}, old)


def test_signals_are_rounded_for_people() -> None:
    built = build(case(observation=observe(START, in_flight=2.123456, memory_max_bytes=123456789.0)))
    shown = {each["name"]: each for each in built["signals"]}
    assert shown[str(SignalName.IN_FLIGHT)]["value"] == "2.12"
    assert shown[str(SignalName.MEMORY_MAX_BYTES)]["value"] == "123000000"
