"""The status of an object: what it says, and whether that is worth a write. Pure.

It is written with a decision that moves something, a condition, a count of pods or a change of health; never for a
number that drifts. Numbers that drift are refreshed when something else causes a write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from agentscaler.core.decision import Decision, Diagnosis
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.core.settings import Knob, Settings
from agentscaler.kube import codec, tuning, verdicts
from agentscaler.kube.case import Case, Outcome

MOST_RECORDS: Final = 10
LARGEST_BYTES: Final = 8192
_SENTENCE: Final = 300

# Diagnoses that follow the load from tick to tick are one class: only a change of class is worth a write.
_CALM: Final = frozenset(
    {Diagnosis.STEADY, Diagnosis.IDLE, Diagnosis.OVERSIZED, Diagnosis.WORKER_BOUND, Diagnosis.REPLICA_BOUND}
)
_SHOWN: Final = (
    SignalName.QUEUE_WAIT,
    SignalName.LATENCY,
    SignalName.ERROR_RATIO,
    SignalName.REQUEST_RATE_60,
    SignalName.SERVICE_TIME,
    SignalName.IN_FLIGHT,
    SignalName.QUEUE_DEPTH,
    SignalName.EXTERNAL_DEMAND,
    SignalName.WORKER_LIMIT,
    SignalName.MEMORY_MAX_BYTES,
    SignalName.CACHE_BYTES,
    SignalName.CACHE_HIT_RATIO,
    SignalName.BREAKER_STATE,
    SignalName.UPSTREAM_CALL_RATE,
    SignalName.UPSTREAM_429_RATE,
    SignalName.TARGETS_UP,
)
# The health of these decides on what may be done; that of the others follows from traffic.
_WATCHED: Final = (
    SignalName.IN_FLIGHT,
    SignalName.QUEUE_DEPTH,
    SignalName.REQUEST_RATE_60,
    SignalName.MEMORY_MAX_BYTES,
    SignalName.EXTERNAL_DEMAND,
)


def shown(case: Case, outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    """What decides whether a status is worth a write: all but the core's memory, and not cut to size yet.

    Args:
        case: The object in this tick.
        outcome: What was done.
        fingerprint: Of the live template after our last apply, to be remembered.
    """
    old, now = case.record.status, rfc3339(case.now)
    live = case.live.deployment
    decision = _decides(case, outcome)
    found = verdicts.conditions(case, outcome)
    status: dict[str, Any] = {
        "observedGeneration": case.record.generation,
        "conditions": verdicts.stamped(found, old.get("conditions") or [], case.record.generation, now),
        "replicas": live.status_replicas if live is not None else 0,
        "readyReplicas": live.ready if live is not None else 0,
        "selector": live.selector if live is not None else old.get("selector"),
        "settings": _settings(case, outcome),
        "appliedGeneration": outcome.delivered.applied or old.get("appliedGeneration"),
        "diagnosis": str(Diagnosis.UNKNOWN) if outcome.problem and outcome.problem.stalled else old.get("diagnosis"),
        "lastDecision": old.get("lastDecision"),
        "records": old.get("records"),
        "signals": _signals(case.observation) if decision is not None else old.get("signals"),
        "memory": _template(fingerprint) if decision is not None else old.get("memory"),
        "effective": case.effective,
        "lastRestartTime": _restart_time(case, outcome),
    }
    if decision is not None:
        status["diagnosis"] = str(decision.diagnosis)
        status |= _decided(case, decision, outcome, old, now)
    return {key: value for key, value in status.items() if value not in (None, [], {})}


def whole(shown: dict[str, Any], case: Case, outcome: Outcome) -> dict[str, Any]:
    """The whole status of now, out of what is shown. It may leave out more, to keep its size, and never says more."""
    if _decides(case, outcome) is None:
        return _within_size(shown)
    memory = {"core": codec.encode(outcome.memory), **shown.get("memory", {})}
    return _within_size({**shown, "memory": memory})


def is_worth_a_write(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a reader of status would learn something that is not a drifting number."""
    return _signature(new) != _signature(old)


