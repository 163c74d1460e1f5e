"""The course of a run, what is said of its worst minutes, and the report's file."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import plotly.graph_objects  # type: ignore[import-untyped]  # it has no types
import pytest

from agentscaler.simulate import synthetic
from agentscaler.simulate.compare import compare, contestant
from agentscaler.simulate.figures import MOST_POINTS, colours, course, pareto
from agentscaler.simulate.model import Variant, Workers
from agentscaler.simulate.report import Course, Report, means
from agentscaler.simulate.steps import Steps, losses, shortened

STEP = 15.0
PER_MINUTE = 4
BAD = ("late", "timed_out", "failed", "killed", "refused", "unavoidable", "oom_kills")


def steady(minutes: int = 10, *, rate: float = 1.0, **values: Any) -> Steps:
    """A steady load. What went wrong is given as {minute: requests}, gauges as one value or one for each minute."""
    n = minutes * PER_MINUTE
    gauges: dict[str, Any] = {"running": 6, "queued": 0, "ordered": 1, "ready": 1, "existing": 1, "workers": 8}
    gauges |= {"outage": 0.0} | {name: value for name, value in values.items() if name not in BAD}
    bad = {name: np.zeros(n) for name in BAD}
    for name in BAD:
        for minute, count in values.get(name, {}).items():
            bad[name][minute * PER_MINUTE] = count
    filled = {
        name: np.repeat(np.array(value, float), PER_MINUTE) if isinstance(value, list) else np.full(n, float(value))
        for name, value in gauges.items()
    }
    arrivals = filled.pop("arrivals", np.full(n, rate * STEP))
    return Steps(STEP, arrivals=arrivals, billed_seconds=STEP * filled["existing"], **bad, **filled)


def row(policy: str = "agentscaler", **values: Any) -> dict[str, Any]:
    plain = {
        "trace": "day",
        "policy": policy,
        "seed": 0,
        "workers": "frozen",
        "memory": "typical",
        "startup": "fixed",
        "outages": False,
        "scrape_seconds": 15.0,
        "late_percent": 0.2,
        "violation_percent": 0.5,
        "cost_ratio": 1.2,
        "cost_ratio_hindsight": None,
        "replica_hours": 12.0,
        "actions_per_hour": 6.0,
        "reversals_per_hour": 0.5,
        "worker_changes_per_hour": 0.0,
        "oom_kills": 0,
        "lost_percent": 0.0,
        "wasted_calls_percent": 0.0,
    }
    return plain | values


@pytest.mark.parametrize("seconds", [4, 100, 1205])
def test_a_runs_steps_add_up_to_its_row(seconds: int) -> None:
    load = synthetic.with_rate("load", np.full(seconds, 3.0), seed=1)
    variant = Variant(outages=True, workers=Workers.FROZEN)
    (done,) = compare(load, [contestant("static:replicas=2")], variant, seed=1, with_steps=True, reference=False)
    found, row = done.steps, done.row
    assert found is not None
    assert len(found.arrivals) == -(-seconds // 15)
    assert found.arrivals.sum() == row.offered == len(load)
    assert found.violations.sum() == pytest.approx(row.violation_percent * row.offered / 100)
    assert found.unavoidable.sum() == pytest.approx(row.unavoidable_percent * row.offered / 100)
    assert found.billed_seconds.sum() == pytest.approx(3600 * row.replica_hours)
    assert found.oom_kills.sum() == row.oom_kills
    if seconds > 1000:
        assert row.violation_percent > 1
        assert found.outage.max() > 0
        assert found.ready[-1] == 2


def test_shortening_keeps_all_counts_and_the_last_gauge() -> None:
    t = steady(late={0: 1, 8: 1}, ordered=list(range(10)), queued=[0, 9, *[0] * 8])
    short = shortened(t, 7)
    assert len(short.arrivals) <= 7
    assert (short.arrivals.sum(), short.violations.sum()) == (600, 2)
    assert short.billed_seconds.sum() == pytest.approx(600)
    assert (short.ordered[0], short.ordered[-1], short.queued.max()) == (1, 9, 9)
    assert short.times[-1] >= t.times[-1]
    assert shortened(t, 40) is t


def test_the_worst_minutes_come_first_with_their_share() -> None:
    found = losses(steady(late={1: 2, 5: 1}, failed={1: 1}))
    assert [(each.at_seconds, each.violations, each.share_percent) for each in found] == [(60, 3, 75.0), (300, 1, 25.0)]
    assert losses(steady()) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"late": {4: 1}, "ordered": 3}, "2 pods had been ordered and not become ready yet: 8 slots, 6 of them busy"),
        ({"late": {4: 1}, "running": 8}, "too few replicas for a load of 1 requests/s"),
        ({"late": {4: 1}}, "a short burst"),
        ({"late": {4: 1}, "outage": 0.3}, "the provider fails 30 % of the calls"),
        ({"late": {4: 1}, "oom_kills": {3: 1}}, "1 pod had run out of memory and started again"),
        ({"killed": {4: 1}, "oom_kills": {4: 2}}, "2 pods ran out of memory"),
        ({"killed": {4: 1}}, "grace"),
        ({"killed": {4: 1}, "oom_kills": {2: 1}}, "long after they came"),
        ({"refused": {4: 1}}, "breakers refused calls to the provider while it was well"),
        ({"failed": {4: 1}, "outage": 1.0}, "calls failed at the provider, which failed 100 % of them"),
        (
            {"late": {4: 9}, "arrivals": [15, 15, 15, 15, 150, 150, 15, 15, 15, 15], "running": 8, "ordered": 3},
            "the load rose from 1 to 10 requests/s within two minutes: 8 slots, 8 of them busy; 2 pods on the way",
        ),
    ],
)
def test_a_bad_minute_has_its_reason(values: dict[str, Any], said: str) -> None:
    (found,) = losses(steady(**values))
    assert said in found.reason


def test_means_are_over_seeds_of_one_variant() -> None:
    rows = [row(cost_ratio=1.0), row(cost_ratio=2.0, seed=1), row(cost_ratio=5.0, workers="free")]
    assert [(each["workers"], each["seeds"], each["cost_ratio"]) for each in means(rows)] == [
        ("frozen", 2, 1.5),
        ("free", 1, 5.0),
    ]


def figures_of(html: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r'class="figure">(.*?)</script>', html)]


def test_the_report_is_one_file_that_loads_nothing_and_holds_plotly_once() -> None:
    runs = {"agentscaler": steady(late={1: 1}), "hpa-cpu": steady(late={1: 2}, ready=2)}
    rows = [row(), row("hpa-cpu", violation_percent=2.0, cost_ratio=1.6)]
    html = Report("A title & more", rows, [Course("day", runs)], ["five seeds"]).html()
    assert "A title &amp; more" in html
    assert html.count("plotly.js v") == 1
    head = html.split("<script>")[0]
    assert "src=" not in head
    assert "http" not in head
    assert "five seeds" in head
    assert "<td class=bad>2</td>" in head
    assert "Where hpa-cpu lost (2 requests)" in head
    for figure in figures_of(html):
        plotly.graph_objects.Figure(figure)  # it refuses what plotly does not know


def test_a_name_of_a_trace_cannot_end_the_script() -> None:
    name = "</script><b>"
    html = Report("t", [row(trace=name)], [Course(name, {"agentscaler": steady()})]).html()
    assert name not in html
    assert figures_of(html)[0]["data"][0]["text"] == [name]


def test_long_runs_are_drawn_with_few_points() -> None:
    figure = course({"agentscaler": steady(minutes=1500)}, colours(["agentscaler"]))
    assert max(len(line["x"]) for line in figure["data"]) <= MOST_POINTS
    assert max(figure["data"][0]["x"]) == pytest.approx(25, abs=0.01)


def test_holes_and_outages_are_marked_at_their_time() -> None:
    t = steady(outage=[0.0] * 5 + [1.0] * 2 + [0.0] * 3)
    figure = course({"p": t}, colours(["p"]), holes=[(60, 120)], started_at=1_800_000_000.0)
    spans = [(each["x0"], each["x1"]) for each in figure["layout"]["shapes"]]
    assert spans == [
        ("2027-01-15 08:01:00", "2027-01-15 08:02:00"),
        ("2027-01-15 08:05:00", "2027-01-15 08:07:00"),
    ]


def test_the_legend_tells_what_bands_and_shapes_mean() -> None:
    t = steady(outage=[0.0] * 5 + [1.0] * 2 + [0.0] * 3)
    plain, marked = (course({"p": t}, colours(["p"]), holes=holes) for holes in ((), [(60, 120)]))
    assert [line["name"] for line in plain["data"] if line["mode"] == "markers"] == ["the provider fails"]
    assert "nothing is known" in {line["name"] for line in marked["data"]}
    two = pareto([row(trace="a"), row(trace="b", cost_ratio=2.0)], colours(["agentscaler"]))["data"]
    assert two[0]["marker"]["symbol"] == [two[1]["marker"]["symbol"], two[2]["marker"]["symbol"]]
    assert [each["name"] for each in two[1:]] == ["a", "b"]


def test_a_hole_is_neither_filled_nor_a_load_of_nothing() -> None:
    t = steady(running=[6.0, 6.0, np.nan, 6.0, 6.0, *[6.0] * 5])
    load, filled, *_ = course({"p": t}, colours(["p"]), holes=[(120, 180)])["data"]
    assert load["y"][8:12] == [None] * 4
    assert None not in load["y"][:8]
    assert filled["y"][7:13] == [6, 0, 0, 0, 0, 6]


def test_the_frontier_holds_who_is_not_beaten() -> None:
    rows = [
        row("cheap", violation_percent=3.0, cost_ratio=1.0),
        row("beaten", violation_percent=4.0, cost_ratio=1.5),
        row("safe", violation_percent=0.0, cost_ratio=2.0),
    ]
    line = pareto(rows, colours(["cheap", "beaten", "safe"]))["data"][-1]
    assert (line["x"], line["y"]) == ([3.0, 0.0], [1.0, 2.0])
