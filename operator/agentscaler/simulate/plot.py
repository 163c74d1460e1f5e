"""Parts that all figures are made of, as plain values of plotly's JSON form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

Figure = dict[str, Any]

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#a6761d", "#332288")
"""Okabe and Ito's, which people with any colour vision can tell apart, and some more."""
GREY_BAND: Final = "rgba(120,120,120,0.25)"
"""Where nothing is known."""
OUTAGE_BAND: Final = "rgba(213,94,0,0.15)"
"""While the provider fails."""


def line(
    x: Sequence[Any],
    y: Iterable[float | None],
    name: str,
    colour: str,
    panel: int = 1,
    *,
    fill: bool = False,
    steps: bool = False,
    dash: str | None = None,
    group: str | None = None,
    legend: bool = False,
) -> Figure:
    """A line in one of the panels, which count from 1 at the top.

    Args:
        x: Where.
        y: Values; None and what is not finite leave a gap.
        name: In the legend.
        colour: Of the line.
        panel: In which it is drawn.
        fill: The area below, too.
        steps: Each value holds until the next.
        dash: plotly's name of a pattern.
        group: Lines of one group go and come together; only those with `legend` are named.
        legend: Whether the line stands for its group.
    """
    stroke: dict[str, Any] = {"color": colour, "width": 1.3}
    if steps:
        stroke["shape"] = "hv"
    if dash is not None:
        stroke["dash"] = dash
    made: Figure = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": [None if value is None or not isfinite(value) else float(f"{value:.5g}") for value in y],
        "line": stroke,
        "yaxis": axis("y", panel),
        "showlegend": legend or group is None,
    }
    if fill:
        made["fill"] = "tozeroy"
    if group is not None:
        made["legendgroup"] = group
    return made


def sign(name: str, colour: str, symbol: str = "square") -> Figure:
    """An entry of the legend alone, for what is drawn as a band or told by the shape of a marker."""
    marker = {"color": colour, "size": 11, "symbol": symbol}
    return {"type": "scatter", "mode": "markers", "name": name, "x": [None], "y": [None], "marker": marker}


def axis(name: str, number: int) -> str:
    """The name of the n-th axis: `y`, `y2`, ..."""
    return name if number == 1 else f"{name}{number}"


def panels(titles: Sequence[tuple[str, float, float]]) -> Figure:
    """The part of a layout that stacks panels, the first one at the top: title, lower and upper end (0..1) of each."""
    return {
        axis("yaxis", number): {"domain": [low, high], "title": {"text": title}, "rangemode": "tozero"}
        for number, (title, low, high) in enumerate(titles, start=1)
    }


def band(first: Any, last: Any, colour: str, label: str | None = None) -> Figure:
    """A span of the x axis, behind the lines of all panels. A label stands upright at its begin, below the top."""
    made: Figure = {
        "type": "rect",
        "yref": "paper",
        "fillcolor": colour,
        "line": {"width": 0},
        "layer": "below",
        "x0": first,
        "x1": last,
        "y0": 0,
        "y1": 1,
    }
    if label is not None:
        font = {"size": 10, "color": "#777777"}
        place = {"textangle": -90, "textposition": "top left", "xanchor": "right"}
        made["label"] = {"text": label, "font": font, **place}
    return made
