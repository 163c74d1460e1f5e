"""Constants chosen without a trace, on that trace; and the product as it is on loads of other natures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import exp, log
from pathlib import Path
from statistics import fmean
from time import monotonic

from rich.console import Console
from rich.progress import Progress

from agentscaler.simulate import suite
from agentscaler.simulate.model import Workers
from agentscaler.simulate.score import Row
from benchmarks.control import table
from benchmarks.control.bars import RAMP, RAMP_PERCENT
from benchmarks.control.bench import static
from benchmarks.control.cells import PROCESSES, Entry, Group, each, rows_of
from benchmarks.control.constants import ABOUT, Configuration, shipped
from benchmarks.control.loads import AnyLoad, draw, loads
from benchmarks.control.natures import MADE, NATURES, dispersion
from benchmarks.control.plan import FREE, FROZEN, HPA, KEDA, KPA, OURS
from benchmarks.control.table import GATE_PERCENT, Results

OUT = Path(__file__).parent.parent / "leave-one-out.md"
VARIANTS = {"workers free": FREE, "workers frozen": FROZEN}
OTHERS: tuple[dict[str, float], ...] = (
    {"reserve": 1.15},
    {"reserve": 1.5},
    {"tighten": 2.0},
    {"tighten": 7.0},
    {"hold": 60.0},
    {"hold": 240.0},
    {"reserve": 1.15, "tighten": 2.0},
)
"""What is tried beside the shipped values: each constant lower and higher, and the cheapest two together."""
HEAD = """\
# Constants chosen without a trace, and loads of other natures

Written by `{command}`; {seeds} seeds, {where}. Cells read as in [control.md](control.md): replica-hours
over those of the clairvoyant @ violations in percent / replica actions per hour, means over seeds; a cost above the
gate is struck out. Workers free: typical memory. Frozen: 8 a replica. Scrapes every 15 s.
"""
PICKED = f"""\
Picked: the cheapest (geometric mean over traces and variants) of those within the gate on all other traces, else the
one that breaks it least. Gate: {GATE_PERCENT:g} %, {RAMP} with workers frozen {RAMP_PERCENT:g} %.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One configuration in one variant on one trace: means over seeds."""

    violations: float
    cost: float
    gate: float

    @property
    def over(self) -> float:
        """By how much it breaks the gate, in percent of the requests."""
        return max(self.violations - self.gate, 0.0)

    def __str__(self) -> str:
        cost = f"~~{self.cost:.2f}~~" if self.over else f"{self.cost:.2f}"
        return f"{cost} @{self.violations:.2f}"


Figures = Mapping[Configuration, Mapping[str, Sequence[Figure]]]
"""Of each configuration, by trace: one for each variant."""


def configurations() -> list[Configuration]:
    """What is tried; the shipped one is the first."""
    return [Configuration(tuple((shipped() | values).items())) for values in ({}, *OTHERS)]


def pick(figures: Figures, traces: Sequence[str]) -> Configuration:
    """The cheapest within the gate on all of these traces; where none is, the one that breaks it least."""

    def rank(configuration: Configuration) -> tuple[float, float]:
        found = [figure for trace in traces for figure in figures[configuration][trace]]
        return sum(figure.over for figure in found), geometric([figure.cost for figure in found])

    return min(figures, key=rank)


def geometric(costs: Sequence[float]) -> float:
    """The geometric mean."""
    return exp(fmean(map(log, costs)))


def left_out(figures: Figures) -> dict[str, Configuration]:
    """For each trace what is picked on all others."""
    traces = list(next(iter(figures.values())))
    return {trace: pick(figures, [other for other in traces if other != trace]) for trace in traces}


def gate(trace: str, workers: Workers) -> float:
    """As in the bar of the control benchmark."""
    return RAMP_PERCENT if trace == RAMP and workers is Workers.FROZEN else GATE_PERCENT


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs groups of cells side by side."""

    seeds: range
    processes: int
    progress: Progress

    def rows(self, title: str, groups: Sequence[Group]) -> list[Row]:
        bar = self.progress.add_task(title, total=len(groups))
        found = each(rows_of, groups, lambda: self.progress.advance(bar), self.processes)
        return [row for rows in found for row in rows]

    def figures(self, chosen: Sequence[AnyLoad]) -> tuple[Figures, list[Row]]:
        """All configurations on all traces."""
        tried, kept = configurations(), []
        found: dict[Configuration, dict[str, list[Figure]]] = {c: {load.name: [] for load in chosen} for c in tried}
        for title, variant in VARIANTS.items():
            entries = tuple(c.entry(frozen=variant is FROZEN) for c in tried)
            rows = self.rows(title, [Group(x, variant, seed, entries) for x in chosen for seed in self.seeds])
            results = Results(title, tuple(rows))
            kept += rows
            for configuration, (name, cells) in product(tried, ((load.name, found) for load in chosen)):
                late = results.mean(str(configuration), name, lambda row: row.violation_percent)
                cost = results.cost(str(configuration), name)
                cells[configuration][name].append(Figure(late, cost, gate(name, variant.workers)))
        return found, kept

    def natures(self) -> Results:
        """The product as it is, and the others' defaults, on loads that no constant was chosen on."""
        sides: tuple[tuple[Entry, ...], ...] = ((OURS,), (OURS, HPA, KEDA, KPA))
        found = []
        for (title, variant), entries in zip(VARIANTS.items(), sides, strict=True):
            groups = [Group(load, variant, seed, entries) for load in NATURES for seed in self.seeds]
            if variant is FROZEN:
                groups = [replace(group, entries=(*group.entries, static(group))) for group in groups]
            rows = self.rows(f"other natures, {title}", groups)
            found += [replace(r, policy=f"{r.policy}, {title}") if r.policy == OURS.label else r for r in rows]
        return Results("other natures", tuple(found))


