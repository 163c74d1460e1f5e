"""`python -m benchmarks.scale --objects 1000`: prints a table, and writes one row a phase as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from benchmarks.scale import report
from benchmarks.scale.phases import measure
from benchmarks.scale.window import Row

SMALL_OBJECTS = 100
SMALL_REST_SECONDS = 60.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description="How the operator does with many objects.")
    parser.add_argument("--objects", type=int, default=1000, help="AgentDeployments, with one pod each")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--rest-seconds", type=float, default=300.0, help="how long to watch them at rest")
    parser.add_argument("--only", action="store_true", help=f"leave out the {SMALL_OBJECTS} objects that come first")
    parser.add_argument("--log", type=Path, help="keep the operator's log here")
    arguments = parser.parse_args()
    console = Console()
    rows: list[Row] = []
    small = not arguments.only and arguments.objects > SMALL_OBJECTS
    runs = [(SMALL_OBJECTS, min(SMALL_REST_SECONDS, arguments.rest_seconds))] if small else []
    runs.append((arguments.objects, arguments.rest_seconds))
    for objects, rest_seconds in runs:
        for row in measure(objects, rest_seconds, lambda text: console.print(text, style="dim"), arguments.log):
            rows.append(row)
            console.print(f"{row.objects} objects, {row.phase}: done")
            if arguments.json:
                arguments.json.write_text(json.dumps(report.plain(rows), indent=1) + "\n")
    report.show(rows, console)


if __name__ == "__main__":
    main()
