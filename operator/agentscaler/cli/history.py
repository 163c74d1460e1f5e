"""`agentscaler history`: the decisions of one object in order, out of its status and the operator's records."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.table import Table

from agentscaler.cli.cluster import CliError, Cluster
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
from agentscaler.cli.words import DASH, age, breaker_words, cache_words, console, plain_table, unix
from agentscaler.core.settings import Settings
from agentscaler.kube.tuning import to_status

_SETTINGS = TypeAdapter(Settings)
_KNOBS = ("replicas", "workers", "cache", "circuitBreaker")


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision. Status has fewer of its facts than the operator's record: then they are None."""

    at: float
    """Unix seconds."""
    reason: str
    summary: str
    diagnosis: str | None = None
    moved_from: dict[str, Any] = field(default_factory=dict)
    """Values of the knobs that moved, in the form of `status.settings`."""
    moved_to: dict[str, Any] = field(default_factory=dict)
    forecast_runs: float | None = None
    margin_runs: float | None = None
    hpa_replicas: int | None = None
    source: str = "status"
    """`status`, or `operator` where the full record is there for `agentscaler replay`."""


def history(
    *,
    name: Annotated[str, typer.Argument(help="Of an AgentDeployment.")],
    namespace: Namespace = None,
    output: OutputForm = None,
    operator_url: OperatorUrl = None,
    operator_service: OperatorService = SERVICE,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the decisions of one AgentDeployment, oldest first: what moved, and why."""
    try:
        with Cluster(kubeconfig) as cluster:
            place = namespace or cluster.namespace
            body = cluster.get(place, name)
            found = records(cluster, place, name, url=operator_url, service=operator_service)
    except CliError as error:
        fail(error)
    entries = merged(body, found.kept)
    if output is Output.JSON:
        print(json.dumps([asdict(each) for each in entries], indent=2))
        return
    if found.problem:
        console().print(f"From status only: {found.problem}.", style="dim")
    if not entries:
        print(f"No decision of {place}/{name} yet.")
        return
    console().print(table(entries))


def merged(body: dict[str, Any], kept: tuple[dict[str, Any], ...]) -> list[Entry]:
    """Both sources in the order of time; what both know counts once, as the operator tells it.

    Args:
        body: The object.
        kept: The operator's full records of it.
    """
    full = [_of_record(each) for each in kept]
    # Status holds whole seconds and a shortened summary.
    known = {(int(each.at), each.reason) for each in full}
    short = [_of_status(each) for each in (body.get("status") or {}).get("records") or ()]
    older = [each for each in short if (int(each.at), each.reason) not in known]
    return sorted([*older, *full], key=lambda each: each.at)


def table(entries: list[Entry], now: float | None = None) -> Table:
    """A line each; only knobs that moved are shown."""
    moment = time.time() if now is None else now
    shown = plain_table("WHEN", "REPLICAS", "WORKERS", "CACHE", "BREAKER", "FORECAST", "HPA", "REASON", "WHY")
    for each in entries:
        shown.add_row(
            f"{age(moment - each.at)} ago",
            *(_move(each, knob) for knob in _KNOBS),
            DASH if each.forecast_runs is None else f"{each.forecast_runs:.1f}",
            DASH if each.hpa_replicas is None else str(each.hpa_replicas),
            each.reason,
            each.summary,
        )
    return shown


def _of_status(record: dict[str, Any]) -> Entry:
    return Entry(
        at=unix(record.get("at")) or 0.0,
        reason=str(record["reason"]),
        summary=str(record["summary"]),
        moved_from=dict(record.get("from") or {}),
        moved_to=dict(record.get("to") or {}),
    )


def _of_record(record: dict[str, Any]) -> Entry:
    decision = record["decision"]
    before, after = (to_status(_SETTINGS.validate_python(decision[each])) for each in ("current", "settings"))
    moved = [knob for knob in _KNOBS if before.get(knob) != after.get(knob)]
    return Entry(
        at=float(record["now"]),
        reason=str(decision["reason"]),
        summary=str(decision["summary"]),
        diagnosis=str(decision["diagnosis"]),
        moved_from={knob: before[knob] for knob in moved if knob in before},
        moved_to={knob: after[knob] for knob in moved if knob in after},
        forecast_runs=decision.get("demand_runs"),
        margin_runs=decision.get("margin_runs"),
        hpa_replicas=decision.get("hpa_replicas"),
        source="operator",
    )


def _move(entry: Entry, knob: str) -> str:
    if knob not in entry.moved_to and knob not in entry.moved_from:
        return DASH
    return f"{_value(entry.moved_from, knob)} -> {_value(entry.moved_to, knob)}"


def _value(values: dict[str, Any], knob: str) -> str:
    match knob:
        case "cache":
            return cache_words(values)
        case "circuitBreaker":
            return breaker_words(values)
        case _:
            return str(values.get(knob, DASH))
