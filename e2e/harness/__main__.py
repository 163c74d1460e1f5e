"""``python -m e2e.harness tools`` builds the binaries, ``up`` runs a control plane and Prometheus until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from e2e.harness import tools
from e2e.harness.cluster import ControlPlane
from e2e.harness.prometheus import Prometheus

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command("tools")
def build(names: Annotated[list[str] | None, typer.Argument(help="Of them only these.")] = None) -> None:
    """Build the tools that are missing and print what there is."""
    binaries = tools.ensure(*(names or ()))
    table = Table("tool", "MiB", "built in s")
    for name, path in binaries.items():
        table.add_row(name, f"{path.stat().st_size / 2**20:.0f}", f"{tools.build_seconds(name) or 0:.0f}")
    console = Console()
    console.print(table)
    console.print(f"in {tools.cache_directory() / 'tools'}")


@app.command()
def up(nodes: Annotated[int, typer.Option(help="Simulated nodes.")] = 1) -> None:
    """Run a control plane with the CRDs and a Prometheus; Ctrl-C ends them."""
    with ControlPlane(nodes=nodes) as cluster, Prometheus() as prometheus:
        cluster.install_crds()
        print(f"export KUBECONFIG={cluster.kubeconfig}\nAPI server  {cluster.url}\nPrometheus  {prometheus.url}")
        print("Ctrl-C ends both.", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    # Leave through the context managers. SIGINT is ignored by default where a shell started us with &.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    app()
