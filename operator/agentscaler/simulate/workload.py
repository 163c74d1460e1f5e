"""What one seed draws from a trace: the same requests, services, memory, failures and start-ups for every policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, log
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from agentscaler.simulate.model import Z90, Z95, ServiceModel, StartUp, Variant, _normal
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.state import Floats
from agentscaler.simulate.trace import agent_call_seconds

DAY_SECONDS = 86_400.0
BLOCK_TOKENS = 512.0
STARTS = 4096
"""Start-up draws; the n-th start of a run takes the n-th one."""
POOL_MEDIAN_SECONDS, POOL_P95_SECONDS, POOL_P99_SECONDS = 6.1, 28.0, 60.0
"""Of the measured calls, for a machine without the trace collection."""


@dataclass(frozen=True, slots=True, eq=False)
class Outages:
    """When the provider fails, and which share of the calls sent then."""

    begin: Floats
    end: Floats
    share: Floats

    def share_at(self, times: Floats) -> Floats:
        """Share of failing calls at these times."""
        if len(self.begin) == 0:
            return np.zeros(len(times))
        at = np.searchsorted(self.begin, times, side="right") - 1
        inside = (at >= 0) & (times < self.end[at])
        return np.where(inside, self.share[at], 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Requests with all their draws. Arrays have one entry for each request."""

    name: str
    seed: int
    duration_seconds: float
    requests: dict[str, Any]
    """Fields of the kernel's state by name; read-only for all runs, which share them."""
    outages: Outages
    start_up: Floats
    phase: float
    """Of decisions and scrapes against the trace, 0..1."""

    def __len__(self) -> int:
        return len(self.requests["arrival"])

    def held_seconds(self, model: ServiceModel) -> Floats:
        """How long each request holds its worker when it is sent the moment it arrives."""
        requests = self.requests
        if len(self.outages.begin) == 0:
            service: Floats = requests["service"]
            return service
        failed = np.where(requests["kind_draw"] < 0.5, model.error_after_seconds, model.hang_after_seconds)
        return np.where(requests["doomed"] == 1, failed, requests["service"])

    def first_replicas(self, model: ServiceModel) -> int:
        """Pods that stand ready at the start: 1.3 times the load offered in the first five minutes."""
        until = min(model.first_window_seconds, self.duration_seconds)
        early = self.requests["arrival"] < until
        offered = float(self.held_seconds(model)[early].sum()) / until
        return max(1, ceil(model.first_headroom * offered / model.workers))


def draw(trace: Trace, variant: Variant, seed: int, calls: Floats | None = None) -> Workload:
    """The workload of a trace under one seed.

    Args:
        trace: what comes in. Rate traces differ from seed to seed themselves.
        variant: laws of memory and start-up, and whether there are outages.
        seed: everything is determined by it and by the trace's name; each quantity has a stream of its own.
        calls: durations to draw from where the trace has neither durations nor tokens; None: as many log-normal ones.
    """
    model, n = variant.model, len(trace)

    def stream(number: int) -> np.random.Generator:
        return np.random.default_rng([seed, crc32(trace.name.encode()), number])

    arrival = np.ascontiguousarray(trace.arrivals_seconds, dtype=np.float64)
    service = _service(trace, model, stream(1), calls)
    fail = stream(4).random(n)
    outages = _outages(trace.duration_seconds, model, stream(6)) if variant.outages else _no_outages()
    tokens = np.zeros(n)
    if trace.input_tokens is not None and trace.output_tokens is not None:
        tokens = trace.input_tokens + trace.output_tokens
    requests = {
        "arrival": arrival,
        "service": service,
        "reply": _first_reply(trace, service),
        "peak": model.peaks(stream(2).random(n), variant.memory),
        "peak_start": (1.0 - model.peak_share) * stream(3).random(n),
        "cores": model.cores(stream(5).random(n)),
        "fail_draw": fail,
        "kind_draw": stream(7).random(n),
        "tokens": np.ascontiguousarray(tokens, dtype=np.float64),
        **_looked_up(trace),
        "doomed": (fail < outages.share_at(arrival)).astype(np.uint8),
    }
    return Workload(
        name=trace.name,
        seed=seed,
        duration_seconds=trace.duration_seconds,
        requests=requests,
        outages=outages,
        start_up=_start_ups(variant, stream(8)),
        phase=float(stream(9).random()),
    )


