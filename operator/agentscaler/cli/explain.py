"""`agentscaler explain`: one decision as a chain that a person can follow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from agentscaler.cli.words import DASH, age, clock, coloured, plain_table, quantity, unix

_KNOBS = ("replicas", "workers", "cache", "circuitBreaker")
_NORMAL_IS_FALSE = {"Stalled", "Reconciling", "ScalingLimited", "Conflict", "ObjectiveUnreachable"}


@dataclass(frozen=True, slots=True)
class SignalSeen:
    """One signal as the decision saw it. Times are Unix seconds."""

    name: str
    value: float | str | None
    health: str
    observed_at: float | None


@dataclass(frozen=True, slots=True)
class StepTaken:
    """What one rule made of one knob."""

    rule: str
    knob: str
    before: Any
    after: Any
    message: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is said of one decision. `at` is Unix seconds; None: nothing was decided yet."""

    name: str
    at: float | None
    diagnosis: str
    reason: str
    summary: str
    signals: tuple[SignalSeen, ...]
    steps: tuple[StepTaken, ...]
    conditions: tuple[dict[str, Any], ...]
    moves: tuple[dict[str, Any], ...]
    """The last decisions that moved something, newest first, as status holds them."""
    whole: bool
    """Whether it comes from the operator's full record."""
    replicas: int | None = None
    hpa_replicas: int | None = None
    demand_runs: float | None = None
    forecast: dict[str, Any] | None = None
    """What the forecast was made of, as `core.demand.Demand` names it."""
    margin_runs: float | None = None
    note: str = ""
    effective: Mapping[str, Any] = field(default_factory=dict)
    """What holds for the object, as `status.effective` has it."""
    last_move: Explanation | None = None
    """The decision that moved something last, where this one moves nothing."""


def from_status(body: dict[str, Any], *, missing: str) -> Explanation:
    """What status alone tells: no steps of single rules. `missing` says why there is no more."""
    status = body.get("status") or {}
    last = status.get("lastDecision") or {}
    signals = [
        SignalSeen(each["name"], each.get("value"), each["health"], unix(each.get("observedAt")))
        for each in status.get("signals") or ()
    ]
    return Explanation(
        name=_name(body),
        at=unix(last.get("at")),
        diagnosis=str(status.get("diagnosis", "Unknown")),
        reason=str(last.get("reason", DASH)),
        summary=str(last.get("summary", _undecided(status))),
        signals=tuple(signals),
        steps=(),
        conditions=tuple(status.get("conditions") or ()),
        moves=tuple(status.get("records") or ()),
        whole=False,
        note=missing,
        effective=status.get("effective") or {},
    )


def from_record(body: dict[str, Any], record: dict[str, Any], moved: dict[str, Any] | None = None) -> Explanation:
    """What the operator's full record tells.

    Args:
        body: The object.
        record: Of the newest tick.
        moved: Of the newest one that moved something, if the operator still has it.
    """
    decision, observation = record["decision"], record["observation"]
    status = body.get("status") or {}
    signals = [
        SignalSeen(name, each.get("value"), each["health"], each.get("observed_at"))
        for name, each in observation["signals"].items()
    ]
    steps = [
        StepTaken(each["rule"], each["knob"], each["before"], each["after"], each["message"])
        for each in decision["steps"]
    ]
    return Explanation(
        name=_name(body),
        at=float(record.get("now") or observation["evaluated_at"]),
        diagnosis=str(decision["diagnosis"]),
        reason=str(decision["reason"]),
        summary=str(decision["summary"]),
        signals=tuple(signals),
        steps=tuple(steps),
        conditions=tuple(status.get("conditions") or ()),
        moves=tuple(status.get("records") or ()),
        whole=True,
        replicas=decision["settings"]["replicas"],
        hpa_replicas=decision.get("hpa_replicas"),
        demand_runs=decision.get("demand_runs"),
        forecast=decision.get("forecast"),
        margin_runs=decision.get("margin_runs"),
        effective=status.get("effective") or {},
        last_move=from_record(body, moved) if moved is not None and moved["now"] != record["now"] else None,
    )


def explained(e: Explanation, *, full: bool, now: float | None = None) -> Group:
    """The chain for the screen: seen, diagnosed, proposed and cut, decided, and what stands around it."""
    moment = time.time() if now is None else now
    when = DASH if e.at is None else f"{clock(e.at)}, {age(moment - e.at)} ago"
    parts: list[RenderableType] = [Text.assemble((e.name, "bold"), f"  {when}")]
    if e.note:
        parts.append(Text(f"From status only: {e.note}.", style="dim"))
    stalled = next((each for each in e.conditions if each["type"] == "Stalled" and each["status"] == "True"), None)
    if stalled is not None:
        parts.append(Text(f"Held ({stalled['reason']}): {stalled['message']}", style="yellow"))
    parts += [_title("Signals"), _signals(e, moment, full=full)]
    parts += [_title("Diagnosis"), Text.assemble("  ", coloured(e.diagnosis))]
    parts += [Text(f"  {line}") for line in _forecast(e)]
    if e.whole:
        parts += [_title("Rules"), _steps(e)]
    parts += [_title("Decision"), Text(f"  {e.summary} ({e.reason})")]
    if e.hpa_replicas is not None:
        parts.append(Text(f"  The HPA's rule would ask for {e.hpa_replicas} replicas; this decision: {e.replicas}."))
    if e.last_move is not None and e.last_move.at is not None:
        last = e.last_move
        parts += [
            _title(f"Last move, {age(moment - e.last_move.at)} ago ({last.diagnosis})"),
            _steps(last),
            Text(f"  {last.summary} ({last.reason})"),
        ]
    if lines := _in_force(e.effective, full=full):
        parts += [_title("In force"), *(Text(f"  {line}") for line in lines)]
    parts += [_title("Conditions"), _conditions(e, full=full)]
    if e.moves:
        parts += [_title("Moves"), _moves(e, moment)]
    return Group(*parts)


