"""What `simulate` and `backtest` share: policies by name, a bar, a table, and files of rows and plots."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agentscaler.cli.cluster import CliError
from agentscaler.cli.manifest import is_manifest, policy_of, read_manifest
from agentscaler.cli.words import DASH, PIPE_WIDTH, console, plain_table
from agentscaler.simulate.compare import Contestant, UnknownPolicyError, contestant, product, usual
from agentscaler.simulate.report import Report, means, number

_COLUMNS: Final = (
    ("violation_percent", "VIOLATIONS %"),
    ("late_percent", "LATE %"),
    ("cost_ratio", "COST"),
    ("cost_ratio_hindsight", "OVER PAIR"),
    ("replica_hours", "REPLICA-HOURS"),
    ("actions_per_hour", "ACTIONS/H"),
    ("reversals_per_hour", "REVERSALS/H"),
    ("worker_changes_per_hour", "WORKERS/H"),
    ("oom_kills", "OOM KILLS"),
    ("lost_percent", "LOST %"),
    ("wasted_calls_percent", "WASTED %"),
)


def contestants(names: Sequence[str]) -> list[Contestant]:
    """The policies that a person named; the usual ones for none.

    Raises:
        CliError: One of them is not known.
    """
    if not names:
        return usual()
    try:
        return [
            product(Path(name).stem, policy_of(read_manifest(Path(name)))) if is_manifest(name) else contestant(name)
            for name in dict.fromkeys(names)
        ]
    except UnknownPolicyError as error:
        raise CliError(str(error), exit_code=2) from error


class Bar:
    """A progress bar on standard error; nothing where that is no terminal."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def tell(self, what: str) -> None:
        """Say what is being done."""
        self._progress.update(self._task, description=what)

    def advance(self) -> None:
        """One part is done."""
        self._progress.advance(self._task)


@contextmanager
def bar(total: int) -> Iterator[Bar]:
    """A bar for so many parts; it goes away at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as progress:
        yield Bar(progress, total)


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Means over the seeds, a line for each trace and policy."""
    lines = means(rows)
    outages = any(line["outages"] for line in lines)
    shown = [
        (name, title)
        for name, title in _COLUMNS
        if any(line[name] is not None for line in lines) and (outages or name != "wasted_calls_percent")
    ]
    made = plain_table("TRACE", "POLICY", *(title for _, title in shown))
    for column in made.columns[2:]:
        column.justify = "right"
    for line in lines:
        values = [DASH if line[name] is None else number(line[name]) for name, _ in shown]
        made.add_row(line["trace"], line["policy"], *values)
    return made


def screen(json_file: str | None) -> Console:
    """Where people read: not where the rows go."""
    if json_file != "-":
        return console()
    return Console(stderr=True, width=None if sys.stderr.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def write_rows(file: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a JSON array, a row a line.

    Raises:
        CliError: The file cannot be written.
    """
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    if file == "-":
        print(text, end="")
    else:
        write(Path(file), text)


def write_report(file: Path, report: Report) -> None:
    """The HTML file.

    Raises:
        CliError: It cannot be written.
    """
    write(file, report.html())


def write(file: Path, text: str) -> None:
    """A text file.

    Raises:
        CliError: It cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"{file}: {error.strerror or error}", exit_code=2) from error


def writable(*files: str | Path | None) -> None:
    """Find out before an hour of work that its result has nowhere to go.

    Raises:
        CliError: A folder does not exist.
    """
    for file in files:
        if file is not None and str(file) != "-" and not Path(file).absolute().parent.is_dir():
            raise CliError(f"{file}: its folder does not exist", exit_code=2)
