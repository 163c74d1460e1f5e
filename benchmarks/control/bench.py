"""The parts of the benchmark, run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rich.progress import Progress

from agentscaler.simulate.clairvoyant import static_replicas
from agentscaler.simulate.score import Row
from benchmarks.control.cells import Entry, Group, case_of, each, rows_of
from benchmarks.control.loads import AnyLoad
from benchmarks.control.plan import Part
from benchmarks.control.table import Results
from benchmarks.control.tuning import PAIR, Search, tuned

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Bench:
    """What is common to all parts."""

    loads: tuple[AnyLoad, ...]
    seeds: range
    processes: int
    progress: Progress

    def run(self, part: Part) -> tuple[Results, dict[str, list[Entry]]]:
        """The rows of one variant, and the entries that were tuned for each load."""
        found: dict[str, list[Entry]] = {load.name: [] for load in self.loads}
        for kind in part.tuned:
            if kind == "static":
                continue
            searches = [Search(load, part.variant, kind, tuple(self.seeds)) for load in self.loads]
            for search, entry in zip(searches, self._all(f"{part.title}: {kind}", tuned, searches), strict=True):
                found[search.load.name] += [] if entry is None else [entry]
        groups = [
            Group(load, part.variant, seed, (*part.entries, *found[load.name]))
            for load in self.loads
            for seed in self.seeds
        ]
        if "static" in part.tuned:
            statics = self._all(f"{part.title}: static", static, groups)
            groups = [replace(g, entries=(*g.entries, e)) for g, e in zip(groups, statics, strict=True)]
        rows = [row for rows in self._all(part.title, rows_of, groups) for row in _with_pair(rows)]
        return Results(part.title, tuple(rows)), found

    def _all(self, title: str, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        bar = self.progress.add_task(title, total=len(tasks))
        return each(function, tasks, lambda: self.progress.advance(bar), self.processes)


def static(group: Group) -> Entry:
    """The fewest constant replicas for one draw."""
    case = case_of(group)
    return Entry("static best", "static", (("replicas", static_replicas(case.workload, case.variant.model)),))


def _with_pair(rows: list[Row]) -> list[Row]:
    """Every row against the best fixed pair on the same draw, where that was run."""
    hours = next((row.replica_hours for row in rows if row.policy == PAIR), None)
    return [replace(row, cost_ratio_hindsight=row.replica_hours / hours) if hours else row for row in rows]
