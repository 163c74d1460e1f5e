"""The three phases of a measurement: all objects are created, all are at rest, some get more work."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.scale.stage import REACTING, TICK_SECONDS, Stage
from benchmarks.scale.window import Row, Window
from e2e.harness.process import wait_until

READY_SECONDS = 600.0
QUIET_SECONDS = 45.0
"""Three intervals without a write: what the start has set off is over."""
MOST_SETTLE_SECONDS = 300.0
FACTOR = 5
REACTION_SECONDS = 120.0
SPACING_SECONDS = 3.0

Tell = Callable[[str], None]


def measure(objects: int, rest_seconds: float, tell: Tell, log: Path | None = None) -> Iterator[Row]:
    """Measure the phases one after the other.

    Args:
        objects: AgentDeployments.
        rest_seconds: How long they are watched at rest.
        tell: Gets progress and what does not fit into a row.
        log: Where the operator's log is kept; None: nowhere.
    """
    tell(f"{objects} objects: starting the control plane, Prometheus, the exporter and the operator")
    with Stage(objects, log) as stage:
        yield _create(stage, tell)
        _settle(stage, tell)
        yield _rest(stage, rest_seconds, tell)
        yield _react(stage, tell)


def _create(stage: Stage, tell: Tell) -> Row:
    with Window(stage) as window, stage.watch_ready() as ready:
        began = time.monotonic()
        stage.post()
        posted_seconds = time.monotonic() - began
        wait_until(lambda: ready.holding == len(stage.agents), READY_SECONDS, "all objects Ready")
        all_ready_seconds = time.monotonic() - began
    tell(f"all posted in {posted_seconds:.1f} s, all Ready after {all_ready_seconds:.1f} s")
    return _told(window, window.row("create", all_ready_seconds=round(all_ready_seconds, 1)), tell)


def _settle(stage: Stage, tell: Tell) -> None:
    """Wait until what the creation has set off is over."""
    with Window(stage) as window:
        began = time.monotonic()
        try:
            wait_until(lambda: window.quiet_seconds >= QUIET_SECONDS, MOST_SETTLE_SECONDS, "the end of writes")
        except TimeoutError:
            tell(f"writes have not ended within {MOST_SETTLE_SECONDS:g} s after all were Ready")
        else:
            tell(f"quiet {max(0.0, time.monotonic() - began - QUIET_SECONDS):.0f} s after all were Ready")
    tell(f"writes until then: {window.said.total()}")


def _rest(stage: Stage, rest_seconds: float, tell: Tell) -> Row:
    tell(f"{rest_seconds:g} s at rest")
    with Window(stage) as window:
        deadline = time.monotonic() + rest_seconds
        wait_until(lambda: time.monotonic() >= deadline, rest_seconds + 1, "the end of the rest")
    return _told(window, window.row("rest"), tell)


def _react(stage: Stage, tell: Tell) -> Row:
    """One object after the other gets five times its work, at any moment between two scrapes and two ticks."""
    chosen = stage.agents[:REACTING]
    raised: dict[str, float] = {}
    with Window(stage) as window, stage.watch_scaled_out() as scaled:
        for agent in chosen:
            raised[agent.key] = stage.set_runs(agent, FACTOR * agent.runs)
            pause_until = time.monotonic() + SPACING_SECONDS + random.uniform(0, TICK_SECONDS)
            wait_until(lambda until=pause_until: time.monotonic() >= until, 60, "the next one's turn")  # type: ignore[misc]
        wait_until(
            lambda: all(scaled.first(agent.key) is not None for agent in chosen), REACTION_SECONDS, "more replicas"
        )
        seconds = [(scaled.first(key) or 0.0) - at for key, at in raised.items()]
    tell("reactions in seconds: " + ", ".join(f"{each:.1f}" for each in sorted(seconds)))
    row = window.row(
        "react",
        reaction_median_seconds=round(statistics.median(seconds), 1),
        reaction_max_seconds=round(max(seconds), 1),
    )
    return _told(window, row, tell)


def _told(window: Window, row: Row, tell: Tell) -> Row:
    others = ", ".join(f"{name} {cores:.2f}" for name, cores in window.others_cores.items())
    tell(f"{row.phase}: cores of the other parts: {others}; of the whole machine: {window.machine_cores:.2f}")
    if window.disagreement:
        tell(f"{row.phase}: writes counted differently (the larger number is in the table): {window.disagreement}")
    return row
