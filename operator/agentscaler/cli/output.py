"""What several commands share: options that mean the same everywhere, and how they fail."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, NoReturn

import typer

from agentscaler.cli.cluster import CliError
from agentscaler.cli.operator import DEFAULT_SERVICE


class Output(StrEnum):
    """Forms of output for programs."""

    JSON = "json"


Kubeconfig = Annotated[
    str | None, typer.Option("--kubeconfig", metavar="FILE", help="Default: the cluster's own, KUBECONFIG, ~/.kube.")
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Default: that of the current context.", show_default=False)
]
OutputForm = Annotated[Output | None, typer.Option("--output", "-o", help="json: for programs.")]
OperatorUrl = Annotated[
    str | None,
    typer.Option(envvar="AGENTSCALER_URL", help="The operator's own URL, where its Service cannot be reached."),
]
OperatorService = Annotated[
    str, typer.Option(envvar="AGENTSCALER_SERVICE", metavar="NAMESPACE/NAME:PORT", help="The operator's Service.")
]
SERVICE = DEFAULT_SERVICE


def fail(error: CliError) -> NoReturn:
    """Tell a person what to mend, and end with the error's exit code."""
    print(f"agentscaler: {error}", file=sys.stderr)
    raise typer.Exit(error.exit_code)
