"""Loads of other natures than the traces: burstier, and with none of them was any constant ever chosen.

Each is six hours long and needs some 3 to 8 replicas on average; the moments of its bursts differ from seed to seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from math import log
from pathlib import Path
from zlib import crc32

import numpy as np

from agentscaler.simulate import arrivals
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.state import Floats

HOURS = 6
SECONDS = HOURS * 3600
MADE_BY = sha256(Path(__file__).read_bytes()).hexdigest()[:16]
Draw = np.random.Generator


def on_off(rng: Draw) -> Floats:
    """Work for 3 minutes on average at 8 to 16 requests a second, then quiet for a time with a heavy tail."""
    rates, at = np.full(SECONDS, 0.3), 0.0
    while at < SECONDS:
        at += min(60.0 * (1.0 + rng.pareto(1.3)), 3600.0)
        length = 30.0 + rng.exponential(150.0)
        rates[int(at) : int(at + length)] = rng.uniform(8.0, 16.0)
        at += length
    return rates


def flash_crowds(rng: Draw) -> Floats:
    """2 requests a second; every 40 minutes on average eight times as many within 10 s, which fade within minutes."""
    rates, at, seconds = np.full(SECONDS, 2.0), rng.exponential(1200.0), np.arange(SECONDS)
    while at < SECONDS:
        since = seconds - at
        fade = rng.uniform(180.0, 600.0)
        crowd = np.where(since < 10.0, since / 10.0, np.exp(-np.maximum(since - 10.0, 0.0) / fade))
        rates += np.where(since > 0.0, 14.0 * crowd, 0.0)
        at += 600.0 + rng.exponential(1800.0)
    return rates


def cron(rng: Draw) -> Floats:
    """2 requests a second, every 5 minutes 120 more within 5 s, and every 15 minutes 480 more within 10 s."""
    rates, phase = np.full(SECONDS, 2.0), int(rng.integers(0, 300))
    for index, at in enumerate(range(phase, SECONDS, 300)):
        rates[at : at + 5] += 24.0
        if index % 3 == 0:
            rates[at : at + 10] += 48.0
    return rates


def modulated(rng: Draw) -> Floats:
    """A Markov chain over 1, 5 and 20 requests a second, which stays 5 minutes, 90 s and 30 s on average."""
    levels, stays = (1.0, 5.0, 20.0), (300.0, 90.0, 30.0)
    rates, at, state = np.empty(SECONDS), 0, 0
    while at < SECONDS:
        length = 1 + int(rng.exponential(stays[state]))
        rates[at : at + length] = levels[state]
        at += length
        state = int(rng.choice([other for other in range(3) if other != state]))
    return rates


def batches(rng: Draw) -> Floats:
    """1 request a second, and every minute on average a batch within 2 s: 30 or more, with a heavy tail to 1,500."""
    rates = np.ones(SECONDS)
    for at in np.flatnonzero(rng.random(SECONDS) < 1 / 60):
        rates[at : at + 2] += min(30.0 * (1.0 + rng.pareto(1.2)), 1500.0) / 2
    return rates


def levels(rng: Draw) -> Floats:
    """A rate anywhere between 1 and 16 on a logarithmic scale, another one every 12 minutes on average, at once."""
    rates, at = np.empty(SECONDS), 0
    while at < SECONDS:
        length = 1 + int(rng.exponential(720.0))
        rates[at : at + length] = np.exp(rng.uniform(0.0, log(16.0)))
        at += length
    return rates


def cascade(rng: Draw) -> Floats:
    """Bursts within bursts: the load of each span is split unevenly between its halves, from hours down to seconds."""
    rates = np.array([4.5])
    while len(rates) < SECONDS:
        share = rng.beta(3.5, 3.5, len(rates))
        rates = np.column_stack([2 * share * rates, 2 * (1 - share) * rates]).ravel()
    return rates[:SECONDS]


def fan_outs(rng: Draw) -> Floats:
    """Agent tasks (p50 82 s, p90 20 minutes): 0.04 a second, and every 20 minutes on average 20 to 120 at once."""
    rates, at = np.full(SECONDS, 0.04), rng.exponential(1200.0)
    while at < SECONDS:
        rates[int(at)] += rng.uniform(20.0, 120.0)
        at += rng.exponential(1200.0)
    return rates


MADE: dict[str, Callable[[Draw], Floats]] = {
    each.__name__: each for each in (on_off, flash_crowds, cron, modulated, batches, levels, cascade, fan_outs)
}


@dataclass(frozen=True, slots=True)
class Nature:
    """A load made by a rule with a draw in it."""

    name: str
    made_by: str = MADE_BY
    """Of this file: cells are kept under it."""

    def trace(self, seed: int) -> Trace:
        """What this seed draws."""
        rng = np.random.default_rng([seed, crc32(self.name.encode()), 0x7ACE])
        times = arrivals.poisson(MADE[self.name](rng), 1.0, rng)
        service = None
        if self.name == fan_outs.__name__:
            z = rng.standard_normal(len(times))
            service = np.clip(82.0 * np.exp(z * log(1166 / 82) / 1.2816), 2.0, 3600.0)
        return Trace(self.name, times, float(SECONDS), service_seconds=service)


NATURES = tuple(Nature(name) for name in MADE)


def dispersion(trace: Trace, window_seconds: float = 60.0) -> float:
    """How much requests of neighbouring windows differ: their variance over their mean, 1 for Poisson."""
    edges = np.arange(0.0, trace.duration_seconds + window_seconds, window_seconds)
    counts = np.histogram(trace.arrivals_seconds, edges)[0][: int(trace.duration_seconds // window_seconds)]
    return float(np.square(np.diff(counts)).mean() / 2.0 / counts.mean())
