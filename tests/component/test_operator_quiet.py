"""After the load: everything goes back, when a full window has passed and nobody has paused it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.harness.cluster import ControlPlane
from tests.component.operator_stage import Stage, busy_until_quiet, contested, shared_stage

WINDOW_SECONDS = 60.0


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


def test_quiet_takes_capacity_back_but_not_while_scale_in_is_paused(stage: Stage) -> None:
    service = busy_until_quiet(stage)
    service.until_condition("Ready", "True")
    service.load(6)
    service.until_size(3)
    service.until_serving(3)
    peak = max(service.metric("agent_worker_limit"))
    service.until_edited(pausedScaleIn=True)
    service.load(0)

    def stopped() -> bool:
        """Whether a decision would have removed pods and was stopped by the pause alone."""
        steps = stage.records(service.name)[-1]["decision"]["steps"]
        return any(step["knob"] == "replicas" and step["reason"] == "Paused" for step in steps)

    service.until(stopped, "a scale-in that the pause stopped", 3 * WINDOW_SECONDS)
    assert service.replicas == 3
    service.until(lambda: len(service.urls()) == 3, "all three ready")
    service.edit(pausedScaleIn=False)
    service.until_size(1, 3 * WINDOW_SECONDS)
    service.until_serving(1)
    # Not as few as at the start: what memory has room for stands open as a reserve.
    service.until(lambda: max(service.metric("agent_worker_limit")) < peak, "fewer workers", 3 * WINDOW_SECONDS)


def test_when_the_hpa_goes_the_object_is_scaled_again(stage: Stage) -> None:
    service = contested(stage)
    stage.remove_rival()
    service.until_edited(tuning={"replicas": {"min": 4}})
    service.until_condition("Conflict", "False", "NoConflict")
    service.until_size(4)
