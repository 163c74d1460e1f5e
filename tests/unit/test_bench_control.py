"""The control benchmark's tables and its bar, on rows made by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from agentscaler.simulate.score import Row
from benchmarks.control import bars, plot, table
from benchmarks.control.bars import Bar
from benchmarks.control.table import Results


def row(trace: str, policy: str, seed: int, cost: float, late: float = 0.0, **values: float) -> Row:
    plain: dict[str, Any] = {
        "actions_per_hour": 5.0,
        "reversals_per_hour": 0.0,
        "worker_changes_per_hour": 0.0,
        "oom_kills": 0,
        "lost_percent": 0.0,
        "wasted_calls_percent": 0.0,
    }
    fixed: dict[str, Any] = {
        "workers": "frozen",
        "memory": "typical",
        "startup": "fixed",
        "outages": False,
        "scrape_seconds": 15.0,
    }
    common: dict[str, Any] = {
        "trace": trace,
        "policy": policy,
        "seed": seed,
        "late_percent": late,
        "violation_percent": late,
        "cost_ratio": cost,
        "cost_ratio_hindsight": None,
        "replica_hours": 10.0 * cost,
    }
    return Row(**(fixed | common | plain | values))


def results(rows: Iterable[Row]) -> Results:
    return Results("variant", tuple(rows))


def told(lines: list[bars.Line]) -> dict[str, bool]:
    return {line.text.removeprefix("variant: "): line.met for line in lines}


def test_costs_are_geometric_means_over_traces_of_means_over_seeds() -> None:
    found = results(
        row(trace, "agentscaler", seed, cost)
        for trace, costs in {"a": (1.0, 3.0), "b": (8.0, 8.0)}.items()
        for seed, cost in enumerate(costs)
    )
    estimate = found.geometric("agentscaler")
    assert estimate.value == pytest.approx(4.0)
    assert estimate.low == pytest.approx(8.0**0.5)
    assert estimate.high == pytest.approx(24.0**0.5)


def test_a_cost_above_the_gate_is_struck_out() -> None:
    text = table.markdown(results([row("a", "x", 0, 1.2, late=0.5), row("a", "y", 0, 0.9, late=2.5)]))
    assert "| a | 1.20 @0.50 /5 | ~~0.90~~ @2.50 /5 |" in text
    assert "| traces above 1 % | 0 | 1 |" in text


def test_violations_on_one_trace_are_not_averaged_away() -> None:
    found = results([row("a", "agentscaler", 0, 1.0, late=1.8), row("b", "agentscaler", 0, 1.0)])
    lines = bars.judge(found, Bar(cost=1.25, target=0.9))
    assert told(lines) == {
        "violations at most 1 % on every trace": False,
        "cost at most 1.25 x clairvoyant": True,
        "cost target 0.9": False,
        "at most 20 replica actions per hour": True,
        "at most 4 reversals within 5 minutes per hour": True,
    }
    assert "a 1.80 %" in lines[0].measured


def test_the_ramp_alone_may_have_more() -> None:
    ramp = results([row(bars.RAMP, "agentscaler", 0, 1.0, late=1.4)])
    other = results([row("a", "agentscaler", 0, 1.0, late=1.4)])
    assert bars.judge(ramp, Bar(ramp_percent=1.5))[0].met
    assert not bars.judge(ramp, Bar())[0].met
    assert not bars.judge(other, Bar(ramp_percent=1.5))[0].met


def test_the_pair_counts_on_each_trace_that_has_one() -> None:
    found = results(
        [
            row("a", "agentscaler", 0, 1.0, cost_ratio_hindsight=0.8),
            row("b", "agentscaler", 0, 1.0, cost_ratio_hindsight=1.1),
            row("c", "agentscaler", 0, 1.0),
        ]
    )
    lines = [line for line in bars.judge(found, Bar(pair=1.0, each_pair=True)) if "pair" in line.text]
    assert [line.met for line in lines] == [True, False]
    assert "no pair keeps the gate on c" in lines[0].text
    assert "b 1.100" in lines[1].measured


def test_breakers_are_judged_by_all_wasted_calls_together() -> None:
    found = results(
        [
            row("a", "agentscaler", 0, 1.0, wasted_calls=5, healthy_refusals=1),
            row("b", "agentscaler", 0, 1.0, wasted_calls=20),
            row("a", "fixed", 0, 1.0, wasted_calls=100),
            row("b", "fixed", 0, 1.0, wasted_calls=200),
        ]
    )
    lines = bars.judge_outages(found, "fixed")
    assert (lines[0].met, lines[-1].met) == (True, False)
    assert "91.7 % fewer" in lines[0].measured


def test_a_plot_is_a_picture_with_a_point_for_each_policy_and_trace() -> None:
    found = results([row("a", "x", 0, 1.2), row("b", "x", 0, 1.3, late=3.0), row("a", "y & z", 0, 1.5)])
    picture = ET.fromstring(plot.pareto(found))
    assert len(picture.findall("{http://www.w3.org/2000/svg}circle")) == 3 + 2
