"""What `agentscaler simulate` does; apart from its options, since this needs the optional extra."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from agentscaler.cli.cluster import CliError
from agentscaler.cli.compared import Bar, bar, contestants, screen, table, writable, write_report, write_rows
from agentscaler.simulate.compare import Contestant, compare, hindsight, recording, traces
from agentscaler.simulate.hindsight import GATE_PERCENT, LIMITS, Pair
from agentscaler.simulate.model import MemoryLaw, StartUp, Variant, Workers
from agentscaler.simulate.recording import Recording, Trace
from agentscaler.simulate.report import Course, Report
from agentscaler.simulate.synthetic import SHAPES
from agentscaler.simulate.trace import TraceError

MOST_NAMED: Final = 3


def run(
    sources: Sequence[str],
    policies: Sequence[str],
    *,
    scale: float,
    seeds: int,
    scrape_seconds: float,
    freeze: bool,
    memory: str,
    startup: str,
    outages: bool,
    pairs: bool,
    json_file: str | None,
    report: Path | None,
) -> None:
    """Simulate, print the table, write the files.

    Args:
        sources: Trace files, or `synthetic:NAME`.
        policies: Names or manifests.
        scale: Share of the requests.
        seeds: How many, from 0.
        scrape_seconds: Prometheus' interval.
        freeze: Whether workers stay as they are.
        memory: Name of the law.
        startup: Name of the law.
        outages: Whether the provider fails at times.
        pairs: Whether to look for the best fixed pair of each trace.
        json_file: For the rows; `-` is standard output.
        report: For the HTML file.

    Raises:
        CliError: A file, a name or a value cannot be used.
    """
    writable(json_file, report)
    variant = _variant(scrape_seconds, freeze=freeze, memory=memory, startup=startup, outages=outages)
    chosen, recordings = contestants(policies), [_recording(source) for source in dict.fromkeys(sources)]
    rows: list[dict[str, Any]] = []
    courses: list[Course] = []
    loads = sum(len(each.names) for each in recordings)
    found_pairs: dict[str, Pair | None] = {}
    with bar(loads * (seeds * len(chosen) + (len(LIMITS) if pairs else 0))) as shown:
        try:
            for found in recordings:
                for seed in range(seeds):
                    for trace in traces(found, seed=seed, scale=scale):
                        plots = report is not None and seed == 0
                        if pairs and trace.name not in found_pairs:
                            tell = partial(_told, shown, trace.name)
                            found_pairs[trace.name] = hindsight(
                                trace, variant, seed, started=tell, advance=shown.advance
                            )
                        pair = found_pairs.get(trace.name)
                        course = _cell(trace, chosen, variant, seed, rows=rows, plots=plots, shown=shown, pair=pair)
                        courses += [course] if plots else []
        except TraceError as error:
            raise CliError(str(error), exit_code=2) from error
    people = screen(json_file)
    people.print(table(rows))
    for name, pair in found_pairs.items():
        what = f"{pair.level} busy of {pair.limit} workers" if pair else f"none keeps {GATE_PERCENT:g} % of violations"
        people.print(f"Best fixed pair on {name}: {what}.")
    if json_file is not None:
        write_rows(json_file, rows)
    if report is not None:
        names = list(dict.fromkeys(str(row["trace"]) for row in rows))
        title = f"Simulated: {', '.join(names[:MOST_NAMED])}" + (", ..." if len(names) > MOST_NAMED else "")
        note = f"{seeds} seed{'s' if seeds > 1 else ''}, scale {scale:g}. Plots are of seed 0."
        write_report(report, Report(title, rows, courses, [note]))


def _cell(
    trace: Trace,
    chosen: Sequence[Contestant],
    variant: Variant,
    seed: int,
    *,
    rows: list[dict[str, Any]],
    plots: bool,
    shown: Bar,
    pair: Pair | None,
) -> Course:
    """All policies on one draw of a trace; their rows go to `rows`."""
    runs = {}
    tell = partial(_told, shown, f"{trace.name}, seed {seed}")
    for done in compare(trace, chosen, variant, seed, with_steps=plots, started=tell, pair=pair):
        rows.append(done.row.published())
        if done.steps is not None:
            runs[done.row.policy] = done.steps
        shown.advance()
    return Course(trace.name, runs)


def _told(shown: Bar, where: str, what: str) -> None:
    shown.tell(f"{where}: {what}")


def _variant(scrape_seconds: float, *, freeze: bool, memory: str, startup: str, outages: bool) -> Variant:
    try:
        return Variant(
            workers=Workers.FROZEN if freeze else Workers.FREE,
            memory=MemoryLaw(memory),
            startup=StartUp(startup),
            outages=outages,
            scrape_seconds=scrape_seconds,
        )
    except ValueError as error:
        raise CliError(f"{error}: --memory is typical or heavy, --startup fixed or lognormal", exit_code=2) from error


def _recording(source: str) -> Recording:
    try:
        return recording(source)
    except TraceError as error:
        raise CliError(str(error), exit_code=2) from error
    except KeyError as error:
        known = ", ".join(SHAPES)
        raise CliError(f"{source}: no synthetic load has that name; there are {known}", exit_code=2) from error
