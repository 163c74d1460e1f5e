"""Values in the words of people, and the screen that they are printed on."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 250
"""Columns where nobody looks: a pipe must not cut what a terminal would wrap."""
DASH = "-"

_COLOURS = {
    **dict.fromkeys(("Fresh", "True", "Steady"), "green"),
    **dict.fromkeys(("Idle", "Oversized", "Unknown", "Stale", "Partial", "WorkerBound", "ReplicaBound"), "yellow"),
    **dict.fromkeys(("Empty", "Invalid", "Error", "False", "Dead", "DependencyBound", "MemoryBound"), "red"),
}


def console() -> Console:
    """Standard output; wide where it is no terminal. What people wrote is text, never markup."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def plain_table(*columns: str) -> Table:
    """A table as kubectl prints it: no lines, two spaces between columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column not in {"WHY", "LAST DECISION", "MESSAGE"})
    return table


def coloured(word: str) -> Text:
    """A state in the colour of its urgency."""
    return Text(word, style=_COLOURS.get(word, ""))


def age(seconds: float) -> str:
    """`7s`, `3m12s`, `5h7m`, `12d`, as kubectl writes ages."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s" if whole % 60 else f"{whole // 60}m"
    if whole < 48 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86400}d"


def unix(timestamp: str | None) -> float | None:
    """Unix seconds of a time in status; None where there is none."""
    if not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def clock(seconds: float) -> str:
    """A time of day with its date, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def quantity(name: str, value: float | str | None) -> str:
    """A signal's value in the unit that its name says."""
    try:
        number = float(value)  # type: ignore[arg-type]  # None is what the except is for
    except (TypeError, ValueError):
        return DASH
    if name.endswith("Bytes"):
        return f"{number / 2**20:.1f}Mi"
    if name.endswith("Ratio"):
        return f"{100 * number:.1f}%"
    if "Rate" in name:
        return f"{number:.2f}/s"
    if name in {"queueWait", "latency", "serviceTime"}:
        return f"{number:.2f}s" if number >= 1 else f"{1000 * number:.0f}ms"
    return f"{number:.4g}"


def cache_words(settings: dict[str, Any]) -> str:
    """`256Mi/900s` of settings as status holds them."""
    cache = settings.get("cache") or {}
    ttl = cache.get("ttlSeconds")
    return f"{cache.get('size', DASH)}/{ttl}s" if ttl is not None else str(cache.get("size", DASH))


def breaker_words(settings: dict[str, Any]) -> str:
    """`50%/30s` of settings as status holds them: failure rate threshold and wait in the open state."""
    breaker = settings.get("circuitBreaker") or {}
    threshold = breaker.get("failureRateThresholdPercent")
    wait = breaker.get("waitDurationInOpenStateSeconds")
    if threshold is None and wait is None:
        return DASH
    return f"{DASH if threshold is None else f'{threshold}%'}/{DASH if wait is None else f'{wait}s'}"
