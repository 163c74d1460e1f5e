"""The past of a real service as loads that can be simulated: what is known, what is not, and the laws behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentscaler.simulate import arrivals, synthetic
from agentscaler.simulate.model import MEGABYTE, ServiceModel
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.score import Row
from agentscaler.simulate.state import Floats

Bools = NDArray[np.bool_]
Shares = tuple[tuple[float, float], ...]

LEAST_SPAN_SECONDS: Final = 900.0
"""A shorter piece between two holes is over before its start is forgotten: it is not judged."""
LEAST_POINTS: Final = 30
LEAST_SPREAD_RUNS: Final = 0.4
"""Standard deviation of runs per pod below which memory tells nothing of a run."""
TAIL_FACTOR: Final = 2.0
"""Runs beyond the last bucket's bound are taken to last up to so many times that bound."""
FIRST_FACTOR: Final = 0.25
"""Runs in the first bucket are taken to last at least this share of its bound."""
LEAST_RUN_MB: Final = 1e-3
"""Where nothing is known of memory: next to nothing."""
_OF_A_RUN: Final = ("run_mb", "peak_median_mb", "peak_p90_mb", "typical_most_mb", "heavy_p99_mb", "heavy_most_mb")


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What Prometheus knows of one service: arrays with one value for each step, NaN where it is not known.

    Attributes:
        name: of the object.
        started_at: Unix time of the beginning of the first step.
        step_seconds: of one step; all values are those at its end.
        completed: runs that ended in the step, per second.
        in_flight: runs.
        queued: runs that wait; None: the service exports no queue.
        refused: runs refused for want of room, per second; NaN counts as none.
        refused_by_breaker: the same for an open breaker.
        service_seconds: mean of a run without its wait.
        workers: worker limit of a pod.
        pods: that reported.
        memory_mean_bytes: of the pods.
        memory_max_bytes: of the worst pod.
        durations: (upper bound in seconds, share of runs at or below it), rising; empty when not known.
        waits: the same of the waits before runs started.
    """

    name: str
    started_at: float
    step_seconds: float
    completed: Floats
    in_flight: Floats
    queued: Floats | None
    refused: Floats
    refused_by_breaker: Floats
    service_seconds: Floats
    workers: Floats
    pods: Floats
    memory_mean_bytes: Floats
    memory_max_bytes: Floats
    durations: Shares = ()
    waits: Shares = ()

    def __len__(self) -> int:
        return len(self.completed)

    @property
    def known(self) -> Bools:
        """Where demand is known, all of it."""
        found = np.isfinite(self.completed) & np.isfinite(self.in_flight)
        return found if self.queued is None else found & np.isfinite(self.queued)

    @property
    def load(self) -> Floats:
        """Runs in the service, those that wait included."""
        return self.in_flight if self.queued is None else self.in_flight + self.queued

    @property
    def mean_service_seconds(self) -> float:
        """Of all runs: as measured, else by Little's law; NaN without a run."""
        weights = np.where(np.isfinite(self.service_seconds), np.nan_to_num(self.completed), 0.0)
        if weights.sum() > 0:
            return float(np.average(np.nan_to_num(self.service_seconds), weights=weights))
        known = self.known
        ended = float(self.completed[known].sum())
        return float(self.in_flight[known].sum()) / ended if ended > 0 else float("nan")

    @property
    def replica_hours(self) -> float:
        """What really ran, of the pods that reported."""
        return float(np.nansum(self.pods[self.known])) * self.step_seconds / 3600.0

    def waited_longer_percent(self, seconds: float) -> float | None:
        """Of all runs that really started; None when it is not known."""
        if not self.waits or seconds > self.waits[-1][0]:
            return None
        bounds, shares = zip((0.0, 0.0), *self.waits, strict=True)
        return 100.0 * (1.0 - float(np.interp(seconds, bounds, shares)))


@dataclass(frozen=True, slots=True)
class Span:
    """Steps from `first` up to `last`, the latter not included."""

    first: int
    last: int

    @property
    def steps(self) -> int:
        """How many."""
        return self.last - self.first


def spans(history: History, *, known: bool = True) -> list[Span]:
    """The longest runs of steps where demand is known, or where it is not."""
    mask = history.known if known else ~history.known
    edges = np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [Span(int(first), int(last)) for first, last in zip(starts, ends, strict=True)]


def judged(history: History) -> list[Span]:
    """The known spans that are long enough, and hold a run at all."""
    return [
        span
        for span in spans(history)
        if span.steps * history.step_seconds >= LEAST_SPAN_SECONDS
        and history.completed[span.first : span.last].sum() > 0
    ]


def most_requests(history: History, found: Sequence[Span]) -> float:
    """About how many requests the largest of these spans has."""
    step = history.step_seconds
    return max((float(history.completed[each.first : each.last].sum()) * step for each in found), default=0.0)


def trace(history: History, span: Span, seed: int) -> Trace:
    """The requests of one known span, as this seed draws their moments and durations.

    What came in a step is what ended in it, what was refused for want of room, and what the load in the service grew
    by. Durations follow the histogram, scaled to the mean of their time. Runs refused by an open breaker do not count,
    since nobody knows how many of them were the same ones trying again.
    """
    rng = np.random.default_rng([seed, 0xBAC4, span.first])
    step = history.step_seconds
    times = arrivals.spread(_came(history, span), step, rng)
    means = _means(history, span)
    seconds = _draws(history.durations, len(times), rng)
    expected = _mean(history.durations) if history.durations else float(synthetic.call_seconds(100_000, rng).mean())
    at = np.minimum((times / step).astype(np.int64), span.steps - 1)
    return Trace(
        history.name,
        times,
        span.steps * step,
        service_seconds=seconds * means[at] / expected,
    )


