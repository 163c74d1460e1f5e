"""One HTML file that tells what policies did on traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final

import numpy as np

from agentscaler.simulate.figures import GATE_PERCENT, Row, Span, colours, course, pareto
from agentscaler.simulate.page import Cell, figure, heading, note, page, table
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
        parts = [*(note(each) for each in self.notes), heading("Summary"), _summary(self.rows)]
        parts += [heading("Violations against cost"), figure(pareto(self.rows, palette))]
        for each in self.courses:
            plot = course(each.runs, palette, holes=each.holes, started_at=each.started_at)
            parts += [heading(each.trace), figure(plot), _where_it_lost(each)]
        return page(self.title, parts)


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
    lines: list[list[Cell | str]] = [
        [str(row["trace"]), str(row["policy"]), *(_cell(name, row[name]) for name, _ in shown)] for row in means(rows)
    ]
    told = note(f"{'; '.join(variants(rows))}. Figures are means over the seeds.")
    return told + table(["trace", "policy", *(title for _, title in shown)], lines, text=(1,))


def _cell(name: str, value: float | None) -> Cell:
    if value is None:
        return Cell("-")
    return Cell(number(value), bad=name == "violation_percent" and value > GATE_PERCENT)


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
        lines = [
            [
                _when(loss.at_seconds, each.started_at),
                str(loss.violations),
                f"{loss.share_percent:.1f}",
                loss.reason,
            ]
            for loss in found
        ]
        parts.append(heading(f"Where {policy} lost ({total} requests)", 3))
        parts.append(table(["minute", "violations", "% of all", "reason"], lines, text=(3,)))
    return "\n".join(parts)


def _when(seconds: float, started_at: float | None) -> str:
    if started_at is not None:
        return str(np.datetime64(int(started_at + seconds), "s")).replace("T", " ")
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}"