def _signals(e: Explanation, now: float, *, full: bool) -> RenderableType:
    shown = plain_table("  SIGNAL", "VALUE", "HEALTH", "AGE")
    for signal in e.signals:
        zero = signal.health == "Idle" or not float(signal.value or 0)
        if zero and signal.health in {"Fresh", "Idle"} and not full:
            continue
        seen = signal.observed_at
        shown.add_row(
            f"  {signal.name}",
            quantity(signal.name, signal.value),
            coloured(signal.health),
            DASH if seen is None else age((now if not e.whole or e.at is None else e.at) - seen),
        )
    if not e.signals:
        return Text("  none yet")
    return shown if shown.row_count else Text("  all at zero (--full shows them)")


def _forecast(e: Explanation) -> list[str]:
    """What capacity was sized for, and how much was kept free above it."""
    if e.demand_runs is None:
        return []
    f, lines = e.forecast, [f"{e.demand_runs:.1f} runs at a time are expected when an order placed now takes effect"]
    if f is not None:
        lines[0] += f", in {f['lead_seconds']:.0f} s"
        now = f"now {f['busy_runs']:.4g} run and {f['queued_runs']:.4g} wait"
        lines.append(f"{now}; {f['arrival_rate']:.3g} come each second and run for {f['service_seconds']:.3g} s")
    if e.margin_runs is not None:
        lines.append(f"{e.margin_runs:.1f} workers are kept free above them")
    return lines


def _steps(e: Explanation) -> RenderableType:
    if not e.steps:
        return Text("  no rule asked for a change")
    shown = plain_table("  KNOB", "RULE", "FROM", "TO", "WHY")
    for knob in _KNOBS:
        for step in e.steps:
            if step.knob == knob:
                shown.add_row(f"  {knob}", step.rule, _or_dash(step.before), _or_dash(step.after), step.message)
    return shown


def _conditions(e: Explanation, *, full: bool) -> RenderableType:
    shown = plain_table("  CONDITION", "STATUS", "REASON", "MESSAGE")
    said: dict[str, str] = {}
    for each in e.conditions:
        normal = "False" if each["type"] in _NORMAL_IS_FALSE else "True"
        if each["status"] != normal or each["type"] == "Ready" or full:
            style = "green" if each["status"] == normal else "yellow"
            first = said.setdefault(each["message"], each["type"])
            message = each["message"] if first == each["type"] else f"as {first}"
            shown.add_row(f"  {each['type']}", Text(each["status"], style), each["reason"], message)
    return shown if shown.row_count else Text("  none yet")


def _moves(e: Explanation, now: float) -> RenderableType:
    shown = plain_table("  WHEN", "REASON", "WHY")
    for each in e.moves:
        at = unix(each.get("at"))
        shown.add_row(f"  {DASH if at is None else age(now - at)} ago", each["reason"], each["summary"])
    return shown


def _in_force(effective: Mapping[str, Any], *, full: bool) -> list[str]:
    """Objectives, bounds and starts, defaults of the framework included."""
    framework = effective.get("framework", "generic")
    if not effective or (framework == "generic" and not full):
        return []
    lines = [f"framework {framework}" + _file(effective.get("delivery") or {})]
    lines += [f"{name}: {_range(value)}" for name, value in (effective.get("objectives") or {}).items()]
    for knob, values in (effective.get("tuning") or {}).items():
        if isinstance(values, dict):
            lines.append(f"{knob}: {_range(values)}")
    unavailable = (effective.get("signals") or {}).get("unavailable") or {}
    lines += [f"not in the framework's own metrics: {signal} ({why})" for signal, why in unavailable.items()]
    return lines + list((effective.get("delivery") or {}).get("limits") or ())


def _file(delivery: Mapping[str, Any]) -> str:
    if "file" not in delivery:
        return ""
    base = delivery.get("baseConfigMap")
    start = f" on top of {base['key']} of ConfigMap {base['name']}" if base else ""
    return f", settings in {delivery['file']}{start}"


def _range(values: Mapping[str, Any]) -> str:
    """One knob or objective in a line, its inner values with a path."""
    inner = [f"{name} {_range(value)}" for name, value in values.items() if isinstance(value, dict)]
    plain = [f"{name} {value}" for name, value in values.items() if not isinstance(value, dict | list)]
    return ", ".join([*plain, *inner])


def _undecided(status: dict[str, Any]) -> str:
    """Why there is no decision in a status."""
    if status.get("conditions"):
        return "nothing was carried out yet: the conditions below say why"
    return "nothing was decided yet: does the operator run, and does it see this object?"


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _name(body: dict[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _or_dash(value: Any) -> str:
    return DASH if value is None else str(value)
