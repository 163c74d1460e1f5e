"""The commands and their options. What they do stands in the modules beside this one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from agentscaler import __version__
from agentscaler.api import crd
from agentscaler.cli.backtest import backtest
from agentscaler.cli.cluster import CliError, Cluster
from agentscaler.cli.explain import explained, from_record, from_status
from agentscaler.cli.extra import Many
from agentscaler.cli.history import history
from agentscaler.cli.operator import records
from agentscaler.cli.output import (
    SERVICE,
    Kubeconfig,
    Namespace,
    OperatorService,
    OperatorUrl,
    Output,
    OutputForm,
    fail,
)
from agentscaler.cli.replay import replay
from agentscaler.cli.run import LogFormat, run_operator
from agentscaler.cli.simulate import simulate
from agentscaler.cli.status import row, signal_table, table
from agentscaler.cli.words import console

app = typer.Typer(
    name="agentscaler",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"agentscaler {__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keep LLM-agent services inside their objectives: replicas, workers, cache and circuit breaker together."""


@app.command()
def run(
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file of the operator's settings.")] = None,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Serve this one only; may be repeated. Default: all.")
    ] = None,
    prometheus: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A Prometheus server that objects may name; may be repeated."),
    ] = None,
    kubeconfig: Kubeconfig = None,
    tick_seconds: Annotated[float | None, typer.Option(help="Seconds between two passes of the control loop.")] = None,
    port: Annotated[int | None, typer.Option(help="Of /livez, /readyz, /metrics and /records.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Form of the log on standard error.")] = None,
) -> None:
    """Run the operator until SIGTERM. Exit code 2: the settings are wrong; other non-zero: it cannot go on."""
    try:
        code = run_operator(
            config,
            namespaces=namespace or None,
            prometheus=prometheus or [],
            kubeconfig=kubeconfig,
            tick_seconds=tick_seconds,
            port=port,
            log_format=log_format,
        )
    except CliError as error:
        fail(error)
    raise typer.Exit(code)


@app.command("crds")
def print_crds() -> None:
    """Print the CustomResourceDefinition: `agentscaler crds | kubectl apply -f -`."""
    sys.stdout.write(crd.to_yaml(crd.render()))


@app.command()
def status(
    *,
    name: Annotated[str | None, typer.Argument(help="Of an AgentDeployment. Default: all.", show_default=False)] = None,
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    output: OutputForm = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show AgentDeployments: is each of them fine, and why did it move last."""
    if name is not None and all_namespaces:
        fail(CliError("a name and --all-namespaces exclude each other: give the namespace with -n", exit_code=2))
    try:
        with Cluster(kubeconfig) as cluster:
            place = "" if all_namespaces else namespace or cluster.namespace
            objects = [cluster.get(place, name)] if name is not None else cluster.list(place)
    except CliError as error:
        fail(error)
    if output is Output.JSON:
        print(json.dumps([row(each) for each in objects], indent=2))
        return
    if not objects:
        print(f"No AgentDeployments found{f' in namespace {place}' if place else ''}.")
        return
    screen = console()
    screen.print(table(objects, with_namespace=all_namespaces))
    if name is not None:
        screen.print()
        screen.print(signal_table(objects[0]))


@app.command()
def explain(
    *,
    name: Annotated[str, typer.Argument(help="Of an AgentDeployment.")],
    namespace: Namespace = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every signal and every step, also those that did nothing.")
    ] = False,
    output: OutputForm = None,
    operator_url: OperatorUrl = None,
    operator_service: OperatorService = SERVICE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Explain the last decision: what was seen, what each rule asked for, what cut it, and what came of it."""
    try:
        with Cluster(kubeconfig) as cluster:
            place = namespace or cluster.namespace
            body = cluster.get(place, name)
            found = records(cluster, place, name, url=operator_url, service=operator_service)
    except CliError as error:
        fail(error)
    if output is Output.JSON:
        print(json.dumps(found.newest or body.get("status", {}), indent=2))
    elif found.newest is None:
        console().print(explained(from_status(body, missing=found.problem), full=full))
    else:
        console().print(explained(from_record(body, found.newest, found.moved), full=full))


app.command("history")(history)
app.command("replay")(replay)
app.command("simulate", cls=Many)(simulate)
app.command("backtest")(backtest)
