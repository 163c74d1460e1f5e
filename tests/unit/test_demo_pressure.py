"""How the demo makes memory short."""

from __future__ import annotations

from typing import cast

import pytest

from e2e.demo.pressure import FIRST_FACTOR, LARGEST_FACTOR, STEP_PER_POD, STEP_SECONDS, Pressure
from e2e.demo.world import PodsSample
from e2e.harness.load import Load

STEP = 2 * STEP_PER_POD


class RecordingLoad:
    """What the load was told; there is no load without a fleet."""

    def __init__(self) -> None:
        self.factors: list[float | None] = []

    def set_body(self, memory_factor: float | None, keys: int) -> None:
        assert keys == 0
        self.factors.append(memory_factor)


def pods(*worst: int) -> list[PodsSample]:
    return [PodsSample(float(at), 2, bytes_, 0, 0) for at, bytes_ in enumerate(worst)]


def test_runs_grow_step_by_step_while_memory_holds() -> None:
    load = RecordingLoad()
    pressure = Pressure(cast("Load", load), 100.0)
    pressure.begin(0.0)
    for second in range(1, 11):
        pressure.step(float(second), pods(50, 60))
    assert load.factors == pytest.approx([FIRST_FACTOR, FIRST_FACTOR + STEP, FIRST_FACTOR + 2 * STEP])
    assert STEP_SECONDS == 5.0


def test_they_stop_growing_when_a_pod_stands_above_its_objective() -> None:
    load = RecordingLoad()
    pressure = Pressure(cast("Load", load), 100.0)
    pressure.begin(0.0)
    assert pressure.step(STEP_SECONDS, pods(50, 120, 50, 50)) == ""  # one large run
    assert "above its memory objective" in pressure.step(2 * STEP_SECONDS, pods(120, 130, 50, 120, 130))
    for second in range(11, 60):
        assert pressure.step(float(second), pods(50, 60)) == ""
    assert load.factors == [FIRST_FACTOR, FIRST_FACTOR + STEP]


def test_they_never_grow_without_end_and_shrink_when_told() -> None:
    load = RecordingLoad()
    pressure = Pressure(cast("Load", load), 100.0)
    for running, largest in ((2, 6.0), (4, LARGEST_FACTOR)):
        pressure.begin(0.0)
        # Pods that come meanwhile are the remedy, and no reason for more.
        pressure.step(0.0, [PodsSample(0.0, running, 50, 0, 0)])
        for second in range(200):
            pressure.step(float(second), [PodsSample(0.0, 8, 50, 0, 0)])
        assert load.factors[-1] == largest
    pressure.end()
    assert load.factors[-1] is None
    assert not pressure.active
