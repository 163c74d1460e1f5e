"""A run of the demo as one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from agentscaler.simulate.page import Cell, figure, heading, note, page, table
from e2e.demo.figures import figures
from e2e.demo.plan import Manifest
from e2e.demo.report import MARKS, NUMBER_TITLES, PHASE_TITLES, Report, phase_rows
from e2e.demo.world import World
from e2e.harness.load_generator import Record

BANDS = (
    "Bands are the phases; orange: the provider is ill; dark grey: the operator sees nothing. Load and queue wait are "
    "the load generator's records, memory is the processes' own, replicas and settings stood in the API server. "
    "Diamonds are decisions that moved something, small dots those that did not; point at them for their words."
)


def html(report: Report, wanted: Manifest, world: World, records: Sequence[Record]) -> str:
    """The whole file.

    Args:
        report: The run, judged.
        wanted: Whose objectives are drawn.
        world: What was seen.
        records: Of the load.
    """
    title = "agentscaler: the demo" + ("" if report.operator_on else ", without the operator")
    parts = [note(report.outcome), *(note(each) for each in report.notes), heading("Phases"), _phases(report)]
    if report.numbers:
        parts += [heading("Numbers"), _numbers(report)]
    parts += [heading("Over time"), note(BANDS)]
    for plot in figures(report, wanted, world, records):
        parts += [heading(plot.title, 3), figure(plot.figure)]
    return page(title, parts)


def _phases(report: Report) -> str:
    rows = []
    for row in phase_rows(report):
        *before, objectives, pods, kept = astuple(row)
        rows.append([*before, Cell(objectives, bad=not kept), pods])
    return table(PHASE_TITLES, rows, text=(1, 2, 6))


def _numbers(report: Report) -> str:
    rows = [(n.what, n.value, n.bar, Cell(MARKS[n.good], bad=n.good is False)) for n in report.numbers]
    return table(NUMBER_TITLES, rows, text=(3,))
