"""Lines over time out of the load's records and the world's samples. Times are seconds since the first phase."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TypeVar

from e2e.demo.judge import is_late
from e2e.demo.world import AgentSample, Delivered, Size, UpstreamSample
from e2e.harness.load_generator import Record

STEP_SECONDS = 2.0
WAIT_STEP_SECONDS = 5.0
"""A quantile of the runs of a second or two says little."""

E = TypeVar("E", Size, Delivered)


@dataclass(frozen=True)
class Line:
    """Values at times. None: nothing is known from there on."""

    x: tuple[float, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True)
class Clock:
    """The time of a demo."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began

    def since(self, at: float) -> float:
        """Seconds since the begin, to a hundredth."""
        return round(at - self.began, 2)

    def steps(self, seconds: float) -> tuple[float, ...]:
        """Begins of steps of this length."""
        return tuple(seconds * n for n in range(ceil(self.seconds / seconds)))


def per_second(clock: Clock, times: Iterable[float]) -> Line:
    """How many of these events there were a second."""
    steps = clock.steps(STEP_SECONDS)
    counts = [0] * len(steps)
    for at in times:
        if clock.began <= at < clock.ended:
            counts[int((at - clock.began) / STEP_SECONDS)] += 1
    return Line(steps, tuple(count / STEP_SECONDS for count in counts))


def in_system(clock: Clock, records: Sequence[Record]) -> Line:
    """Runs that were asked for and had no answer yet."""
    sent = sorted(record.sent_at for record in records)
    answered = sorted(record.finished_at for record in records)
    steps = clock.steps(STEP_SECONDS)
    at = [clock.began + step for step in steps]
    return Line(steps, tuple(float(bisect_right(sent, t) - bisect_right(answered, t)) for t in at))


def waits(
    clock: Clock,
    records: Iterable[Record],
    quantile: float,
    target_seconds: float,
    ill: Sequence[tuple[float, float]],
) -> tuple[Line, Line]:
    """The quantile of the queue wait in seconds, and the late runs in percent, by when the runs were asked for."""
    steps = clock.steps(WAIT_STEP_SECONDS)
    within: list[list[Record]] = [[] for _ in steps]
    for record in records:
        if clock.began <= record.sent_at < clock.ended:
            within[int((record.sent_at - clock.began) / WAIT_STEP_SECONDS)].append(record)
    told = [sorted(r.queue_wait_seconds for r in group if r.queue_wait_seconds is not None) for group in within]
    high = tuple(each[ceil(quantile * len(each)) - 1] if each else None for each in told)
    late = [sum(is_late(record, target_seconds, ill) for record in group) for group in within]
    shares = (100 * n / len(group) if group else None for n, group in zip(late, within, strict=True))
    return Line(steps, high), Line(steps, tuple(shares))


def held(clock: Clock, entries: Sequence[E], value: Callable[[E], float | None]) -> Line:
    """What stood in the API server: each value holds until the next, the last to the end."""
    first = max(0, sum(entry.at <= clock.began for entry in entries) - 1)  # which stood at the begin
    until = sum(entry.at <= clock.ended for entry in entries)
    points = [(max(0.0, clock.since(entry.at)), value(entry)) for entry in entries[first:until]]
    if points:
        points.append((clock.since(clock.ended), points[-1][1]))
    return Line(tuple(x for x, _ in points), tuple(y for _, y in points))


def among_agents(clock: Clock, agents: Iterable[AgentSample], value: Callable[[Sequence[AgentSample]], float]) -> Line:
    """What the agents said of themselves in each step, made one number."""
    steps = clock.steps(STEP_SECONDS)
    within: list[list[AgentSample]] = [[] for _ in steps]
    for sample in agents:
        if clock.began <= sample.at < clock.ended:
            within[int((sample.at - clock.began) / STEP_SECONDS)].append(sample)
    return Line(steps, tuple(value(group) if group else None for group in within))


def open_breakers(samples: Sequence[AgentSample]) -> float:
    """Pods whose breaker was not closed at their last word."""
    last = {sample.pod: sample.breaker_state for sample in samples}
    return float(sum(state > 0 for state in last.values()))


def calls(clock: Clock, samples: Sequence[UpstreamSample]) -> tuple[Line, Line]:
    """Calls to the provider a second, and those of them that ended in vain."""
    pairs = [(a, b) for a, b in pairwise(samples) if b.at > a.at and clock.began <= a.at < clock.ended]
    x = tuple(clock.since(a.at) for a, _ in pairs)
    sent = tuple((b.calls - a.calls) / (b.at - a.at) for a, b in pairs)
    return Line(x, sent), Line(x, tuple((b.failed - a.failed) / (b.at - a.at) for a, b in pairs))
