"""The optional part of the command line: what it needs, and options that take several values."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, Final

from typer.core import TyperCommand

from agentscaler.cli.cluster import CliError

PACKAGES: Final = frozenset({"numpy", "numba", "llvmlite", "plotly"})


def extra(module: str) -> ModuleType:
    """A module that needs the optional extra.

    Raises:
        CliError: The extra is not installed; the text says how to.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        raise CliError(
            f"{package} is not installed: this command needs the extra, pip install 'agentscaler[simulate]'",
            exit_code=2,
        ) from error


class Many(TyperCommand):
    """Lets `--trace` and `--policy` take several values each: `--trace one.csv two.csv`."""

    options: Final = frozenset({"--trace", "--policy"})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Every value with its option before it, as the parser wants it."""
        spread: list[str] = []
        option: str | None = None
        for arg in args:
            if arg.startswith("-") and arg != "-":
                option = arg if arg in self.options else None
            elif option is not None and spread[-1] != option:
                spread.append(option)
            spread.append(arg)
        return super().parse_args(ctx, spread)
