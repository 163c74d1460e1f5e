"""`agentscaler status`: one line for each object, and the signals of one."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.table import Table
from rich.text import Text

from agentscaler.cli.words import DASH, age, breaker_words, cache_words, coloured, plain_table, quantity, unix

_WELL = ("Fresh", "Idle")


def row(body: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of an object, for programs. Names and units are those of status."""
    metadata, status = body["metadata"], body.get("status") or {}
    settings, last = status.get("settings") or {}, status.get("lastDecision")
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "ready": _ready(status),
        "replicas": status.get("replicas"),
        "readyReplicas": status.get("readyReplicas"),
        "workers": settings.get("workers"),
        "cache": settings.get("cache"),
        "circuitBreaker": settings.get("circuitBreaker"),
        "settingsGeneration": settings.get("generation"),
        "appliedGeneration": status.get("appliedGeneration"),
        "diagnosis": status.get("diagnosis"),
        "lastDecision": last,
        "signals": status.get("signals") or [],
    }


def table(bodies: list[dict[str, Any]], *, with_namespace: bool, now: float | None = None) -> Table:
    """The objects, a line each."""
    moment = time.time() if now is None else now
    place = ["NAMESPACE"] if with_namespace else []
    columns = ["NAME", "READY", "REPLICAS", "WORKERS", "CACHE", "BREAKER", "DIAGNOSIS", "SIGNALS", "WHEN"]
    shown = plain_table(*place, *columns, "LAST DECISION")
    for body in bodies:
        r, status = row(body), body.get("status") or {}
        settings, last = status.get("settings") or {}, r["lastDecision"] or {}
        decided = unix(last.get("at"))
        shown.add_row(
            *([r["namespace"]] if with_namespace else []),
            r["name"],
            coloured(r["ready"]),
            f"{_or_dash(r['readyReplicas'], 0)}/{_or_dash(r['replicas'])}",
            _or_dash(r["workers"]),
            cache_words(settings),
            breaker_words(settings),
            coloured(r["diagnosis"] or DASH),
            _healths(r["signals"]),
            DASH if decided is None else age(moment - decided),
            str(last.get("summary", DASH)),
        )
    return shown


def signal_table(body: dict[str, Any], now: float | None = None) -> Table:
    """The signals as they were when status was written last."""
    moment = time.time() if now is None else now
    shown = plain_table("SIGNAL", "VALUE", "HEALTH", "OBSERVED")
    for signal in (body.get("status") or {}).get("signals") or ():
        seen = unix(signal.get("observedAt"))
        shown.add_row(
            signal["name"],
            quantity(signal["name"], signal.get("value")),
            coloured(signal["health"]),
            DASH if seen is None else f"{age(moment - seen)} ago",
        )
    return shown


def _ready(status: dict[str, Any]) -> str:
    conditions = status.get("conditions") or ()
    return next((str(each["status"]) for each in conditions if each["type"] == "Ready"), "Unknown")


def _healths(signals: list[dict[str, Any]]) -> Text:
    """What is not well by name; all else as a count."""
    if not signals:
        return Text(DASH)
    counts = Counter(signal["health"] for signal in signals)
    bad = [health for health in counts if health not in _WELL]
    if not bad:
        return Text(f"{counts['Fresh']} fresh, {counts['Idle']} idle", style="green")
    names = [signal["name"] for signal in signals if signal["health"] not in _WELL]
    shown = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    return Text(f"{'/'.join(bad)}: {shown}", style="red")


def _or_dash(value: Any, missing: Any = DASH) -> str:
    return str(missing if value is None else value)
