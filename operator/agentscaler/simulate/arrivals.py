"""Times of single requests out of rates and counts, by a seeded generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentscaler.simulate.tracefile import Floats


def poisson(rates_per_second: Floats, step_seconds: float, rng: np.random.Generator) -> Floats:
    """Arrivals of a Poisson process whose rate is constant within each step."""
    return spread(rng.poisson(rates_per_second * step_seconds), step_seconds, rng)


def spread(counts: NDArray[np.int64], step_seconds: float, rng: np.random.Generator) -> Floats:
    """So many arrivals in each step, each at a random moment of it."""
    starts = np.repeat(np.arange(len(counts), dtype=np.float64) * step_seconds, counts)
    times: Floats = starts + step_seconds * rng.random(len(starts))
    times.sort()
    return times


def scaled_counts(counts: Floats, scale: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each counted request kept with probability `scale`; above 1 the whole part copies, the rest is drawn."""
    whole, rest = divmod(scale, 1.0)
    exact = np.round(counts).astype(np.int64)
    copies = exact * int(whole)
    if rest > 0.0:
        copies = copies + rng.binomial(exact, rest)
    return copies


def gamma(rates_per_second: Floats, cvs: Floats, step_seconds: float, rng: np.random.Generator) -> Floats:
    """Arrivals with Gamma gaps: the mean follows the rate, the spread of the gaps the coefficient of variation.

    The process runs in operational time (the integral of the rate), so that a gap that crosses into the next step goes
    on at that step's rate.
    """
    expected = rates_per_second * step_seconds
    out: list[Floats] = []
    position = 0.0  # operational time from this step's start to the next arrival
    for index, (amount, cv) in enumerate(zip(expected.tolist(), cvs.tolist(), strict=True)):
        if position >= amount:
            position -= amount
            continue
        shape = 1.0 / (cv * cv) if cv > 0.0 else 0.0
        chunk = int((amount - position) + 6.0 * cv * np.sqrt(amount + 1.0)) + 16
        last, inside = position, [np.array([position])]
        while last < amount:
            gaps = rng.gamma(shape, cv * cv, chunk) if shape else np.ones(chunk)
            ends = last + np.cumsum(gaps)
            inside.append(ends[ends < amount])
            beyond = ends[ends >= amount]
            last = float(beyond[0]) if len(beyond) else float(ends[-1])
        position = last - amount
        out.append((index + np.concatenate(inside) / amount) * step_seconds)
    return np.concatenate(out) if out else np.empty(0)


def thinned(
    count: int, scale: float, rng: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Indices of the requests to keep, some of them several times where `scale` is above 1.

    Requests of one group (a session) are kept or dropped together.
    """
    if groups is None:
        keep = scaled_counts(np.ones(count), scale, rng)
    else:
        names, member = np.unique(groups, return_inverse=True)
        keep = scaled_counts(np.ones(len(names)), scale, rng)[member]
    return np.repeat(np.arange(count), keep)
