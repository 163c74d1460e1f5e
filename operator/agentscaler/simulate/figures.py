"""Figures of the report as plain values of plotly's JSON form: traces and a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from math import isfinite
from typing import Any, Final

import numpy as np

from agentscaler.simulate.plot import COLOURS, GREY_BAND, OUTAGE_BAND, Figure, band, line, panels, sign
from agentscaler.simulate.steps import Steps, shortened

Row = Mapping[str, Any]
Span = tuple[float, float]
"""From and to, seconds since the start of the trace."""

MOST_POINTS: Final = 2000
"""Of one line: more than a screen has columns."""
GATE_PERCENT: Final = 1.0
SYMBOLS: Final = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "hexagon", "pentagon", "bowtie")
_PANELS: Final = (
    ("requests/s", 0.80, 1.0),
    ("runs and slots", 0.53, 0.75),
    ("violations/min", 0.28, 0.48),
    ("replica-hours", 0.0, 0.23),
)


def colours(policies: Sequence[str]) -> dict[str, str]:
    """A colour for each policy, the same in all figures."""
    return {policy: COLOURS[index % len(COLOURS)] for index, policy in enumerate(dict.fromkeys(policies))}


def pareto(rows: Sequence[Row], palette: Mapping[str, str]) -> Figure:
    """Violations against cost: a point is the mean over the seeds of one policy on one trace."""
    traces = list(dict.fromkeys(str(row["trace"]) for row in rows))
    points = [point for trace in traces for point in _points([row for row in rows if row["trace"] == trace])]
    data = []
    for policy in palette:
        own = [point for point in points if point["policy"] == policy]
        if not own:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": policy,
                "x": [point["violation_percent"] for point in own],
                "y": [point["cost"] for point in own],
                "text": [point["trace"] for point in own],
                "hovertemplate": "%{text}<br>%{x:.2f} % violations<br>cost %{y:.3f}<extra>" + policy + "</extra>",
                "marker": {
                    "color": palette[policy],
                    "size": 11,
                    "symbol": [SYMBOLS[traces.index(point["trace"]) % len(SYMBOLS)] for point in own],
                },
            }
        )
    if len(traces) == 1:
        data.append(_frontier(points))
    else:
        data += [sign(name, "#777777", symbol) for name, symbol in zip(traces, cycle(SYMBOLS), strict=False)]
    unit = "replica-hours" if any(row.get("cost_ratio") is None for row in rows) else "cost over clairvoyant"
    layout = {
        "height": 460,
        "xaxis": {"title": {"text": "violations, % of requests"}, "autorangeoptions": {"include": 0}},
        "yaxis": {"title": {"text": unit}},
        "shapes": [_gate()],
    }
    return {"data": data, "layout": layout}


def course(
    runs: Mapping[str, Steps],
    palette: Mapping[str, str],
    *,
    holes: Sequence[Span] = (),
    started_at: float | None = None,
) -> Figure:
    """One trace under several policies: load, capacity, violations and cost, one below the other.

    Args:
        runs: By policy, all of one trace and seed.
        palette: Colour of each policy.
        holes: Where nothing is known.
        started_at: Unix time of the trace's start; without it the axis counts hours.
    """
    short = {policy: shortened(run, MOST_POINTS) for policy, run in runs.items()}
    some = next(iter(short.values()))
    load = some.running + some.queued
    arrivals = np.where(np.isnan(load), np.nan, some.arrivals / some.step_seconds)
    data = [line(_axis(some, started_at), arrivals, "load", "#555555", 1)]
    # plotly would fill a gap from side to side.
    filled = np.nan_to_num(load)
    data.append(line(_axis(some, started_at), filled, f"load under {next(iter(short))}", "#bbbbbb", 2, fill=True))
    for policy, run in short.items():
        x, colour = _axis(run, started_at), palette[policy]
        data.append(line(x, run.slots, policy, colour, 2, steps=True, group=policy, legend=True))
        per_minute = run.violations * 60.0 / run.step_seconds
        data.append(line(x, per_minute, policy, colour, 3, group=policy))
        data.append(line(x, np.cumsum(run.billed_seconds) / 3600.0, policy, colour, 4, group=policy))
    outages = _outages(some)
    data += [sign("nothing is known", GREY_BAND)] if holes else []
    data += [sign("the provider fails", OUTAGE_BAND)] if outages else []
    spans = [(*hole, GREY_BAND) for hole in holes] + [(*outage, OUTAGE_BAND) for outage in outages]
    layout: dict[str, Any] = {
        "height": 760,
        "hovermode": "x unified",
        "shapes": [_band(first, last, colour, started_at) for first, last, colour in spans],
        "xaxis": {"anchor": "y4", "title": {"text": "hours" if started_at is None else "UTC"}},
    }
    return {"data": data, "layout": layout | panels(_PANELS)}


def cost_of(row: Row) -> float:
    """What the Pareto plot shows as cost: the ratio to the clairvoyant, or replica-hours where there is none."""
    ratio = row.get("cost_ratio")
    return float(row["replica_hours"] if ratio is None else ratio)


def _points(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The means of each policy on one trace, cheapest first."""
    points = []
    for policy in dict.fromkeys(str(row["policy"]) for row in rows):
        own = [row for row in rows if row["policy"] == policy]
        point: dict[str, Any] = {
            "policy": policy,
            "trace": str(own[0]["trace"]),
            "violation_percent": float(np.mean([row["violation_percent"] for row in own])),
            "cost": float(np.mean([cost_of(row) for row in own])),
        }
        if isfinite(point["violation_percent"]) and isfinite(point["cost"]):
            points.append(point)
    return sorted(points, key=lambda point: (point["cost"], point["violation_percent"]))


def _frontier(points: Sequence[dict[str, Any]]) -> Figure:
    """The policies that no other one beats in both."""
    best: list[dict[str, Any]] = []
    for point in points:
        if not best or point["violation_percent"] < best[-1]["violation_percent"]:
            best.append(point)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "nobody is better in both",
        "x": [point["violation_percent"] for point in best],
        "y": [point["cost"] for point in best],
        "line": {"color": "#999999", "dash": "dot", "width": 1},
        "hoverinfo": "skip",
    }


def _gate() -> Figure:
    line = {"color": "#999999", "dash": "dash", "width": 1}
    ends = {"x0": GATE_PERCENT, "x1": GATE_PERCENT, "y0": 0, "y1": 1}
    return {"type": "line", "yref": "paper", "line": line, "label": {"text": "1 % gate"}, **ends}


def _axis(run: Steps, started_at: float | None) -> list[Any]:
    return [_moment(float(at), started_at) for at in run.times]


def _moment(seconds: float, started_at: float | None) -> Any:
    if started_at is None:
        return round(seconds / 3600.0, 5)
    at = datetime.fromtimestamp(started_at, UTC) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _outages(run: Steps) -> list[Span]:
    """Spans of steps in which the provider failed."""
    bad = np.concatenate([[False], run.outage > 0, [False]]).astype(np.int8)
    edges = np.diff(bad)
    pairs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    return [(float(a * run.step_seconds), float(b * run.step_seconds)) for a, b in pairs]


def _band(first: float, last: float, colour: str, started_at: float | None) -> Figure:
    return band(_moment(first, started_at), _moment(last, started_at), colour)
