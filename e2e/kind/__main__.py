"""``python -m e2e.kind up`` leaves a cluster with Prometheus and the operator up until Ctrl-C; see also its ``--help``.

Scenarios started meanwhile under the same ``AGENTSCALER_CLUSTER`` use that cluster and leave it up.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from typing import Annotated

import typer

from e2e.kind import node, operator
from e2e.kind.agents import DOTNET, build_agentflow, build_agentgraph, build_aiecs, build_dotnet
from e2e.kind.base import DEBIAN, PYTHON
from e2e.kind.engine import Engine
from e2e.kind.lifecycle import kind_cluster
from e2e.kind.stages import summary

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def up(
    name: Annotated[str, typer.Option(help="Of the cluster.", envvar="AGENTSCALER_CLUSTER")] = "agentscaler",
    *,
    install: Annotated[bool, typer.Option(help="Whether the operator is installed.")] = True,
) -> None:
    """Run a cluster; Ctrl-C removes it."""
    with kind_cluster(name) as cluster:
        if install:
            operator.install(cluster)
        print(summary())
        for variable, value in cluster.engine.environment.items():
            print(f"export {variable}={value}")
        print(f"export KUBECONFIG={cluster.kubeconfig}")
        _wait("Ctrl-C removes the cluster.")


@app.command()
def engine() -> None:
    """Run the Docker engine alone, for clusters and builds of other processes; Ctrl-C ends it and them."""
    with Engine() as running:
        for variable, value in running.environment.items():
            print(f"export {variable}={value}")
        _wait("Ctrl-C ends the engine.")


@app.command()
def agents() -> None:
    """Build the images of other frameworks' agents and print their sizes and those of their bases."""
    with Engine() as running:
        registry = node.registry_answers()
        names = [build_agentflow(running), build_agentgraph(running), build_aiecs(running, registry=registry), PYTHON]
        names += [build_dotnet(running, framework, registry=registry) for framework in DOTNET]
        names.append(DEBIAN)
        for name in names:
            size = running.docker("image", "inspect", "--format", "{{.Size}}", name).stdout
            print(f"{int(size) / 1e6:7.1f} MB  {name}", flush=True)


def _wait(text: str) -> None:
    print(text, flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leave through the context managers
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
    app()
