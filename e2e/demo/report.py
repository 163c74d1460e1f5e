"""What is left at the end: a table of phases, the numbers with their bars, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from agentscaler.core.policy import Policy
from e2e.demo.judge import KNOBS, Span, Story, Verdict, story, verdict
from e2e.demo.numbers import Number, ill_until, numbers, wasted_per_minute
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

    @property
    def held(self) -> bool:
        """Whether the objectives of the manifest held in every phase."""
        return not any(each.broken for each in self.verdicts)


def judged(
    policy: Policy,
    limit_bytes: int,
    world: World,
    spans: Sequence[Span],
    records: Sequence[Record],
    *,
    operator_on: bool,
    seconds: float,
) -> Report:
    """Judge a run by its timelines and the load's records."""
    ill = [span for span in spans if span.phase.provider_ill]
    times = [(span.began, span.ended) for span in ill]
    verdicts = tuple(verdict(policy, span, records, world, limit_bytes, ill=times) for span in spans)
    return Report(
        operator_on=operator_on,
        spans=tuple(spans),
        verdicts=verdicts,
        stories=tuple(story(span, world) for span in spans),
        numbers=tuple(numbers(world, spans, verdicts, wasted_without_operator())) if operator_on else (),
        wasted_per_minute=wasted_per_minute(world, ill[0].began, ill_until(ill[0])) if ill else None,
        seconds=seconds,
    )


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    console.print(_phases(report))
    if report.numbers:
        console.print(_numbers(report))
    word = "held in every phase" if report.held else "did NOT hold"
    console.print(f"The objectives of the manifest {word}. The demo took {report.seconds:.0f} s.")


def _phases(report: Report) -> Table:
    table = Table(
        "phase",
        "what moved",
        "why",
        "late",
        "errors",
        "memory",
        "objectives",
        "pods: here / HPA's rule",
        show_lines=True,
    )
    for span, verdict_, story_ in zip(report.spans, report.verdicts, report.stories, strict=True):
        moves = [f"{WORDS.get(knob, knob)} {story_.paths[knob]}" for knob in KNOBS if knob in story_.paths]
        errors = f"{verdict_.own_errors} of {verdict_.requests}"
        if verdict_.provider_errors:
            errors += f"\n+ {verdict_.provider_errors} the provider's"
        low, high = story_.replicas
        table.add_row(
            span.phase.name,
            "\n".join(moves) or "nothing",
            "\n".join(story_.whys),
            f"{verdict_.late_share:.1%}",
            errors,
            f"{verdict_.worst_memory_ratio:.0%}",
            "[red]" + "\n".join(verdict_.broken) + "[/red]" if verdict_.broken else "[green]kept[/green]",
            f"{low}..{high} / {f'{story_.hpa[0]}..{story_.hpa[1]}' if story_.hpa else '?'}",
        )
    return table


def _numbers(report: Report) -> Table:
    table = Table("number", "measured", "bar", "")
    for number in report.numbers:
        mark = {True: "[green]good[/green]", False: "[red]missed[/red]", None: ""}[number.good]
        table.add_row(number.what, number.value, number.bar, mark)
    return table


def as_json(report: Report) -> dict[str, Any]:
    """The whole report."""
    return {
        "operator": "on" if report.operator_on else "off",
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
    """Write the JSON where the user wants it, and where the next run looks for one to compare with."""
    text = json.dumps(as_json(report), indent=2) + "\n"
    own = _kept("on" if report.operator_on else "off")
    for target in [own, *([Path(path)] if path else [])]:
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
