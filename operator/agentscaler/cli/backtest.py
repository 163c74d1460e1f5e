"""`agentscaler backtest`: what policies would have done with the load that a service really had."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agentscaler.cli.cluster import CliError, Cluster
from agentscaler.cli.extra import extra
from agentscaler.cli.output import Kubeconfig, fail
from agentscaler.cli.service import server, service
from agentscaler.cli.simulate import JsonFile, ReportFile

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_LONGEST_SECONDS = 31 * 86_400.0
_SHORTEST_SECONDS = 1800.0


def backtest(
    *,
    name: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="Of an AgentDeployment.")],
    since: Annotated[str, typer.Option(metavar="7d", help="How far back: 90m, 12h, 7d, 2w; at most 31d.")] = "7d",
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="End, such as 2026-01-31T12:00:00Z. Default: now.")
    ] = None,
    changed: Annotated[
        Path | None, typer.Option("--with", metavar="FILE", help="A manifest to compare with the one in force.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the history is, such as http://localhost:9090.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The operator's settings file, for its servers and their keys.")
    ] = None,
    scrape_seconds: Annotated[int, typer.Option(min=1, max=60, help="Prometheus' scrape interval.")] = 15,
    seeds: Annotated[int, typer.Option(min=1, help="How many draws of what the history does not tell.")] = 3,
    json_file: JsonFile = None,
    report: ReportFile = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Replay the load of a real service out of Prometheus: what would this policy, the HPA, another manifest do?"""
    try:
        seconds, end = duration(since), moment(until)
        work = extra("agentscaler.cli.backtested")
        with Cluster(kubeconfig) as cluster:
            namespace, _, short = name.rpartition("/")
            found = service(cluster, namespace or cluster.namespace, short)
        work.run(
            found,
            server(prometheus, config, found, scrape_seconds),
            seconds=seconds,
            end=end,
            changed=changed,
            seeds=seeds,
            json_file=json_file,
            report=report,
        )
    except CliError as error:
        fail(error)


def duration(text: str) -> float:
    """Seconds of `90m`, `12h`, `7d` or `2w`.

    Raises:
        CliError: It is none of these, or too long or short.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:
        raise CliError(f"--since {text}: write 30m to 31d, such as 7d or 12h", exit_code=2)
    return seconds


def moment(text: str | None) -> float:
    """Unix seconds of an ISO time; now for None.

    Raises:
        CliError: It is none.
    """
    if text is None:
        return time.time()
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CliError(f"--until {text}: write a time such as 2026-01-31T12:00:00Z", exit_code=2) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
