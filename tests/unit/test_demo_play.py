"""How a phase is played, against a stage that only writes down what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from e2e.demo import __main__ as demo
from e2e.demo.plan import Act, Phase
from e2e.demo.stage import Stage
from e2e.demo.view import View
from e2e.demo.world import World


class Recorded:
    """A stage, its load and its pressure in one."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.load = self.pressure = self

    def set_rate(self, rate: float) -> None:
        self.rates.append(rate)

    def perform(self, act: Act) -> None:
        assert act is Act.LOAD_FALLS
        self.rates.append(5.0)

    def check(self) -> None:
        """Nothing ends by itself."""

    def step(self, *_: object) -> str:
        return ""

    def stats(self, *_: object, **__: object) -> dict[str, Any]:
        return {}


def rates_of(*phases: Phase) -> Sequence[float]:
    stage, world = Recorded(), World()
    with Path("/dev/null").open("w") as nowhere:
        view = View(world, Console(file=nowhere), operator_on=True)
        for number in range(len(phases)):
            span = demo._play(number, phases, cast("Stage", stage), world, view, late_seconds=3.0)
            assert span.phase is phases[number]
            assert span.ended - span.began >= phases[number].seconds
    return stage.rates


def test_the_load_changes_when_the_curve_does() -> None:
    assert rates_of(Phase("part", 1.2, 2, curve=(5.0, 5.0, 15.0))) == [5.0, 15.0]


def test_a_load_that_an_act_has_changed_is_left_alone() -> None:
    assert rates_of(Phase("gone", 0.7, 3, ((0.0, Act.LOAD_FALLS),)), Phase("next", 0.1, 1)) == [15.0, 5.0, 5.0]


def test_a_bad_trace_ends_the_demo_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("t_seconds,rps\n0,1\n-1,1\n")
    monkeypatch.setenv("TRACE", str(file))
    monkeypatch.setattr("e2e.harness.tools.ensure", lambda: pytest.fail("something was started"))
    assert demo.main() == 2
    assert "row 3: time -1 is negative" in capsys.readouterr().out
