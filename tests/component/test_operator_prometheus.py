"""Prometheus servers that are slow, refuse, fail or talk nonsense: hold, and recover without a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.harness.cluster import ControlPlane
from tests.component.operator_proxy import Fault
from tests.component.operator_service import Service
from tests.component.operator_stage import Stage, growing, shared_stage

REASONS = {
    Fault.SLOW: "QueryFailed",
    Fault.REFUSING: "QueryRefused",
    Fault.FAILING: "QueryFailed",
    Fault.GARBAGE: "QueryFailed",
}


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


@pytest.fixture(scope="module")
def services(stage: Stage) -> dict[Fault, Service]:
    """One service for each fault; those of other modules where they run already."""
    names = {Fault.SLOW: "ill", Fault.REFUSING: "heavy", Fault.FAILING: "killed", Fault.GARBAGE: "edited"}
    found = {fault: growing(stage, name, prometheus=fault) for fault, name in names.items()}
    for service in found.values():
        service.until_condition("MetricsAvailable", "True")
        service.load(2)
    return found


def test_no_answer_and_no_proper_answer_hold_everything_and_go_by(stage: Stage, services: dict[Fault, Service]) -> None:
    before = {fault: service.seen()[-1] for fault, service in services.items()}
    since = time.time()
    stage.proxy.break_all()
    try:
        for service in services.values():
            service.load(0)
        for fault, service in services.items():
            message = service.until_condition("MetricsAvailable", "False", REASONS[fault])["message"]
            assert message
            service.until_condition("ScalingActive", "False", "HoldingUnknown")
        for fault, service in services.items():
            for each in service.seen(since):
                assert each.replicas >= before[fault].replicas, fault
                assert each.workers >= before[fault].workers, fault
        growing(stage, "spiky").until_condition("MetricsAvailable", "True")
    finally:
        stage.proxy.mend()
    for service in services.values():
        service.until_condition("MetricsAvailable", "True")
    stage.operator.check()