@dataclass(frozen=True, slots=True)
class Laws:
    """What the history tells of the service."""

    model: ServiceModel
    memory_known: bool
    """Whether memory per run is: without it nobody can say how many more workers a pod would bear."""
    notes: tuple[str, ...]
    """What was learned and what was not, in sentences."""


def laws(history: History, base: ServiceModel) -> Laws:
    """The laws of the service.

    Args:
        history: of the service.
        base: what holds where the history does not say.
    """
    notes: list[str] = []
    workers = history.workers[np.isfinite(history.workers) & (history.workers >= 1)]
    if len(workers):
        base = replace(base, workers=int(np.median(workers)))
    else:
        notes.append(f"The pods report no worker limit: {base.workers} are taken for granted.")
    line = _memory_line(history)
    if line is None:
        notes.append(
            "Memory per run cannot be told from the history: workers stay as they are, and no run is killed for memory."
        )
        nothing: dict[str, Any] = dict.fromkeys(_OF_A_RUN, LEAST_RUN_MB)
        return Laws(replace(base, base_mb=0.0, **nothing), memory_known=False, notes=tuple(notes))
    pod, run = line
    scale = run / base.run_mb
    scaled: dict[str, Any] = {name: getattr(base, name) * scale for name in _OF_A_RUN}
    notes.append(
        f"Memory as the pods reported it: {pod:.0f} MB and {run:.0f} MB for each run; how far a run rises above its "
        "mean is not in the history and taken from measured agents."
    )
    return Laws(replace(base, base_mb=pod, **scaled), memory_known=True, notes=tuple(notes))


def _memory_line(history: History) -> tuple[float, float] | None:
    """Megabytes of a pod and of a run: the line through mean memory over runs per pod."""
    runs = history.in_flight / np.where(history.pods >= 1, history.pods, np.nan)
    used = history.memory_mean_bytes / MEGABYTE
    both = np.isfinite(runs) & np.isfinite(used)
    if both.sum() < LEAST_POINTS or np.std(runs[both]) < LEAST_SPREAD_RUNS:
        return None
    slope, start = np.polyfit(runs[both], used[both], 1)
    return (float(max(start, 1.0)), float(slope)) if slope > 0 else None


def _came(history: History, span: Span) -> NDArray[np.int64]:
    """Requests that came in each step: whole numbers whose sum is kept."""
    inside = slice(span.first, span.last)
    load = history.load[inside]
    refused = np.nan_to_num(history.refused[inside])
    growth = np.diff(load, prepend=load[0])
    exact = (history.completed[inside] + refused) * history.step_seconds + growth
    # Gauges and counters are scraped at moments of their own: what one step lacks, the next one has.
    total = np.maximum.accumulate(np.maximum(np.cumsum(exact), 0.0))
    whole = np.round(total).astype(np.int64)
    counts: NDArray[np.int64] = np.diff(whole, prepend=0)
    return counts


def _means(history: History, span: Span) -> Floats:
    """Mean duration of runs in each step; where it is not known that of the nearest known step."""
    usual = history.mean_service_seconds
    values = history.service_seconds[span.first : span.last]
    good = np.isfinite(values) & (values > 0)
    if not good.any():
        return np.full(span.steps, usual if isfinite(usual) and usual > 0 else 1.0)
    at = np.arange(span.steps)
    return np.interp(at, at[good], values[good])


def _points(durations: Shares) -> tuple[Floats, Floats]:
    """The quantile function as (share, logarithm of seconds), both rising."""
    bounds = [bound for bound, _ in durations if 0 < bound < inf]
    shares = [share for bound, share in durations if 0 < bound < inf]
    bounds, shares = [bounds[0] * FIRST_FACTOR, *bounds], [0.0, *shares]
    if shares[-1] < 1.0:
        bounds, shares = [*bounds, bounds[-1] * TAIL_FACTOR], [*shares, 1.0]
    return np.maximum.accumulate(np.array(shares)), np.log(bounds)


def _draws(durations: Shares, count: int, rng: np.random.Generator) -> Floats:
    if not durations:
        return synthetic.call_seconds(count, rng)
    shares, logs = _points(durations)
    return np.exp(np.interp(rng.random(count), shares, logs))


def _mean(durations: Shares) -> float:
    """Of what `_draws` draws."""
    shares, logs = _points(durations)
    middle = (np.arange(20_000) + 0.5) / 20_000
    return float(np.exp(np.interp(middle, shares, logs)).mean())


def together(rows: Sequence[Row], hours: Sequence[float]) -> dict[str, Any]:
    """One published row for several pieces of the same history under one policy and seed.

    Args:
        rows: of each piece.
        hours: that each piece lasted.
    """
    offered, whole = sum(row.offered for row in rows), sum(hours)
    replica_hours = sum(row.replica_hours for row in rows)
    best = [row.replica_hours / row.cost_ratio for row in rows if row.cost_ratio]

    def share(name: str) -> float:
        return float(sum(getattr(row, name) * row.offered for row in rows) / offered)

    def per_hour(name: str) -> float:
        return float(sum(getattr(row, name) * each for row, each in zip(rows, hours, strict=True)) / whole)

    return rows[0].published() | {
        **{name: share(name) for name in ("late_percent", "violation_percent", "lost_percent", "wasted_calls_percent")},
        **{name: per_hour(name) for name in ("actions_per_hour", "reversals_per_hour", "worker_changes_per_hour")},
        "cost_ratio": replica_hours / sum(best) if len(best) == len(rows) else None,
        "cost_ratio_hindsight": None,
        "replica_hours": replica_hours,
        "oom_kills": sum(row.oom_kills for row in rows),
    }
