"""What is left at the end: a table of phases, the numbers with their bars, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentscaler.core.policy import Policy
from e2e.demo.judge import KNOBS, Span, Story, Verdict, story, verdict
from e2e.demo.numbers import Number, ill_until, numbers, wasted_per_minute
from e2e.demo.plan import Script
from e2e.demo.world import World
from e2e.harness.load_generator import Record
from e2e.harness.tools import cache_directory

WORDS = {"circuitBreaker": "breaker"}


@dataclass(frozen=True)
class Report:
    """A run of the demo, judged."""

    operator_on: bool
    spans: tuple[Span, ...]
    verdicts: tuple[Verdict, ...]
    stories: tuple[Story, ...]
    numbers: tuple[Number, ...]
    wasted_per_minute: float | None
    seconds: float
    trace: str = ""
    """Whose load it was; empty: the demo's own."""
    notes: tuple[str, ...] = ()
    """How the trace was fitted to the machine."""

    @property
    def ill(self) -> tuple[tuple[float, float], ...]:
        """From when to when the provider was ill."""
        return _ill(self.spans)

    @property
    def held(self) -> bool:
        """Whether the objectives of the manifest held in every phase."""
        return not any(each.broken for each in self.verdicts)

    @property
    def outcome(self) -> str:
        """The result in one sentence."""
        word = "held in every phase" if self.held else "did NOT hold"
        return f"The objectives of the manifest {word}. The demo took {self.seconds:.0f} s."


@dataclass(frozen=True)
class PhaseRow:
    """What is said of one phase. The fields but the last are the columns of the table, in their order."""

    name: str
    moves: str
    whys: str
    late: str
    errors: str
    memory: str
    objectives: str
    pods: str
    kept: bool


PHASE_TITLES = ("phase", "what moved", "why", "late", "errors", "memory", "objectives", "pods: here / HPA's rule")
NUMBER_TITLES = ("number", "measured", "bar", "")
MARKS = {True: "good", False: "missed", None: ""}


def judged(
    policy: Policy,
    limit_bytes: int,
    world: World,
    spans: Sequence[Span],
    records: Sequence[Record],
    *,
    operator_on: bool,
    seconds: float,
    script: Script,
) -> Report:
    """Judge a run by its timelines and the load's records."""
    ill = [span for span in spans if span.phase.provider_ill]
    verdicts = tuple(verdict(policy, span, records, world, limit_bytes, ill=_ill(spans)) for span in spans)
    return Report(
        operator_on=operator_on,
        spans=tuple(spans),
        verdicts=verdicts,
        stories=tuple(story(span, world) for span in spans),
        numbers=tuple(numbers(world, spans, verdicts, wasted_without_operator())) if operator_on else (),
        wasted_per_minute=wasted_per_minute(world, ill[0].began, ill_until(ill[0])) if ill else None,
        seconds=seconds,
        trace=script.trace,
        notes=script.notes,
    )


def _ill(spans: Sequence[Span]) -> tuple[tuple[float, float], ...]:
    return tuple((span.began, span.ended) for span in spans if span.phase.provider_ill)


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    console.print(_phases(report))
    if report.numbers:
        console.print(_numbers(report))
    console.print(report.outcome)


def phase_rows(report: Report) -> list[PhaseRow]:
    """What is said of each phase."""
    return [_row(*each) for each in zip(report.spans, report.verdicts, report.stories, strict=True)]


def _row(span: Span, judged: Verdict, told: Story) -> PhaseRow:
    moves = [f"{WORDS.get(knob, knob)} {told.paths[knob]}" for knob in KNOBS if knob in told.paths]
    errors = f"{judged.own_errors} of {judged.requests}"
    if judged.provider_errors:
        errors += f"\n+ {judged.provider_errors} the provider's"
    low, high = told.replicas
    return PhaseRow(
        name=span.phase.name,
        moves="\n".join(moves) or "nothing",
        whys="\n".join(told.whys),
        late=f"{judged.late_share:.1%}",
        errors=errors,
        memory=f"{judged.worst_memory_ratio:.0%}",
        objectives="\n".join(judged.broken) or "kept",
        pods=f"{low}..{high} / {f'{told.hpa[0]}..{told.hpa[1]}' if told.hpa else '?'}",
        kept=not judged.broken,
    )


def _phases(report: Report) -> Table:
    table = Table(*PHASE_TITLES, show_lines=True)
    for row in phase_rows(report):
        *before, objectives, pods, kept = astuple(row)
        table.add_row(*before, f"[green]{objectives}[/green]" if kept else f"[red]{objectives}[/red]", pods)
    return table


def _numbers(report: Report) -> Table:
    table = Table(*NUMBER_TITLES)
    colours = {True: "green", False: "red", None: "default"}
    for number in report.numbers:
        colour = colours[number.good]
        table.add_row(number.what, number.value, number.bar, f"[{colour}]{MARKS[number.good]}[/{colour}]")
    return table


def as_json(report: Report) -> dict[str, Any]:
    """The whole report."""
    return {
        "operator": "on" if report.operator_on else "off",
        "trace": report.trace or None,
        "notes": list(report.notes),
        "objectives_held": report.held,
        "seconds": round(report.seconds, 1),
        "wasted_upstream_calls_per_minute": report.wasted_per_minute,
        "phases": [
            {"phase": span.phase.name, "began": span.began, "ended": span.ended, **asdict(v), **asdict(s)}
            for span, v, s in zip(report.spans, report.verdicts, report.stories, strict=True)
        ],
        "numbers": [asdict(number) for number in report.numbers],
    }


def keep(report: Report, path: str | None) -> None:
    """Write the JSON where the user wants it, and where the next run of the demo's own load looks for one."""
    text = json.dumps(as_json(report), indent=2) + "\n"
    own = [] if report.trace else [_kept("on" if report.operator_on else "off")]
    for target in [*own, *([Path(path)] if path else [])]:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def wasted_without_operator() -> float | None:
    """Wasted upstream calls a minute of the last run with OPERATOR=off on this machine; None: there was none."""
    try:
        value = json.loads(_kept("off").read_text(encoding="utf-8"))["wasted_upstream_calls_per_minute"]
    except (OSError, ValueError, KeyError):
        return None
    return None if value is None else float(value)


def _kept(operator: str) -> Path:
    return cache_directory() / "demo" / f"operator-{operator}.json"
