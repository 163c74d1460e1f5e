"""A workload as it was recorded, and the requests that a seed draws from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from agentscaler.simulate import arrivals
from agentscaler.simulate.tracefile import Floats, TraceError

MOST_REQUESTS = 50_000_000
SESSION_DAY_SECONDS = 86_400.0  # sessions without a common clock start at random within so long a day

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The prompt blocks of requests: request i has the ranges `offsets[i]:offsets[i + 1]`, each first to last id."""

    offsets: Ints
    first: Ints
    last: Ints

    def of(self, index: int) -> Ints:
        """The block ids of one request, in order."""
        ranges = range(int(self.offsets[index]), int(self.offsets[index + 1]))
        return np.concatenate([np.arange(self.first[r], self.last[r] + 1) for r in ranges] or [np.empty(0, np.int64)])

    def take(self, indices: Ints) -> Blocks:
        """The blocks of these requests, in this order."""
        sizes = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.repeat(self.offsets[indices] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Blocks(offsets, self.first[rows], self.last[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in the order in which they come. All arrays have one entry for each request, or are None.

    Attributes:
        name: the file's stem, and the rate column where the file has several.
        arrivals_seconds: sorted, from 0 up to `duration_seconds`.
        duration_seconds: how long the recording lasts.
        service_seconds: how long each request holds a worker, where that was recorded.
        input_tokens: of the prompt, the repeated prefix included.
        cached_tokens: of the prompt, those that repeat a prefix if the session stays on its replica.
        output_tokens: of the answer.
        session: which session a request belongs to.
        blocks: prompt blocks for a cache that keeps blocks.
    """

    name: str
    arrivals_seconds: Floats
    duration_seconds: float
    service_seconds: Floats | None = None
    input_tokens: Floats | None = None
    cached_tokens: Floats | None = None
    output_tokens: Floats | None = None
    session: Ints | None = None
    blocks: Blocks | None = None

    def __len__(self) -> int:
        return len(self.arrivals_seconds)

    def take(self, indices: Ints) -> Trace:
        """The requests of these indices, in this order."""
        return replace(
            self,
            arrivals_seconds=self.arrivals_seconds[indices],
            service_seconds=_maybe(self.service_seconds, indices),
            input_tokens=_maybe(self.input_tokens, indices),
            cached_tokens=_maybe(self.cached_tokens, indices),
            output_tokens=_maybe(self.output_tokens, indices),
            session=None if self.session is None else self.session[indices],
            blocks=None if self.blocks is None else self.blocks.take(indices),
        )

    def first(self, seconds: float) -> Trace:
        """The beginning of the trace."""
        if seconds >= self.duration_seconds:
            return self
        until = int(np.searchsorted(self.arrivals_seconds, seconds))
        return replace(self.take(np.arange(until)), duration_seconds=seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """A recording of rates: `values` per second, or counted requests per step where `counted`."""

    name: str
    step_seconds: float
    values: Floats
    counted: bool
    cvs: Floats | None = None

    @property
    def expected_requests(self) -> float:
        """How many requests the recording stands for."""
        return float(self.values.sum()) * (1.0 if self.counted else self.step_seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A file that was read and found good; traces are drawn from it, one for each seed."""

    file: str
    names: tuple[str, ...]
    rates: tuple[Rates, ...] = ()
    requests: Trace | None = None
    jitter_seconds: float = 0.0
    sessions_drawn: bool = False

    def trace(self, *, seed: int, scale: float = 1.0, column: str | None = None) -> Trace:
        """The requests that this seed draws.

        Args:
            seed: the same seed gives the same requests.
            scale: 0.5 keeps half of the requests (whole sessions where the file knows them), 2 doubles them.
            column: which rate of the file; needed where it has several.

        Raises:
            TraceError: for a scale that leaves no request or too many, or a column that is not there.
        """
        if not (isfinite(scale) and scale > 0.0):
            raise TraceError(self.file, None, f"scale {scale:g} leaves no requests", "give a scale above 0")
        rng = np.random.default_rng([seed, 0x7ACE])
        if self.requests is not None:
            if column is not None:
                raise TraceError(self.file, 1, f"{column} is not a rate", "name no column: the file lists requests")
            self._not_too_many(len(self.requests) * scale)
            trace = self._requests(self.requests, scale, rng)
        else:
            trace = self._rates(self._column(column), scale, rng)
        if len(trace) == 0:
            raise TraceError(self.file, None, f"zero requests at scale {scale:g}", "raise the scale or give more load")
        return trace

    def traces(self, *, seed: int, scale: float = 1.0) -> Iterator[Trace]:
        """One trace for each rate column, or the one trace of a file of requests."""
        for rates in self.rates:
            yield self.trace(seed=seed, scale=scale, column=rates.name)
        if self.requests is not None:
            yield self.trace(seed=seed, scale=scale)

    def _column(self, column: str | None) -> Rates:
        if column is None and len(self.rates) == 1:
            return self.rates[0]
        for rates in self.rates:
            if rates.name == column:
                return rates
        have = ", ".join(rates.name for rates in self.rates)
        problem = "the file has several rates" if column is None else f"no rate is called {column}"
        raise TraceError(self.file, 1, problem, f"name one of {have}")

    def _rates(self, rates: Rates, scale: float, rng: np.random.Generator) -> Trace:
        self._not_too_many(rates.expected_requests * scale)
        step = rates.step_seconds
        if rates.cvs is not None:
            times = arrivals.gamma(rates.values * scale, rates.cvs, step, rng)
        elif rates.counted:
            times = arrivals.spread(arrivals.scaled_counts(rates.values, scale, rng), step, rng)
        else:
            times = arrivals.poisson(rates.values * scale, step, rng)
        name = self.names[self.rates.index(rates)]
        return Trace(name, times, step * len(rates.values))

    def _requests(self, trace: Trace, scale: float, rng: np.random.Generator) -> Trace:
        if self.sessions_drawn and trace.session is not None:
            trace = _start_sessions(trace, rng)
        if scale != 1.0:
            trace = trace.take(arrivals.thinned(len(trace), scale, rng, trace.session))
        if self.jitter_seconds > 0.0:
            moved = trace.arrivals_seconds + self.jitter_seconds * rng.random(len(trace))
            trace = replace(
                trace, arrivals_seconds=moved, duration_seconds=trace.duration_seconds + self.jitter_seconds
            )
        return trace.take(np.argsort(trace.arrivals_seconds, kind="stable"))

    def _not_too_many(self, requests: float) -> None:
        if requests > MOST_REQUESTS:
            problem = f"{requests:.3g} requests are more than {MOST_REQUESTS:.0e}"
            raise TraceError(
                self.file, None, problem, f"use a scale of at most {MOST_REQUESTS / requests:.2g} of this one"
            )


def _start_sessions(trace: Trace, rng: np.random.Generator) -> Trace:
    """Starts drawn over the day; what runs past midnight comes at the day's beginning, so that no hour is thin."""
    assert trace.session is not None
    _, member = np.unique(trace.session, return_inverse=True)
    starts = SESSION_DAY_SECONDS * rng.random(int(member.max()) + 1)
    moved = np.mod(starts[member] + trace.arrivals_seconds, SESSION_DAY_SECONDS)
    return replace(trace, arrivals_seconds=moved)


def _maybe(values: Floats | None, indices: Ints) -> Floats | None:
    return None if values is None else values[indices]
