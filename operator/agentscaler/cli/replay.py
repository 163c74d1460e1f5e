"""`agentscaler replay`: make recorded decisions once more, and say where they come out differently."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.text import Text

from agentscaler.cli.cluster import CliError
from agentscaler.cli.output import Output, OutputForm, fail
from agentscaler.cli.words import DASH, clock, console, plain_table
from agentscaler.core.decide import decide
from agentscaler.kube.records import DecisionRecord, from_json, to_json

MOST_SHOWN = 40
"""Differences of one record on the screen; -o json has all."""
_FORMS = (
    "give a record as the operator logs it (`kubectl logs`), as `explain -o json` prints it, or as /records answers"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that came out differently. A value that only one side has is None on the other."""

    path: str
    recorded: Any
    replayed: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record, made again."""

    record: DecisionRecord
    differences: tuple[Difference, ...]

    @property
    def name(self) -> str:
        """Of the object."""
        return f"{self.record.namespace}/{self.record.name}"


def replay(
    *,
    file: Annotated[str, typer.Argument(metavar="RECORD", help="File with one record or many, or - for the input.")],
    output: OutputForm = None,
) -> None:
    """Make recorded decisions again from their inputs. Exit code 1: one comes out differently."""
    try:
        results = [replayed(plain) for plain in parse(read(file), file)]
    except CliError as error:
        fail(error)
    if output is Output.JSON:
        print(json.dumps([_plain(each) for each in results], indent=2))
    else:
        console().print(Group(*(_shown(each) for each in results)), soft_wrap=True)
    if any(each.differences for each in results):
        raise typer.Exit(1)


def read(file: str) -> str:
    """The text of a file, or of standard input for `-`.

    Raises:
        CliError: It cannot be read.
    """
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file}: {error}", exit_code=2) from error


def parse(text: str, source: str) -> list[dict[str, Any]]:
    """All records in a text: one JSON value, or a log with a value a line, whose other lines are passed over.

    Args:
        text: What was read.
        source: Its name, for errors.

    Raises:
        CliError: There is none.
    """
    try:
        found = list(_records(json.loads(text)))
    except ValueError:
        found = [record for line in text.splitlines() for record in _records(_line(line))]
    if not found:
        raise CliError(f"{source}: no decision record in it; {_FORMS}", exit_code=2)
    return found


def replayed(plain: dict[str, Any]) -> Replayed:
    """Make one decision again.

    Args:
        plain: The record as JSON.

    Raises:
        CliError: It is not a whole record; the text names the field.
    """
    try:
        record = from_json(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CliError(
            f"the record is not whole: {place}: {first['msg']}; was it made by another version? {_FORMS}", exit_code=2
        ) from error
    again = to_json(replace(record, decision=decide(*record.inputs())))
    return Replayed(record, tuple(_differences("decision", plain["decision"], again["decision"])))


def _records(value: Any) -> Iterator[dict[str, Any]]:
    """The records in one JSON value, whatever is wrapped around them."""
    if isinstance(value, list):
        for each in value:
            yield from _records(each)
    elif isinstance(value, dict):
        if "decision" in value and "observation" in value:
            yield value
        else:
            yield from _records(value.get("records") or value.get("record"))


def _line(line: str) -> Any:
    """The JSON of a log line, also after the prefix that `kubectl logs --prefix` writes."""
    try:
        return json.loads(line[line.index("{") :])
    except ValueError:
        return None


def _differences(path: str, recorded: Any, made: Any) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(made, dict):
        for key in [*recorded, *(key for key in made if key not in recorded)]:
            yield from _differences(f"{path}.{key}", recorded.get(key), made.get(key))
    elif isinstance(recorded, list) and isinstance(made, list):
        for index in range(max(len(recorded), len(made))):
            pair = [each[index] if index < len(each) else None for each in (recorded, made)]
            yield from _differences(f"{path}[{index}]", *pair)
    elif not _same(recorded, made):
        yield Difference(path, recorded, made)


def _same(recorded: Any, made: Any) -> bool:
    """Equal to the last bit; 3 and 3.0 are one number, since tools like jq write either."""
    if isinstance(recorded, int | float) and isinstance(made, int | float) and not isinstance(recorded, bool):
        return recorded == made and repr(float(recorded)) == repr(float(made))
    return type(recorded) is type(made) and bool(recorded == made)


def _shown(result: Replayed) -> RenderableType:
    record, found = result.record, result.differences
    head = Text.assemble((result.name, "bold"), f"  {clock(record.now)}  ")
    if not found:
        return head.append_text(Text.assemble(("same", "green"), f": {record.decision.summary}"))
    head.append_text(Text(f"{len(found)} values differ", style="red"))
    shown = plain_table("  FIELD", "RECORDED", "REPLAYED")
    for each in found[:MOST_SHOWN]:
        shown.add_row(f"  {each.path}", _value(each.recorded), _value(each.replayed))
    rest = [Text(f"  and {len(found) - MOST_SHOWN} more (-o json shows them)")] if len(found) > MOST_SHOWN else []
    return Group(head, shown, *rest)


def _value(value: Any) -> str:
    return DASH if value is None else json.dumps(value)


def _plain(result: Replayed) -> dict[str, Any]:
    return {
        "namespace": result.record.namespace,
        "name": result.record.name,
        "now": result.record.now,
        "same": not result.differences,
        "differences": [
            {"path": each.path, "recorded": each.recorded, "replayed": each.replayed} for each in result.differences
        ],
    }
