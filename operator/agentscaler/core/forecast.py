"""The rate of arrivals when an order placed now takes effect: several simple forecasts, weighed by their own errors.

Nobody exports arrivals. They follow from what flows: what came within a window is what ended in it and what the work
in the system (running and queued) grew by. Unlike the rate of what ended, it does not lag by a run's duration, and a
backlog does not hide it.
"""

from __future__ import annotations

from bisect import bisect_left
from math import exp

from agentscaler.core.memory import Forecast, Foresight, Sample
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.values import replace

WINDOWS = (
    (60.0, SignalName.REQUEST_RATE_60),
    (120.0, SignalName.REQUEST_RATE_120),
    (300.0, SignalName.REQUEST_RATE_300),
    (600.0, SignalName.REQUEST_RATE_600),
)
KEPT_SECONDS = 620.0
SCRAPES_APART_SECONDS = 20.0
"""How far the sample that a window begins with may stand from its begin."""
SCORED_AFTER_SECONDS = 360.0
"""Before that most windows are not full, and their errors say nothing."""
MOMENT_SECONDS = 15.0
MEMORY_SECONDS = 660.0
"""For so long a forecast's error counts against it."""
SCORED_WITHIN_SECONDS = 60.0
"""A forecast that came due in a gap longer than this is not judged by what is there after it."""
TOO_LOW = 2.5
"""An error that leaves work without a worker counts so many times as much as one that leaves a worker without work."""
SHARPNESS = 3.0
LEAST_RATIO, MOST_RATIO = 0.3, 2.0
"""A forecast stays within these multiples of the present rate."""
TREND_DAMPING = 0.5
NOISE = 0.02
"""Relative error that tells two forecasts apart no more."""


def foresee(foresight: Foresight, observation: Observation, now: float, *, lead_seconds: float) -> Foresight:
    """Take in one tick: the work in the system, this tick's forecasts, and the errors of those that have come due."""
    busy = observation.value(SignalName.IN_FLIGHT)
    ended = observation.value(SignalName.REQUEST_RATE_60)
    if busy is None or ended is None:
        return foresight
    observed_at = observation.signal(SignalName.IN_FLIGHT).observed_at or observation.evaluated_at
    work = tuple(s for s in foresight.work if observed_at - KEPT_SECONDS < s.at < observed_at)
    work = (*work, Sample(observed_at, busy + (observation.value(SignalName.QUEUE_DEPTH) or 0.0)))
    latest = tuple(s for s in foresight.ended if observed_at - MOMENT_SECONDS <= s.at < observed_at)
    foresight = replace(foresight, work=work, ended=(*latest, Sample(observed_at, ended)))
    rates = arrival_rates(foresight, observation)
    guesses = _guesses(rates, lead_seconds)
    if not guesses:
        return foresight
    errors = foresight.errors if len(foresight.errors) == len(guesses) else (0.0,) * len(guesses)
    due = [f for f in foresight.pending if 0 <= now - f.at - lead_seconds <= SCORED_WITHIN_SECONDS]
    waiting = tuple(f for f in foresight.pending if now - lead_seconds < f.at < now)
    for forecast in due:
        if len(forecast.rates) == len(guesses) and work[-1].at - work[0].at >= SCORED_AFTER_SECONDS:
            fade = exp(-max(now - foresight.scored_at, 0.0) / MEMORY_SECONDS) if foresight.scored_at else 0.0
            errors = tuple(
                fade * error + (1 - fade) * _badness(guess, rates[0])
                for error, guess in zip(errors, forecast.rates, strict=True)
            )
            foresight = replace(foresight, scored_at=now)
    return replace(foresight, errors=errors, pending=(*waiting, Forecast(now, guesses)))


def arrival_rates(foresight: Foresight, observation: Observation) -> tuple[float, ...]:
    """Arrivals per second over each of `WINDOWS`; a window that is not known repeats the one before.

    One that is not full counts what came as if it had come in all of it. It may raise the rate, and is no sign of a
    fall or of a trend.
    """
    since = foresight.since
    history = observation.evaluated_at - since if since is not None else 0.0
    rates: list[float] = []
    for window, name in WINDOWS:
        ended = observation.value(name)
        if ended is None:
            if not rates:
                return ()
            rates.append(rates[-1])
            continue
        rate = max(ended + _growth(foresight.work, window), 0.0)
        rates.append(max(rate, rates[-1]) if rates and history < window else rate)
    return tuple(rates)


def arrival_rate(foresight: Foresight, observation: Observation, lead_seconds: float) -> float | None:
    """Arrivals per second at the lead time; None when not even the last minute is known."""
    guesses = _guesses(arrival_rates(foresight, observation), lead_seconds)
    if not guesses:
        return None
    errors = foresight.errors if len(foresight.errors) == len(guesses) else (0.0,) * len(guesses)
    weights = [(error + NOISE**2) ** -SHARPNESS for error in errors]
    return float(sum(w * g for w, g in zip(weights, guesses, strict=True)) / sum(weights))


def rate_of_this_moment(foresight: Foresight, passing: float) -> float:
    """Arrivals per second over the last scrapes: what passes now, and what the work in the system grows by.

    Too noisy to plan by, and the first to tell a burst. `passing` is what the busy workers pass if runs take as long as
    ever. Where fewer end, they hang: that is no burst.
    """
    return max(min(passing, _ended_now(foresight.ended)) + _growth(foresight.work, MOMENT_SECONDS), 0.0)


def _ended_now(ended: tuple[Sample, ...]) -> float:
    """Runs per second that ended between the last scrapes; infinite where that is not known.

    From one scrape to the next the rate of a minute gains what ended between them, and loses what ended a minute ago,
    about as much as it says. The most of several steps counts: few runs end in one of them.
    """
    minute = WINDOWS[0][0]
    *earlier, last = ended or (Sample(0.0, 0.0),)
    return max(
        (first.value + (last.value - first.value) * minute / (last.at - first.at) for first in earlier),
        default=float("inf"),
    )


def _growth(work: tuple[Sample, ...], window: float) -> float:
    """By how much the work in the system grew per second over a window; 0 where its begin is not known."""
    if not work:
        return 0.0
    last, begin = work[-1], work[-1].at - window
    after = bisect_left(work, begin, key=_time)
    near = work[max(after - 1, 0) : after + 1]
    first = min(near, key=lambda sample: abs(sample.at - begin))
    if first.at >= last.at or abs(first.at - begin) > SCRAPES_APART_SECONDS:
        return 0.0
    return (last.value - first.value) / (last.at - first.at)


def _time(sample: Sample) -> float:
    return sample.at


def _guesses(rates: tuple[float, ...], lead_seconds: float) -> tuple[float, ...]:
    """The forecasts: what was, over four windows, and two damped trends."""
    if not rates:
        return ()
    minute, two, five, _ = rates
    ahead = lead_seconds + WINDOWS[0][0] / 2
    trends = (
        minute + TREND_DAMPING * 0.5 * (minute - two) / 30.0 * ahead,
        minute + TREND_DAMPING * (minute - five) / 120.0 * ahead,
    )
    low, high = LEAST_RATIO * minute, MOST_RATIO * minute
    return tuple(min(max(rate, low), high) for rate in (*rates, *trends))


def _badness(guess: float, actual: float) -> float:
    """Relative squared error, 1 at most for a guess that is too high, whatever has stopped."""
    relative = (guess - actual) / max(guess, actual, 1e-3)
    return relative * relative * (TOO_LOW if relative < 0 else 1.0)
