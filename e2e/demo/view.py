"""What a person sees while it runs: a live view on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agentscaler.cli.status import signal_table, table
from agentscaler.cli.words import age, coloured, quantity
from e2e.demo.world import Json, World

SHOWN_EVENTS = 9
SHOWN_SIGNALS = (
    *("queueWait", "inFlight", "queueDepth", "requestRate60", "rejectedBreakerRate", "errorRatio"),
    *("upstream429Rate", "upstream5xxRate", "breakerState", "memoryMaxBytes", "cacheBytes", "targetsUp"),
)


@dataclass
class Progress:
    """Where the story is."""

    phase: str = "starting"
    phase_left_seconds: float = 0.0
    done_share: float = 0.0
    left_seconds: float = 0.0
    load: Json = field(default_factory=dict)
    """Statistics of the load over the last seconds."""


class View:
    """Shows a world."""

    def __init__(self, world: World, console: Console, *, operator_on: bool) -> None:
        self.progress = Progress()
        self._world = world
        self._console = console
        self._operator_on = operator_on
        self._events: deque[tuple[float, str]] = deque(maxlen=SHOWN_EVENTS)
        self._live: Live | None = None
        self._began = time.time()
        world.listeners.append(self.say)

    def live(self) -> AbstractContextManager[Any]:
        """The live view on a terminal; elsewhere events are lines."""
        if not self._console.is_terminal:
            return nullcontext()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=2, screen=False)
        return self._live

    def say(self, words: str) -> None:
        """An event."""
        now = time.time()
        self._events.append((now, words))
        if self._live is None:
            self._console.print(f"{now - self._began:5.0f} s  {words}", highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = [self._head(), self._load()]
        if self._world.body:
            parts.append(Panel(table([self._world.body], with_namespace=False), title="object", title_align="left"))
            parts.append(Panel(self._signals(), title="signals", title_align="left"))
        elif not self._operator_on:
            size = self._world.sizes[-1] if self._world.sizes else None
            parts.append(Text(f"no operator; pods ready: {size.ready if size else 0}"))
        parts.append(Panel(self._last_events(), title="what happened", title_align="left"))
        return Group(*parts)

    def _head(self) -> RenderableType:
        p = self.progress
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            Text(p.phase, style="bold reverse"),
            f"{p.phase_left_seconds:.0f} s left",
            ProgressBar(total=1.0, completed=p.done_share, width=40),
            f"{age(p.left_seconds)} to the end",
        )
        return grid

    def _load(self) -> RenderableType:
        load = self.progress.load
        if not load:
            return Text("no load yet", style="dim")
        counts, latency = load["counts"], load["latency_seconds"]
        late = load["late_share"]
        failed = sum(counts[status] for status in ("error", "rejected", "lost", "timeout"))
        return Text(
            f"load {load['rate']:g}/s, {load['in_flight']} in flight; of the last 15 s: {load['finished']} ended, "
            f"{failed} failed, latency p50 {_seconds(latency['p50'])} p95 {_seconds(latency['p95'])}, "
            f"late {'-' if late is None else f'{late:.1%}'}"
        )

    def _signals(self) -> RenderableType:
        """The signals that matter here, as of the operator's newest tick."""
        if not self._world.records:
            return signal_table(self._world.body)
        newest = self._world.records[max(self._world.records)]["observation"]["signals"]
        grid = Table.grid(padding=(0, 3))
        cells = [_signal(name, newest[name]) for name in SHOWN_SIGNALS if name in newest]
        for start in range(0, len(cells), 3):
            grid.add_row(*cells[start : start + 3])
        return grid

    def _last_events(self) -> RenderableType:
        lines = Text()
        for at, words in self._events:
            lines.append(f"{at - self._began:5.0f} s  ", style="dim")
            lines.append(f"{words}\n")
        return lines


def _signal(name: str, signal: Json) -> Text:
    return Text.assemble((f"{name} ", "dim"), quantity(name, signal["value"]), " ", coloured(signal["health"]))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"
