"""What a person asks of the demo, by environment variables. What cannot be done is said before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentscaler.cli.cluster import CliError
from agentscaler.cli.extra import extra
from e2e.demo.plan import Script


@dataclass(frozen=True)
class Options:
    """How the demo is played, and what is left of it."""

    operator_on: bool
    kept: bool
    """Everything stays up at the end."""
    json: str | None
    report: Path | None
    """The HTML file."""
    script: Script


def options(environment: Mapping[str, str]) -> Options:
    """The options in the environment.

    Raises:
        CliError: A trace cannot be played, or a report not be written.
    """
    report = Path(environment["REPORT"]) if environment.get("REPORT") else None
    if report is not None:
        _room_for(report)
        extra("e2e.demo.page")
    trace, column = environment.get("TRACE"), environment.get("COLUMN")
    if column and not trace:
        raise CliError("COLUMN names a rate of a TRACE, and there is none: give TRACE=file, too", exit_code=2)
    return Options(
        operator_on=environment.get("OPERATOR", "on") != "off",
        kept=environment.get("KEEP", "") not in {"", "0"},
        json=environment.get("JSON") or None,
        report=report,
        script=extra("e2e.demo.replay").load(trace, column or None) if trace else Script(),
    )


def _room_for(report: Path) -> None:
    """Find out before eight minutes of work that its result has nowhere to go."""
    if report.is_dir():
        raise CliError(f"REPORT={report} is a folder: name a file", exit_code=2)
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(f"REPORT={report}: no folder for it: {error.strerror or error}", exit_code=2) from error
