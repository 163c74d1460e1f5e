"""A recorded trace fitted to what the demo can play."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agentscaler.cli.cluster import CliError
from e2e.demo.judge import Span
from e2e.demo.numbers import numbers
from e2e.demo.options import options
from e2e.demo.plan import PHASES, QUIET_RATE, Phase, Script
from e2e.demo.replay import LEAD_IN, PEAK_RATE, Curve, load, script
from e2e.demo.world import World

HOUR = 3600


def parts_of(found: Script) -> list[Phase]:
    assert found.phases[0] is LEAD_IN
    return list(found.phases[1:])


def written(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_the_busiest_hour_is_played_in_six_parts_ten_times_as_fast() -> None:
    rates = np.full(4 * HOUR, 1.0)
    rates[2 * HOUR : 3 * HOUR] = 40.0
    rates[2 * HOUR : 2 * HOUR + 600] = 20.0
    found = script(Curve("day", 1.0, rates))
    parts = parts_of(found)
    assert [part.seconds for part in parts] == [60.0] * 6
    assert parts[0].name == "part 1 from 2:00:00"
    assert [part.rate * QUIET_RATE for part in parts] == pytest.approx([12.5, *[25.0] * 5])
    assert "10 times as fast" in found.notes[0]
    assert "all rates times 0.625" in found.notes[1]


@pytest.mark.parametrize("rate", [0.001, 1.0, 5000.0])
def test_the_peak_is_what_the_machine_can_do_whatever_was_recorded(rate: float) -> None:
    curve = Curve("bursty", 1.0, rate * np.random.default_rng(1).pareto(1.5, 2 * HOUR))
    values = [value for part in parts_of(script(curve)) for value in part.curve]
    assert max(values) == PEAK_RATE
    assert min(values) >= 0


@pytest.mark.parametrize(
    ("step", "length", "seconds", "faster"),
    [
        (1.0, HOUR, 360.0, "10 times"),
        (600.0, 2016, 360.0, "60 times"),
        (1.0, 600, 120.0, "5 times"),
        (1.0, 1800, 180.0, "10 times"),
        (1.0, 30, 120.0, "0.25 times"),
    ],
)
def test_a_demo_takes_from_two_to_six_minutes(step: float, length: int, seconds: float, faster: str) -> None:
    found = script(Curve("some", step, np.linspace(1, 2, length)))
    assert sum(part.seconds for part in parts_of(found)) == seconds
    assert faster in found.notes[0]


def test_all_requests_of_the_window_are_in_the_curve() -> None:
    requests = np.random.default_rng(2).poisson(3.0, HOUR).astype(float)
    found = script(Curve("hour", 1.0, requests))
    values = np.array([part.curve for part in parts_of(found)])
    coarse = requests.reshape(72, 50).sum(axis=1)
    assert values.ravel() == pytest.approx(PEAK_RATE * coarse / coarse.max(), abs=1e-3)


def test_the_load_of_a_phase_follows_its_curve() -> None:
    phase = Phase("part", 20, 3, curve=(10.0, 20.0))
    assert [phase.runs_per_second(at) for at in (0, 9.9, 10, 19.9, 25)] == [10, 10, 20, 20, 20]
    assert phase.load == "10.0 to 20.0 runs a second"
    assert {PHASES[1].runs_per_second(at) for at in (0.0, 44.0)} == {25.0}


def test_counts_rates_and_lists_of_requests_are_read(tmp_path: Path) -> None:
    counts = written(tmp_path / "counts.csv", "t_seconds,requests", *(f"{t},{1 + t // 300}" for t in range(600)))
    rates = written(tmp_path / "rates.csv", "t_seconds,rps", *(f"{t},{1 + t // 300}" for t in range(600)))
    listed = [f"{at},10,10" for t in range(600) for at in [t, t + 0.5][: 1 + t // 300]]
    requests = written(tmp_path / "listed.csv", "t_seconds,input_tokens,output_tokens", *listed)
    for file in (counts, rates, requests):
        parts = parts_of(load(file, None))
        assert [part.rate * QUIET_RATE for part in parts] == pytest.approx([12.5] * 3 + [25.0] * 3)


def test_a_file_with_several_rates_asks_for_one(tmp_path: Path) -> None:
    file = written(tmp_path / "two.csv", "t_seconds,a_rps,b_rps", *(f"{t},1,{t}" for t in range(600)))
    with pytest.raises(CliError, match=r"name one with COLUMN=.*: a_rps, b_rps"):
        load(file, None)
    assert load(file, "b_rps").trace == "two:b_rps"
    with pytest.raises(CliError, match="no rate is called c"):
        load(file, "c")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("0,1", "1,nan", "2,1"), "row 3.*finite"),
        (("0,1", "1,1", "2,1", "6,1"), "row 5.*gap of 4 s"),
        (("0,0", "1,0"), "zero requests"),
    ],
)
def test_a_bad_trace_is_refused_in_the_loaders_words(tmp_path: Path, rows: tuple[str, ...], said: str) -> None:
    file = written(tmp_path / "bad.csv", "t_seconds,rps", *rows)
    with pytest.raises(CliError, match=said) as refused:
        options({"TRACE": file})
    assert refused.value.exit_code == 2


def test_a_missing_trace_and_a_report_without_room_are_refused(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    for environment, said in (
        ({"TRACE": str(tmp_path / "none.csv")}, "cannot be read"),
        ({"COLUMN": "rps"}, "give TRACE"),
        ({"REPORT": str(tmp_path)}, "is a folder"),
        ({"REPORT": str(taken / "out.html")}, "no folder for it"),
    ):
        with pytest.raises(CliError, match=said) as refused:
            options(environment)
        assert refused.value.exit_code == 2


def test_without_variables_the_demo_plays_its_own_story() -> None:
    assert options({}).script == Script(PHASES)
    assert options({"OPERATOR": "off", "KEEP": "0", "TRACE": "", "REPORT": ""}).operator_on is False


def test_numbers_of_the_scripted_phases_are_left_out_under_a_trace() -> None:
    spans = [Span(Phase("part 1", 60, 5, curve=(25.0,)), 100, 160)]
    found = numbers(World(), spans, (), None)
    assert [number.what.split()[0] for number in found] == ["a", "requests", "pods"]
    assert [number.good for number in found] == [None, True, True]