def is_urgent(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a change is told even while writes are scarce: a flip that matters, a move of a running service."""
    flips = [_statuses(each) for each in (new, old)]
    moved = new.get("lastDecision") != old.get("lastDecision") and bool(old.get("appliedGeneration"))
    return moved or flips[0] != flips[1]


@lru_cache(maxsize=4096)
def rfc3339(seconds: float) -> str:
    """A time as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _decides(case: Case, outcome: Outcome) -> Decision | None:
    return None if verdicts.nothing_done(case, outcome) else case.decision


def _template(fingerprint: str) -> dict[str, Any]:
    """Of `status.memory`: the fingerprint of the template that we applied."""
    return {"template": fingerprint} if fingerprint else {}


def _signature(status: Mapping[str, Any]) -> list[Any]:
    conditions = {
        each["type"]: (each["status"], each["reason"], each["message"]) for each in status.get("conditions") or ()
    }
    health = {each["name"]: each["health"] for each in status.get("signals") or ()}
    diagnosis = status.get("diagnosis")
    return [
        conditions,
        {name: _class_of(health.get(name)) for name in map(str, _WATCHED)},
        "" if diagnosis in _CALM else diagnosis,
        (status.get("memory") or {}).get("template"),
        *(
            status.get(key)
            for key in (
                "observedGeneration",
                "replicas",
                "readyReplicas",
                "selector",
                "settings",
                "recommended",
                "effective",
                "appliedGeneration",
                "lastDecision",
                "lastRestartTime",
            )
        ),
    ]


def _statuses(status: Mapping[str, Any]) -> dict[str, bool]:
    """Which of the conditions that matter most hold; one that is not there yet does not hold."""
    held = {each["type"]: each["status"] == "True" for each in status.get("conditions") or ()}
    return {kind: held.get(kind, False) for kind in ("Ready", "Stalled", "Conflict")}


def _class_of(health: str | None) -> str:
    """Idle and Fresh differ by traffic alone, and both are known."""
    return "" if health in {None, str(Health.FRESH), str(Health.IDLE)} else str(health)


def _settings(case: Case, outcome: Outcome) -> dict[str, Any] | None:
    """What stands in the ConfigMap, and the size that the target was given."""
    delivered, replicas = outcome.delivered, outcome.replicas
    settings = tuning.settings_of(delivered.text) if delivered.text else None
    if settings is None and replicas is None:
        return case.record.status.get("settings")
    settings = replace(settings or Settings(replicas=0), replicas=replicas if replicas is not None else 0)
    return tuning.to_status(settings, delivered.generation)


def _decided(case: Case, decision: Decision, outcome: Outcome, old: Mapping[str, Any], now: str) -> dict[str, Any]:
    changed = outcome.moved(decision)
    parts: dict[str, Any] = {}
    if decision.recommended != decision.settings:
        parts["recommended"] = tuning.to_status(decision.recommended)
    advises = parts.get("recommended") != old.get("recommended") and not changed
    if not case.fresh or not (changed or advises or "lastDecision" not in old):
        return parts
    head = {"at": now, "reason": str(decision.reason), "summary": decision.summary[:_SENTENCE]}
    moved = {**head, **_moves(decision.current, outcome.applied(decision))} if changed else None
    records = list(old.get("records") or ())
    return parts | {
        "lastDecision": head,
        "records": ([moved] if moved else []) + records[: MOST_RECORDS - bool(moved)],
    }


def _moves(current: Settings, settings: Settings) -> dict[str, Any]:
    """Only the knobs that moved, before and after."""
    before, after = tuning.to_status(current), tuning.to_status(settings)
    knobs = [str(knob) for knob in Knob if before.get(str(knob)) != after.get(str(knob))]
    return {
        "from": {knob: before[knob] for knob in knobs if knob in before},
        "to": {knob: after[knob] for knob in knobs if knob in after},
    }


def _signals(observation: Observation) -> list[dict[str, Any]]:
    shown = []
    for name in _SHOWN:
        signal = observation.signals.get(name)
        if signal is None or (signal.health is Health.EMPTY and name not in _WATCHED):
            continue
        entry: dict[str, Any] = {"name": str(name), "health": str(signal.health)}
        if signal.value is not None:
            entry["value"] = f"{signal.value:.3g}" if abs(signal.value) < 1000 else str(_three_digits(signal.value))
        if signal.observed_at is not None:
            entry["observedAt"] = rfc3339(signal.observed_at)
        shown.append(entry)
    return shown


def _three_digits(value: float) -> int:
    return int(float(f"{value:.3g}"))


def _restart_time(case: Case, outcome: Outcome) -> str | None:
    if outcome.delivered.restarts and "restart" in outcome.writes:
        return rfc3339(case.now)
    live = case.live.deployment
    if live is not None and live.restarted_at is not None:
        return rfc3339(live.restarted_at)
    return case.record.status.get("lastRestartTime")


def _within_size(status: dict[str, Any]) -> dict[str, Any]:
    """At most 8 KiB: old records go first, then the signals, then the effective values; conditions and memory stay."""
    if _size(status) <= LARGEST_BYTES:
        return status
    while _size(status) > LARGEST_BYTES and status.get("records"):
        status["records"] = status["records"][:-1]
    for key in ("signals", "effective", "recommended"):
        if _size(status) > LARGEST_BYTES:
            status.pop(key, None)
    for condition in status.get("conditions") or ():
        if _size(status) > LARGEST_BYTES:
            condition["message"] = condition["message"][:256]
    return status


def _size(status: Mapping[str, Any]) -> int:
    return len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode())
