"""`python -m benchmarks.control`: how well the product decides, against others and against what is possible."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.progress import Progress

from agentscaler.simulate import suite
from benchmarks.control import bars, plot, step, table
from benchmarks.control.bench import Bench
from benchmarks.control.cells import PROCESSES, Entry
from benchmarks.control.loads import loads
from benchmarks.control.plan import MORE, OURS, PARTS, Part
from benchmarks.control.table import Results
from benchmarks.control.tuning import PAIR

FOLDER = Path(__file__).parent.parent
HOW_TO_READ = """\
Written by `make bench-control`. Cells: replica-hours over those of the clairvoyant schedule with 8 workers @ violations
in percent / replica actions per hour, means over the seeds; a cost above 1 % of violations is struck out, since it buys
too little. Intervals are 95 % of a bootstrap over seeds. All policies have the same requests, draws and outages; they
see what Prometheus gives, one scrape old (KPA also its own statistics of each second). *tuned*: the cheapest of a grid
for each trace within 1 %, found on seed 0; a pair keeps 1 % on the mean of all seeds.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.control", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="draws of everything that is random")
    parser.add_argument("--full", action="store_true", help="more variants, and two weeks of mlarge")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--trace", action="append", help="only this load (again for more); writes no report")
    parser.add_argument("--part", action="append", help="only parts whose title holds this; writes no report")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for control.md and its plots")
    return parser.parse_args()


def _section(part: Part, results: Results, tuned: dict[str, list[Entry]]) -> str:
    parts = [f"## {part.title}", table.markdown(results), f"`{OURS.label}`:", table.details(results, OURS.label)]
    found = [
        f"{name}: " + "; ".join(f"{e.label} " + ", ".join(f"{k} {v:.3g}" for k, v in e.parameters) for e in entries)
        for name, entries in tuned.items()
        if entries
    ]
    pairs = replace(results, rows=tuple(results.of(PAIR)))
    if pairs.rows:
        parts += [f"`{PAIR}`, which keeps no memory objective:", table.details(pairs, PAIR)]
    return "\n\n".join([*parts, *(["Tuned: " + " · ".join(found)] if found else [])])


def _judge(part: Part, results: Results) -> list[bars.Line]:
    lines = bars.judge(results, part.bar)
    if part.outages:
        lines += bars.judge_outages(results, "agentscaler, fixed breaker")
    return lines


def main() -> None:
    """The command line."""
    arguments, console, begun = _arguments(), Console(), monotonic()
    chosen = tuple(each for each in loads(full=arguments.full) if not arguments.trace or each.name in arguments.trace)
    parts = [
        part
        for part in (*PARTS, *(MORE if arguments.full else ()))
        if not arguments.part or any(text in part.title for text in arguments.part)
    ]
    if suite.folder() is None:
        console.print("No trace collection (AGENTSCALER_TRACES, else ../shared/traces): synthetic loads stand in.")
    sections, lines, rows = [], [], []
    with Progress(console=console) as progress:
        bench = Bench(chosen, range(arguments.seeds), arguments.processes, progress)
        for part in parts:
            results, tuned = bench.run(part)
            judged = _judge(part, results)
            sections.append(_section(part, results, tuned))
            lines += judged
            rows += [row.published() for row in results.rows]
            for line in judged:
                progress.console.print(str(line), markup=False, highlight=False, soft_wrap=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
            if part is PARTS[0] and not (arguments.trace or arguments.part):
                (arguments.out / "control.svg").write_text(plot.pareto(results))
                one = "r1_1d" if "r1_1d" in results.traces else results.traces[0]
                (arguments.out / "control-one.svg").write_text(plot.pareto(results, one))
    if not (arguments.trace or arguments.part):
        last = [*step.judge(step.steps(range(arguments.seeds))), step.decide_line()]
        for line in last:
            console.print(str(line), markup=False, highlight=False, soft_wrap=True)
        lines += last
        _write(arguments.out / "control.md", lines, sections, monotonic() - begun)
    console.print(f"{sum(line.met for line in lines)} of {len(lines)} met; {monotonic() - begun:.0f} s")


def _write(file: Path, lines: list[bars.Line], sections: list[str], seconds: float) -> None:
    loads_used = "the public traces" if suite.folder() is not None else "**synthetic loads** (no trace collection)"
    took = f"{seconds / 60:.0f} minutes, cells kept from earlier runs not counted"
    head = f"# Control quality\n\n{HOW_TO_READ}\nRun on {loads_used}; {took}.\n"
    bar = "\n".join(f"| {'met' if line.met else '**missed**'} | {line.text} | {line.measured} |" for line in lines)
    plots = "![Cost against violations, all traces](control.svg)"
    body = "\n\n".join([head, f"## The bar\n\n| | | measured |\n| --- | --- | --- |\n{bar}", plots, *sections])
    file.write_text(body + "\n")


if __name__ == "__main__":
    main()