def markdown(figures: Figures) -> str:
    """What was tried, what is picked without each trace, and what that costs there."""
    ours, traces = next(iter(figures)), list(next(iter(figures.values())))
    names = list(VARIANTS)
    lines = ["| configuration | " + " | ".join(f"{n}: cost, geometric mean | gate broken on" for n in names) + " |"]
    lines.append("| --- |" + " --- | --- |" * len(names))
    for configuration, found in figures.items():
        cells = [f"{configuration}{' (shipped)' if configuration == ours else ''}"]
        for index in range(len(names)):
            broken = [f"{trace} {found[trace][index].violations:.2f} %" for trace in traces if found[trace][index].over]
            cells += [f"{geometric([found[trace][index].cost for trace in traces]):.3f}", ", ".join(broken) or "none"]
        lines.append(f"| {' | '.join(cells)} |")
    columns = " | ".join(f"{n}: picked | shipped" for n in names)
    lines += ["", f"| trace left out | picked on the others | {columns} |"]
    lines.append("| --- | --- |" + " --- | --- |" * len(names))
    picked = left_out(figures)
    for trace, configuration in picked.items():
        pairs = zip(figures[configuration][trace], figures[ours][trace], strict=True)
        lines.append(f"| {trace} | {configuration} | " + " | ".join(f"{a} | {b}" for a, b in pairs) + " |")
    return "\n".join([*lines, "", *_summary(figures, picked, ours)])


def _summary(figures: Figures, picked: Mapping[str, Configuration], ours: Configuration) -> list[str]:
    everything = pick(figures, list(picked))
    kinds = {
        "chosen without the trace that it is judged on": picked,
        f"chosen on all of them ({everything})": dict.fromkeys(picked, everything),
        "shipped": dict.fromkeys(picked, ours),
    }
    lines = ["| constants | " + " | ".join(f"{n}: cost | gate broken" for n in VARIANTS) + " |"]
    lines.append("| --- |" + " --- | --- |" * len(VARIANTS))
    for kind, chosen in kinds.items():
        cells = [kind]
        for index in range(len(VARIANTS)):
            found = [figures[configuration][trace][index] for trace, configuration in chosen.items()]
            cells += [f"{geometric([f.cost for f in found]):.3f}", f"{sum(f.over > 0 for f in found)} of {len(found)}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _about_natures(chosen: Sequence[AnyLoad], seed: int = 0) -> str:
    """How bursty the traces and the other natures are."""
    recorded = ", ".join(f"{load.name} {dispersion(draw(load, seed)):.1f}" for load in chosen)
    lines = [f"- *{n.name}* ({dispersion(n.trace(seed)):.0f}): {(MADE[n.name].__doc__ or '').strip()}" for n in NATURES]
    return "\n".join(
        [
            "In brackets, how much the requests of neighbouring minutes differ: their variance over their mean, 1 for",
            f"Poisson. The traces: {recorded}.\n",
            *lines,
        ]
    )


def _report(arguments: argparse.Namespace, chosen: Sequence[AnyLoad], figures: Figures, natures: Results) -> str:
    where = "the public traces" if suite.folder() is not None else "**synthetic loads** (no trace collection)"
    command = f"python -m benchmarks.control.leave_one_out --seeds {arguments.seeds}"
    about = "\n".join(f"- *{name}*: {text}" for name, text in ABOUT.items())
    parts = [
        HEAD.format(command=command, seeds=arguments.seeds, where=where),
        f"## Leave one out\n\nOne configuration for both variants. Its constants:\n\n{about}\n",
        PICKED,
        markdown(figures),
        f"\n## Other natures\n\nEverybody as shipped. {_about_natures(chosen)}\n",
        table.markdown(natures),
    ]
    ours = [f"{OURS.label}, {title}" for title in VARIANTS]
    parts += [f"\n`{policy}`:\n\n{table.details(natures, policy)}" for policy in ours]
    return "\n".join(parts) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.control.leave_one_out", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="draws of everything that is random")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--out", type=Path, default=OUT, help="file for the report")
    arguments, console, begun = parser.parse_args(), Console(), monotonic()
    chosen = loads(full=False)
    with Progress(console=console) as progress:
        runner = Runner(range(arguments.seeds), arguments.processes, progress)
        natures = runner.natures()
        figures, rows = runner.figures(chosen)
    if arguments.json:
        arguments.json.write_text(json.dumps([row.published() for row in (*rows, *natures.rows)], indent=1) + "\n")
    arguments.out.write_text(_report(arguments, chosen, figures, natures))
    console.print(f"{arguments.out} written; {monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