@cache
def measured_calls(folder: Path) -> Floats | None:
    """Durations of measured model calls; None without the trace collection."""
    return agent_call_seconds(folder) if (folder / "agent_calls.csv.gz").exists() else None


def _service(trace: Trace, model: ServiceModel, rng: np.random.Generator, calls: Floats | None) -> Floats:
    n = len(trace)
    if trace.service_seconds is not None:
        return np.maximum(np.ascontiguousarray(trace.service_seconds, dtype=np.float64), 0.05)
    if trace.input_tokens is not None and trace.output_tokens is not None:
        cached = np.zeros(n) if trace.cached_tokens is None else trace.cached_tokens
        mean = model.call_seconds(trace.input_tokens - cached, cached, trace.output_tokens)
        held: Floats = mean * np.exp(model.call_sigma * rng.standard_normal(n) - model.call_sigma**2 / 2)
        return held
    if calls is not None:
        drawn: Floats = np.maximum(rng.choice(calls, n), 0.05)
        return drawn
    z = _normal(rng.random(n))
    points = np.log([POOL_MEDIAN_SECONDS, POOL_P95_SECONDS, POOL_P99_SECONDS])
    tail = np.interp(z, [0.0, Z95, 2.3263], points)
    return np.exp(np.where(z < 0, points[0] + z * (points[1] - points[0]) / Z95, tail))


def _looked_up(trace: Trace) -> dict[str, Any]:
    """What each request asks a cache for: the blocks of its prompt, or its session."""
    n = len(trace)
    given = np.zeros(n) if trace.input_tokens is None else np.ascontiguousarray(trace.input_tokens, dtype=np.float64)
    if trace.blocks is not None:
        items = [trace.blocks.of(i) for i in range(n)]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in items])])
        return {
            "input_tokens": given,
            "base_cached": np.zeros(n),
            "item_offsets": offsets.astype(np.int64),
            "items": np.concatenate(items).astype(np.int64),
            "item_tokens": np.full(n, BLOCK_TOKENS),
        }
    cached = np.zeros(n) if trace.cached_tokens is None else np.asarray(trace.cached_tokens, dtype=np.float64)
    session = np.empty(0, np.int64) if trace.session is None else np.asarray(trace.session, dtype=np.int64)
    return {
        "input_tokens": given,
        "base_cached": cached,
        "item_offsets": np.arange(n + 1, dtype=np.int64) if len(session) else np.zeros(n + 1, np.int64),
        "items": session,
        "item_tokens": cached,
    }


def _first_reply(trace: Trace, service: Floats) -> Floats:
    """When the provider has answered the first call of a run: a task of many calls learns of an outage early."""
    if trace.service_seconds is None or trace.session is None:
        return service
    return np.minimum(service, POOL_MEDIAN_SECONDS)


def _start_ups(variant: Variant, rng: np.random.Generator) -> Floats:
    model = variant.model
    if variant.startup is StartUp.FIXED:
        given = variant.start_up_seconds
        return np.full(STARTS, model.fixed_start_up_seconds if given is None else given)
    median = model.start_up_median_seconds if variant.start_up_seconds is None else variant.start_up_seconds
    sigma = log(model.start_up_p95_seconds / model.start_up_median_seconds) / Z95
    return median * np.exp(sigma * rng.standard_normal(STARTS))


def _no_outages() -> Outages:
    return Outages(np.empty(0), np.empty(0), np.empty(0))


def _outages(duration: float, model: ServiceModel, rng: np.random.Generator) -> Outages:
    """Three a day, each in its own part of the time; one in a shorter trace, of at most a quarter of it."""
    number = max(1, round(model.outages_per_day * duration / DAY_SECONDS))
    sigma = log(model.outage_p90_seconds / model.outage_median_seconds) / Z90
    lengths = model.outage_median_seconds * np.exp(sigma * rng.standard_normal(number))
    part = duration / number
    most = model.outage_most_seconds
    if duration < DAY_SECONDS:
        most = min(most, model.outage_most_share * duration)
    lengths = np.minimum(lengths, min(most, part))
    begin = part * np.arange(number) + rng.random(number) * (part - lengths)
    share = np.array(model.outage_failing_shares)[rng.integers(0, len(model.outage_failing_shares), number)]
    return Outages(begin, begin + lengths, share)
