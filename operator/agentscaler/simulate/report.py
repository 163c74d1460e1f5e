"""One HTML file that tells what policies did on traces. It loads nothing: plotly.js is inside, once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

import numpy as np
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # it has no types

from agentscaler.simulate.figures import GATE_PERCENT, Figure, Row, Span, colours, course, pareto
from agentscaler.simulate.steps import Steps, losses

COLUMNS: Final = (
    ("violation_percent", "violations %"),
    ("late_percent", "late %"),
    ("cost_ratio", "cost / clairvoyant"),
    ("cost_ratio_hindsight", "cost / best pair"),
    ("replica_hours", "replica-hours"),
    ("actions_per_hour", "actions/h"),
    ("reversals_per_hour", "reversals/h"),
    ("worker_changes_per_hour", "worker changes/h"),
    ("oom_kills", "OOM kills"),
    ("lost_percent", "lost %"),
    ("wasted_calls_percent", "wasted calls %"),
)
_VARIANT: Final = ("workers", "memory", "startup", "outages", "scrape_seconds")
_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;margin:.6rem 0;font-size:.9em}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}
th:first-child,td:first-child,.text{text-align:left}.bad{color:#b3261e;font-weight:600}.note{color:#555}
.wide{overflow-x:auto}
"""
_SCRIPT: Final = """
for (const each of document.querySelectorAll('script.figure')) {
  const figure = JSON.parse(each.textContent), place = document.createElement('div');
  each.after(place);
  const base = {margin: {l: 60, r: 20, t: 20, b: 45}, legend: {orientation: 'h', y: 1.06}, font: {size: 12}};
  Plotly.newPlot(place, figure.data, {...base, ...figure.layout}, {responsive: true, displaylogo: false});
}
"""


@dataclass(frozen=True, slots=True)
class Course:
    """One trace under several policies, for plots. `runs` is by policy, all of one seed."""

    trace: str
    runs: Mapping[str, Steps]
    holes: Sequence[Span] = ()
    """Where nothing is known, seconds since the start."""
    started_at: float | None = None
    """Unix time of the start, where there was one."""


@dataclass(frozen=True, slots=True)
class Report:
    """What goes into the file.

    Attributes:
        title: of the page.
        rows: one for each trace, policy and seed, as `--json` writes them.
        courses: what to plot over time.
        notes: sentences above everything: what was run, and what to know before reading on.
    """

    title: str
    rows: Sequence[Row]
    courses: Sequence[Course] = ()
    notes: Sequence[str] = field(default=())

    def html(self) -> str:
        """The whole file."""
        palette = colours([str(row["policy"]) for row in self.rows])
        parts = [f"<h1>{escape(self.title)}</h1>", *(f"<p class=note>{escape(note)}</p>" for note in self.notes)]
        parts += ["<h2>Summary</h2>", _summary(self.rows)]
        parts += ["<h2>Violations against cost</h2>", _figure(pareto(self.rows, palette))]
        for each in self.courses:
            plot = course(each.runs, palette, holes=each.holes, started_at=each.started_at)
            parts += [f"<h2>{escape(each.trace)}</h2>", _figure(plot), _where_it_lost(each)]
        body = "\n".join(parts)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n"
            f"<script>{get_plotlyjs()}</script>\n<script>{_SCRIPT}</script>\n</body></html>\n"
        )


def means(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One row for each trace, policy and variant: the mean of each figure over the seeds, with their number."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["trace"], row["policy"], *(row.get(name) for name in _VARIANT)), []).append(row)
    made = []
    for key, group in groups.items():
        figures = {name: _mean([row.get(name) for row in group]) for name, _ in COLUMNS}
        made.append({"trace": key[0], "policy": key[1], "seeds": len(group), **figures})
        made[-1] |= dict(zip(_VARIANT, key[2:], strict=True))
    return made


def variants(rows: Iterable[Row]) -> list[str]:
    """Which variants are in the rows, in words."""
    found = dict.fromkeys(tuple(row.get(name) for name in _VARIANT) for row in rows)
    return [
        f"workers {workers}, {memory} memory law, {startup} start-up, "
        f"{'with' if outages else 'no'} provider outages, scraped every {scrape:g} s"
        for workers, memory, startup, outages, scrape in found
        if scrape is not None
    ]


def _mean(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _summary(rows: Sequence[Row]) -> str:
    shown = [(name, title) for name, title in COLUMNS if any(row.get(name) is not None for row in rows)]
    head = "".join(f"<th>{escape(title)}</th>" for _, title in shown)
    lines = []
    for row in means(rows):
        cells = "".join(_cell(name, row[name]) for name, _ in shown)
        lines.append(f"<tr><td>{escape(row['trace'])}</td><td class=text>{escape(row['policy'])}</td>{cells}</tr>")
    note = f"<p class=note>{escape('; '.join(variants(rows)))}. Figures are means over the seeds.</p>"
    return (
        f"{note}<div class=wide><table><tr><th>trace</th><th class=text>policy</th>{head}</tr>{''.join(lines)}"
        "</table></div>"
    )


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "<td>-</td>"
    bad = " class=bad" if name == "violation_percent" and value > GATE_PERCENT else ""
    return f"<td{bad}>{number(value)}</td>"


def number(value: float) -> str:
    """Three digits, and no more than the figure is worth."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _where_it_lost(each: Course) -> str:
    parts = []
    for policy, timeline in each.runs.items():
        found = losses(timeline)
        total = int(timeline.violations.sum())
        if not found:
            parts.append(f"<p>{escape(policy)} lost nothing.</p>")
            continue
        lines = "".join(
            f"<tr><td>{_when(loss.at_seconds, each.started_at)}</td><td>{loss.violations}</td>"
            f"<td>{loss.share_percent:.1f}</td><td class=text>{escape(loss.reason)}</td></tr>"
            for loss in found
        )
        parts.append(
            f"<h3>Where {escape(policy)} lost ({total} requests)</h3><div class=wide><table><tr><th>minute</th>"
            f"<th>violations</th><th>% of all</th><th class=text>reason</th></tr>{lines}</table></div>"
        )
    return "\n".join(parts)


def _when(seconds: float, started_at: float | None) -> str:
    if started_at is not None:
        return str(np.datetime64(int(started_at + seconds), "s")).replace("T", " ")
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}"


def _figure(figure: Figure) -> str:
    # A closing tag inside of the JSON would end the script.
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return f'<script type="application/json" class="figure">{text}</script>'
