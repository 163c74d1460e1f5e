"""A recorded trace as the load of a demo: which stretch of it, how much faster, and how many runs for a request."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from agentscaler.cli.cluster import CliError
from agentscaler.cli.words import age
from agentscaler.simulate.recording import Rates, Recording
from agentscaler.simulate.trace import read
from agentscaler.simulate.tracefile import Floats, TraceError
from e2e.demo.plan import PHASES, QUIET_RATE, SEED, TIME_SCALE, Phase, Script

PARTS = 6
LEAST_SECONDS, MOST_SECONDS = 120.0, 360.0
"""Of a demo. Parts of less than 20 s have too few runs to be judged by a quantile."""
STEP_SECONDS = 5.0
"""The load changes so often: as often as the operator decides, and seldom enough to be more than noise."""
LEAST_VALUES = 36
"""A recording with long steps is played over so many of them: an hour of it would be a flat line."""
PEAK_RATE = 25.0
"""Runs per second, as in the scripted spike: what eight pods do on two cores."""
LEAD_IN = PHASES[0]
"""The operator has just started; the first part of a trace should not judge how it meets its first sample."""


@dataclass(frozen=True, eq=False)
class Curve:
    """How many requests came in each step of a recording."""

    name: str
    step_seconds: float
    requests: Floats

    @property
    def seconds(self) -> float:
        """How long the recording lasts."""
        return self.step_seconds * len(self.requests)


def load(file: str, column: str | None) -> Script:
    """The script that a trace file gives.

    Args:
        file: Of any format that `agentscaler simulate` reads.
        column: Which rate, where the file has several.

    Raises:
        CliError: The file cannot be played; the text has the row and the mend.
    """
    try:
        return script(curve(read(Path(file)), column))
    except TraceError as error:
        raise CliError(str(error), exit_code=2) from error


def curve(recording: Recording, column: str | None = None) -> Curve:
    """The load of a recording, its whole length. Raises TraceError when it is not clear which rate is meant."""
    if recording.requests is None:
        rates = _column(recording, column)
        counts = rates.values if rates.counted else rates.values * rates.step_seconds
        return Curve(recording.names[recording.rates.index(rates)], rates.step_seconds, counts)
    if column is not None:
        raise TraceError(recording.file, 1, f"{column} is no rate", "leave COLUMN away: the file lists requests")
    trace = recording.trace(seed=SEED)
    seconds = ceil(trace.duration_seconds)
    at = np.minimum(trace.arrivals_seconds.astype(np.int64), seconds - 1)
    return Curve(trace.name, 1.0, np.bincount(at, minlength=seconds).astype(np.float64))


def script(found: Curve) -> Script:
    """The busiest stretch of a load in six equal phases, after a short quiet one."""
    # As far as it goes, trace and agents share one clock: agents' time runs ten times as fast, too.
    window = min(found.seconds, max(MOST_SECONDS / TIME_SCALE, LEAST_VALUES * found.step_seconds))
    per_part = round(min(max(window * TIME_SCALE, LEAST_SECONDS), MOST_SECONDS) / PARTS / STEP_SECONDS)
    seconds = per_part * PARTS * STEP_SECONDS
    start = _busiest(found, window)
    edges = start + np.linspace(0.0, window, per_part * PARTS + 1)
    recorded = np.diff(_requests_until(found, edges)) / (window / (per_part * PARTS))
    scale = PEAK_RATE / float(recorded.max())
    parts = (recorded * scale).reshape(PARTS, per_part)
    phases = [
        Phase(
            f"part {number} from {_clock(start + (number - 1) * window / PARTS)}",
            seconds / PARTS,
            float(part.mean()) / QUIET_RATE,
            curve=tuple(round(float(rate), 3) for rate in part),
        )
        for number, part in enumerate(parts, start=1)
    ]
    stretch = (
        f"trace {found.name}: the busiest {age(window)} of {age(found.seconds)}, from {_clock(start)} on, played in "
        f"{seconds:g} s: {window / seconds:.3g} times as fast as recorded"
    )
    rates = (
        f"recorded there: {recorded.mean():.3g} requests a second, at most {recorded.max():.3g} over "
        f"{window / len(recorded):.3g} s; all rates times {scale:.3g}: {parts.mean():.3g} runs a second, at most "
        f"{parts.max():.3g}"
    )
    return Script((LEAD_IN, *phases), found.name, (stretch, rates))


def _busiest(found: Curve, window: float) -> float:
    """Where the window of so many seconds with the most requests begins."""
    starts: Floats = np.arange(len(found.requests), dtype=np.float64) * found.step_seconds
    # The whole recording as one window must not be lost to rounding.
    starts = starts[starts + window <= found.seconds * (1 + 1e-9)]
    until = _requests_until(found, starts + window)
    inside = until - _requests_until(found, starts)
    return float(starts[int(np.argmax(inside))])


def _requests_until(found: Curve, times: Floats) -> Floats:
    """Requests from the beginning until these times, spread evenly over each step."""
    edges = np.arange(len(found.requests) + 1) * found.step_seconds
    until: Floats = np.interp(times, edges, np.concatenate([[0.0], np.cumsum(found.requests)]))
    return until


def _column(recording: Recording, column: str | None) -> Rates:
    if column is None and len(recording.rates) == 1:
        return recording.rates[0]
    for rates in recording.rates:
        if rates.name == column:
            return rates
    problem = "the file has several rates" if column is None else f"no rate is called {column}"
    have = ", ".join(rates.name for rates in recording.rates)
    raise TraceError(recording.file, 1, problem, f"name one with COLUMN=...: {have}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
