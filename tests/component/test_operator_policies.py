"""Sizes that users set otherwise than by demand: schedules, a fallback, state in memory, zero."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from e2e.harness.cluster import ControlPlane
from tests.component.operator_service import NAMESPACE, Service, template
from tests.component.operator_stage import Stage, busy_until_quiet, growing, shared_stage

PLAYED = template(real=False)
"""Pods without a process: nothing is known of them, so that sizes move by order only."""
EVERY_DAY = {"start": "00:00", "end": "24:00"}
LEAST_WINDOW = timedelta(seconds=20)
LONGEST_WINDOW_SECONDS = 80.0


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


class Services(NamedTuple):
    """All of this module at once: while one is looked at, the others come up."""

    timed: Service
    blind: Service
    stateful: Service


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
    )
    calm = busy_until_quiet(stage)
    found.stateful.until_serving()
    found.stateful.load(6)
    calm.until_serving()
    calm.load(6)
    return found


def until_soon() -> dict[str, str]:
    """A window of today or tonight that has begun and ends with one of the next minutes."""
    now = datetime.now(UTC)
    end = (now + LEAST_WINDOW).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return {"start": f"{now - timedelta(minutes=1):%H:%M}", "end": f"{end:%H:%M}"}


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


def test_a_schedule_to_zero_stops_the_service_and_its_end_brings_it_back_at_once(services: Services) -> None:
    timed = services.timed
    timed.until_edited(tuning={"replicas": {"schedules": [until_soon() | {"name": "night", "max": 0}]}})
    timed.until_size(0)
    timed.until_condition("ScalingActive", "False", "ScaledToZero")
    timed.until_condition("Ready", "True", "ScaledToZero")
    timed.until_pods(0)
    timed.until_size(2, LONGEST_WINDOW_SECONDS)
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


def test_pods_with_state_in_memory_stay_without_work_and_go_by_hand(stage: Stage, services: Services) -> None:
    stateful = services.stateful
    stateful.until_size(3)
    stateful.until_serving(3)
    stateful.load(0)

    def kept() -> bool:
        """Whether a decision would have removed pods, but for their state."""
        steps = stage.records("stateful")[-1]["decision"]["steps"]
        return any(step["knob"] == "replicas" and step["reason"] == "HoldingState" for step in steps)

    stateful.until(kept, "a scale-in that was stopped for the state of pods", 100)
    assert stateful.replicas == 3
    stage.cluster.kubectl("scale", "agd/stateful", "-n", NAMESPACE, "--replicas=2")
    stateful.until_size(2)
    stateful.until_serving(2)
