"""Loads made by a rule, for runs without recorded traces and for questions that a recording does not ask.

Sizes are such that a service with calls of about ten seconds needs 5 to 10 replicas of 8 workers on average.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agentscaler.simulate import arrivals
from agentscaler.simulate.recording import Rates, Recording, Trace
from agentscaler.simulate.tracefile import Floats

HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
_CALL_MEDIAN_SECONDS = 6.1
_CALL_SIGMA = 0.93  # of the logarithm; with the median it gives the measured 95th percentile of 28 s


def step(
    *, low: float = 2.0, high: float = 8.0, at_seconds: int = 1200, duration_seconds: int = HOUR_SECONDS
) -> Floats:
    """`low` requests per second, and from `at_seconds` on `high`."""
    return np.where(np.arange(duration_seconds) < at_seconds, low, high)


def ramp(*, low: float = 2.0, high: float = 12.0, duration_seconds: int = 2 * HOUR_SECONDS) -> Floats:
    """Steady for a sixth of the time, then up to `high` over half of it, then steady again."""
    share = np.arange(duration_seconds) / duration_seconds
    return np.interp(share, [0.0, 1 / 6, 2 / 3, 1.0], [low, low, high, high])


def bursts(
    *, base: float = 4.0, peak: float = 12.0, length_seconds: int = 60, duration_seconds: int = 2 * HOUR_SECONDS
) -> Floats:
    """`base`, and at 12 moments in no order `peak` for `length_seconds`: the same moments in every run."""
    rates = np.full(duration_seconds, base)
    moments = np.random.default_rng(20_260).integers(300, duration_seconds - length_seconds, 12)
    for moment in moments:
        rates[moment : moment + length_seconds] = peak
    return rates


def diurnal(*, low: float = 2.0, high: float = 9.0, duration_seconds: int = DAY_SECONDS) -> Floats:
    """One day as a sine: lowest at its start, highest at its middle."""
    phase = 2.0 * np.pi * np.arange(duration_seconds) / DAY_SECONDS
    rates: Floats = low + (high - low) * (1.0 - np.cos(phase)) / 2.0
    return rates


def recurring(
    *,
    base: float = 0.8,
    peak: float = 16.0,
    period_seconds: int = 300,
    length_seconds: int = 30,
    duration_seconds: int = 2 * HOUR_SECONDS,
) -> Floats:
    """A low base, and a short burst every few minutes: new each time to a policy that forgets in two minutes."""
    return np.where(np.arange(duration_seconds) % period_seconds < period_seconds - length_seconds, base, peak)


SHAPES: dict[str, Callable[[], Floats]] = {
    "step": step,
    "ramp": ramp,
    "bursts": bursts,
    "diurnal": diurnal,
    "recurring": recurring,
}


def recording(name: str) -> Recording:
    """The synthetic load of this name, as if it came from a file of rates per second. Raises KeyError."""
    rates = Rates("rps", 1.0, SHAPES[name](), counted=False)
    return Recording(f"synthetic:{name}", (f"synthetic:{name}",), (rates,))


def trace(name: str, *, seed: int, scale: float = 1.0) -> Trace:
    """The requests that this seed draws. Raises KeyError for a name that is not in `SHAPES`."""
    return recording(name).trace(seed=seed, scale=scale)


def with_rate(name: str, rates_per_second: Floats, *, seed: int) -> Trace:
    """Poisson requests for any rate, one value for each second."""
    rng = np.random.default_rng([seed, 0x7ACE])
    return Trace(name, arrivals.poisson(rates_per_second, 1.0, rng), float(len(rates_per_second)))


def call_seconds(count: int, rng: np.random.Generator) -> Floats:
    """Durations of single model calls where no measured ones are at hand: log-normal, p50 6.1 s and p95 28 s."""
    return _CALL_MEDIAN_SECONDS * np.exp(_CALL_SIGMA * rng.standard_normal(count))
