"""The best of a grid for one trace, found on one seed: what a user would have to know in hindsight.

A pair has to keep the gate on the mean of all seeds, too: one that breaks it there is cheap for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from agentscaler.simulate.hindsight import Pair, best_pair
from agentscaler.simulate.model import Variant
from agentscaler.simulate.score import Row
from benchmarks.control.cells import Entry, Group, rows_of
from benchmarks.control.loads import AnyLoad

SEED = 0
PAIR = "best fixed pair"
GATE_PERCENT = 1.0
TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
HPA_WINDOWS = (0, 60, 300)
KPA_WINDOWS = (60, 120, 300)


@dataclass(frozen=True, slots=True)
class Search:
    """What is to be tuned: `hpa`, `kpa` or `pair`."""

    load: AnyLoad
    variant: Variant
    kind: str
    seeds: tuple[int, ...] = (SEED,)


def tuned(search: Search) -> Entry | None:
    """The cheapest entry within the gate; where none is, that with the fewest violations, or no pair."""
    run = partial(_row, search)
    if search.kind == "pair":
        found = best_pair(lambda pair: run(_pair(pair)), holds=partial(_holds, search))
        return None if found is None else _pair(found)
    policy, name, windows = (
        ("hpa-inflight", "stabilization_seconds", HPA_WINDOWS)
        if search.kind == "hpa"
        else ("kpa", "window_seconds", KPA_WINDOWS)
    )
    entries = [
        Entry(f"{search.kind} tuned", policy, (("target", target), (name, float(window))))
        for target in TARGETS
        for window in windows
    ]
    tried = [(entry, run(entry)) for entry in entries]
    return min(tried, key=lambda found: _rank(found[1]))[0]


def _pair(found: Pair) -> Entry:
    """The HPA on running work with a fixed worker limit."""
    return Entry(PAIR, "hpa-inflight", (("target", found.target), ("workers", float(found.limit))))


def _holds(search: Search, pair: Pair) -> bool:
    total = 0.0
    for seed in search.seeds:
        total += _row(search, _pair(pair), seed).violation_percent
        if total > GATE_PERCENT * len(search.seeds):
            return False
    return True


def _rank(row: Row) -> tuple[float, float]:
    late = row.violation_percent
    return (0.0, row.replica_hours) if late <= GATE_PERCENT else (late, row.replica_hours)


def _row(search: Search, entry: Entry, seed: int = SEED) -> Row:
    return rows_of(Group(search.load, search.variant, seed, (entry,)))[0]
