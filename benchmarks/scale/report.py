"""The table, with the bar beside each figure and what KEDA needs for the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from rich.console import Console
from rich.table import Table

from benchmarks.scale.window import Row

BAR_OBJECTS = 1000


@dataclass(frozen=True, slots=True)
class Bar:
    """The most that a figure may be."""

    phase: str
    field: str
    most: float


BARS = (
    Bar("create", "all_ready_seconds", 60),
    Bar("rest", "tick_p95_seconds", 1),
    Bar("rest", "queries_per_tick", 20),
    Bar("rest", "writes", 0),
    Bar("rest", "rss_mebibytes", 250),
    Bar("rest", "cpu_cores", 0.25),
    Bar("react", "reaction_median_seconds", 10),
)

KEDA = (
    ("create", "all Ready", "not within 420 s (294 were)", "164 s"),
    ("rest", "writes to the API server", "1,191 a minute (KEDA) + 535 (HPA)", "4,479 a minute (KEDA) + 598 (HPA)"),
    ("rest", "queries to Prometheus", "1,100 a minute", "1,571 a minute"),
    ("rest", "CPU", "2.8 s + adapter 2.0 s + HPA's share a minute", "7.1 s + adapter 2.4 s + HPA's share a minute"),
    ("rest", "memory", "178 MiB + adapter 125 MiB", "251 MiB + adapter 127 MiB"),
    ("react", "replicas patched, median (max)", "18.5 s (23.6 s), of the 294", "50.7 s (85.5 s)"),
)
"""KEDA 2.21 with the HPA, 1,000 ScaledObjects, measured on the same kind of machine; (phase, figure, stock, tuned)."""


def missed(rows: Sequence[Row]) -> list[str]:
    """The bars that figures at the bar's number of objects are above."""
    return [
        f"{bar.phase}: {bar.field} is {value}, the bar is {bar.most:g}"
        for bar in BARS
        for row in rows
        if row.objects == BAR_OBJECTS and row.phase == bar.phase
        for value in [getattr(row, bar.field)]
        if value is not None and value > bar.most
    ]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print all rows side by side, the bars, and KEDA's figures."""
    console.print(_figures(rows), _keda())
    for line in missed(rows):
        console.print(f"[red]above the bar[/red]: {line}")


def plain(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as they are written to JSON."""
    return [asdict(row) for row in rows]


def _figures(rows: Sequence[Row]) -> Table:
    sizes = sorted({row.objects for row in rows})
    found = {(row.objects, row.phase): row for row in rows}
    table = Table(title="Agentscaler", title_justify="left")
    table.add_column("phase")
    table.add_column("figure")
    for size in sizes:
        table.add_column(f"{size} objects", justify="right")
    table.add_column(f"bar at {BAR_OBJECTS}", justify="right")
    phases = list(dict.fromkeys(row.phase for row in rows))
    for phase in phases:
        for field in fields(Row)[2:]:
            values = [getattr(found.get((size, phase)), field.name, None) for size in sizes]
            if all(value is None for value in values):
                continue
            bar = next((each.most for each in BARS if (each.phase, each.field) == (phase, field.name)), None)
            cells = [
                _cell(value, bar if size == BAR_OBJECTS else None) for size, value in zip(sizes, values, strict=True)
            ]
            table.add_row(phase, field.name, *cells, "" if bar is None else f"<= {bar:g}")
        table.add_section()
    return table


def _keda() -> Table:
    table = Table(
        title="KEDA 2.21 with the HPA, 1,000 objects, pollingInterval 15 s, for comparison", title_justify="left"
    )
    for name in ("phase", "figure", "stock limits", "KEDA's --kube-api-qps 200"):
        table.add_column(name)
    for row in KEDA:
        table.add_row(*row)
    return table


def _cell(value: float | None, bar: float | None) -> str:
    if value is None:
        return "-"
    if bar is None:
        return f"{value:g}"
    return f"[green]{value:g}[/green]" if value <= bar else f"[red]{value:g}[/red]"
