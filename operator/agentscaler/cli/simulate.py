"""`agentscaler simulate`: policies on recorded loads, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentscaler.cli.cluster import CliError
from agentscaler.cli.extra import extra
from agentscaler.cli.output import fail

JsonFile = Annotated[str | None, typer.Option("--json", metavar="OUT", help="Write the rows; - is standard output.")]
ReportFile = Annotated[Path | None, typer.Option(metavar="OUT.html", help="Write a report with plots, in one file.")]


def simulate(
    *,
    trace: Annotated[
        list[str],
        typer.Option(metavar="FILE...", help="Recorded loads (docs/simulate.md has the formats), or synthetic:NAME."),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="agentscaler, hpa-cpu, hpa-inflight, keda, kpa, static; with parameters as hpa-inflight:target=0.5; "
            "or a manifest FILE.yaml. Default: all but static.",
        ),
    ] = None,
    scale: Annotated[float, typer.Option(help="Share of the requests to keep; above 1: copies.")] = 1.0,
    seeds: Annotated[int, typer.Option(min=1, help="How many draws of everything that is random.")] = 1,
    scrape_seconds: Annotated[float, typer.Option(min=1, max=60, help="Prometheus' scrape interval.")] = 15.0,
    freeze_workers: Annotated[bool, typer.Option("--freeze-workers", help="Workers stay at 8 a replica.")] = False,
    memory: Annotated[str, typer.Option(metavar="typical|heavy", help="Law of memory for each run.")] = "typical",
    startup: Annotated[str, typer.Option(metavar="fixed|lognormal", help="Law of a pod's start-up.")] = "fixed",
    outages: Annotated[bool, typer.Option("--outages", help="The model provider fails three times a day.")] = False,
    hindsight: Annotated[
        bool, typer.Option("--hindsight", help="Also find the best fixed pair for each trace: some fifty more runs.")
    ] = False,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Run policies on recorded loads in virtual time, and compare what they would have cost and lost."""
    try:
        extra("agentscaler.cli.simulated").run(
            trace,
            policy or [],
            scale=scale,
            seeds=seeds,
            scrape_seconds=scrape_seconds,
            freeze=freeze_workers,
            memory=memory,
            startup=startup,
            outages=outages,
            pairs=hindsight,
            json_file=json_file,
            report=report,
        )
    except CliError as error:
        fail(error)
