"""What takes a minute to be seen: sizes that users set otherwise than by demand, and what goes when the load has gone.

All of it waits at the same time: what `evening` begins is looked at by the tests after it, the first to end first.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from e2e.harness.cluster import ControlPlane
from tests.component.operator_service import NAMESPACE, Service, template
from tests.component.operator_stage import Stage, contested, growing, shared_stage

PLAYED = template(real=False)
"""Pods without a process: nothing is known of them, so that sizes move by order only."""
EVERY_DAY = {"start": "00:00", "end": "24:00"}
LEAST_NIGHT = timedelta(seconds=20)
LONGEST_NIGHT_SECONDS = 80.0
LONG = 180.0
"""Three times the window of signals, which must have passed before anything shrinks."""
BUSY = 6.0


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


class Services(NamedTuple):
    """All of this module at once: while one is looked at, the others come up."""

    timed: Service
    blind: Service
    stateful: Service
    calm: Service
    contested: Service


def played(stage: Stage, name: str, **replicas: Any) -> Service:
    tuning = {"intervalSeconds": 5, "replicas": {"min": 1, "max": 9, **replicas}}
    return stage.service(name, template=PLAYED, tuning=tuning)


@pytest.fixture(scope="module", autouse=True)
def services(stage: Stage) -> Services:
    atlantis = {**EVERY_DAY, "timeZone": "Europe/Atlantis", "min": 8}
    found = Services(
        timed=played(stage, "timed", min=2, schedules=[atlantis, {**EVERY_DAY, "name": "always", "min": 4}]),
        blind=played(stage, "blind", fallback={"failureThreshold": 3, "replicas": 3}),
        stateful=growing(stage, "stateful", statefulness="inMemory"),
        calm=growing(stage, "calm"),
        contested=contested(stage),
    )
    for service in (found.stateful, found.calm):
        service.until_serving()
        service.load(BUSY)
    return found


def until_soon() -> dict[str, str]:
    """A window of today or tonight that has begun and ends with one of the next minutes."""
    now = datetime.now(UTC)
    end = (now + LEAST_NIGHT).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return {"start": f"{now - timedelta(minutes=1):%H:%M}", "end": f"{end:%H:%M}"}


@pytest.fixture(scope="module")
def evening(stage: Stage, services: Services) -> float:
    """A night begins, a rival goes, and so does the load: of `calm` under a pause. The most workers that it had."""
    services.contested.until_condition("Conflict", "True", "ForeignAutoscaler")
    stage.remove_rival()
    for service in (services.stateful, services.calm):
        service.until_size(3)
        service.until_serving(3)
    peak = max(services.calm.metric("agent_worker_limit"))
    services.calm.until_edited(pausedScaleIn=True)
    services.calm.load(0)
    services.stateful.load(0)
    services.timed.until_edited(tuning={"replicas": {"schedules": [until_soon() | {"name": "night", "max": 0}]}})
    return peak


def test_after_failed_observations_there_are_as_many_pods_as_the_fallback_says(
    stage: Stage, services: Services
) -> None:
    blind = services.blind
    blind.until_size(3)
    assert [each.replicas for each in blind.seen()] == [1, 3]
    assert blind.status["lastDecision"]["reason"] == "Fallback"
    stage.cluster.kubectl("scale", "agd/blind", "-n", NAMESPACE, "--replicas=5")
    blind.until_size(5)
    blind.until_decided()
    blind.until_decided()
    assert blind.replicas == 5


def test_a_schedule_sets_the_bounds_and_one_in_an_unknown_time_zone_is_named(services: Services) -> None:
    timed = services.timed
    timed.until_size(4)
    timed.until_pods(4)
    stalled = timed.until_condition("Stalled", "True", "InvalidSchedule")
    assert "spec.tuning.replicas.schedules[0].timeZone" in stalled["message"]
    timed.until_edited(tuning={"replicas": {"schedules": [{**EVERY_DAY, "name": "always", "min": 5}]}})
    timed.until_size(5)
    timed.until_condition("Stalled", "False")
    # By the user's order pods go although nobody knows what they do.
    timed.until_edited(tuning={"replicas": {"schedules": [{**EVERY_DAY, "name": "always", "max": 3}]}})
    timed.until_size(3)


@pytest.mark.usefixtures("evening")
def test_a_schedule_to_zero_stops_the_service(services: Services) -> None:
    timed = services.timed
    timed.until_size(0)
    timed.until_condition("ScalingActive", "False", "ScaledToZero")
    timed.until_condition("Ready", "True", "ScaledToZero")
    timed.until_pods(0)


@pytest.mark.usefixtures("evening")
def test_when_the_hpa_goes_the_object_is_scaled_again(services: Services) -> None:
    services.contested.until_edited(tuning={"replicas": {"min": 4}})
    services.contested.until_condition("Conflict", "False", "NoConflict")
    services.contested.until_size(4)


def stopped(service: Service, reason: str) -> bool:
    """Whether a decision would have removed pods, but for the reason."""
    steps = service.stage.records(service.name)[-1]["decision"]["steps"]
    return any(step["knob"] == "replicas" and step["reason"] == reason for step in steps)


@pytest.mark.usefixtures("evening")
def test_pods_with_state_in_memory_stay_without_work_and_go_by_hand(stage: Stage, services: Services) -> None:
    stateful = services.stateful
    stateful.until(lambda: stopped(stateful, "HoldingState"), "a scale-in that was stopped for the state of pods", LONG)
    assert stateful.replicas == 3
    stage.cluster.kubectl("scale", "agd/stateful", "-n", NAMESPACE, "--replicas=2")
    stateful.until_size(2)
    stateful.until_serving(2)


def test_quiet_takes_capacity_back_but_not_while_scale_in_is_paused(services: Services, evening: float) -> None:
    calm, peak = services.calm, evening
    calm.until(lambda: stopped(calm, "Paused"), "a scale-in that the pause stopped", LONG)
    assert calm.replicas == 3
    calm.until(lambda: len(calm.urls()) == 3, "all three ready")
    calm.edit(pausedScaleIn=False)
    calm.until_size(1, LONG)
    calm.until_serving(1)
    # Not as few as at the start: what memory has room for stands open as a reserve.
    calm.until(lambda: max(calm.metric("agent_worker_limit")) < peak, "fewer workers", LONG)


@pytest.mark.usefixtures("evening")
def test_the_end_of_a_schedule_to_zero_brings_the_service_back_at_once(services: Services) -> None:
    timed = services.timed
    timed.until_size(2, LONGEST_NIGHT_SECONDS)
    timed.until_pods(2)
    assert [each.replicas for each in timed.seen()][-2:] == [0, 2]


def test_a_service_without_pods_on_purpose_is_not_counted_as_unknown(stage: Stage, services: Services) -> None:
    name = 'agentscaler_signals{health="Empty",signal="inFlight"}'
    services.blind.until_size(5)
    before = stage.operator_metric(name)
    assert before >= 1
    stage.cluster.kubectl("scale", "agd/blind", "-n", NAMESPACE, "--replicas=0")
    services.blind.until(lambda: stage.operator_metric(name) < before, "one unknown object less")


def test_zero_by_hand_stays_although_a_schedule_asks_for_pods(stage: Stage, services: Services) -> None:
    timed = services.timed
    timed.until_edited(tuning={"replicas": {"schedules": [{**EVERY_DAY, "min": 3}]}})
    timed.until_size(3)
    stage.cluster.kubectl("scale", "agd/timed", "-n", NAMESPACE, "--replicas=0")
    timed.until_size(0)
    timed.until_decided()
    timed.until_decided()
    assert timed.replicas == 0
    stage.cluster.kubectl("scale", "agd/timed", "-n", NAMESPACE, "--replicas=1")
    timed.until_size(3)
