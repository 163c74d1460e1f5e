"""The shape of agent work: how long a run takes and how much memory it holds.

All constants are measured values of real agent sessions, from ../shared/traces/README.md ("Model parameters") and the
medians of agent_calls in that folder. Seconds and bytes here are those of the real thing; the scales are applied last.
"""

from __future__ import annotations

import math
import random
import zlib
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate, pairwise

MEGABYTE = 1_000_000

# Duration of one LLM call: 1.240 + 0.01488 output + 0.0301 new/1000 + 0.0144 cached/1000, times a log-normal of 0.27.
BASE_SECONDS = 1.240
SECONDS_PER_OUTPUT_TOKEN = 0.01488
SECONDS_PER_NEW_TOKEN = 0.0301 / 1000
SECONDS_PER_CACHED_TOKEN = 0.0144 / 1000
DURATION_SIGMA = 0.27
# Tokens at their medians; the sigma of the output is fitted so that the duration comes out as measured (p50 6.1 s,
# p95 28 s, p99 60 s).
NEW_TOKENS = 710
CACHED_TOKENS = 98_752
OUTPUT_TOKENS_MEDIAN = 218
OUTPUT_TOKENS_SIGMA = 1.19
# Measured calls reach 233 s; what is longer than this is cut, so that a healthy provider never breaks a time-out.
LONGEST_SECONDS = 100.0

# Memory of one busy agent: p50 210 MB; its maximum p50 291, p90 441, p99 2,050, max 4,060 MB.
MEMORY_MEDIAN_BYTES = 210 * MEGABYTE
MEMORY_SIGMA = 0.15
PEAK_BYTES_AT = ((0.0, 210), (0.5, 291), (0.9, 441), (0.99, 2_050), (1.0, 4_060))

# What is cached: prompt results, popular ones far more often than others.
KEYS = 20_000
ZIPF_EXPONENT = 0.9
RESULT_MEDIAN_BYTES = 1_048_576
RESULT_SIGMA = 0.5
# Part of a run that a cached prompt result saves.
CACHEABLE_SHARE = 0.3


@dataclass(frozen=True)
class Job:
    """One run's work, scaled.

    Attributes:
        key: What the cacheable part depends on.
        context_seconds: Upstream time of the cacheable part.
        result_bytes: Size of what is cached.
        answer_seconds: Upstream time of each call that makes the answer.
        held_bytes: Memory held during the whole run.
        excursion_bytes: Memory held on top of it for a part of the run.
    """

    key: str
    context_seconds: float
    result_bytes: int
    answer_seconds: tuple[float, ...]
    held_bytes: int
    excursion_bytes: int


class Shape:
    """Draws jobs.

    Args:
        time_scale: Factor on every duration.
        memory_scale: Factor on every size.
        tail_quantile: Peaks of memory above this quantile are cut to it. The measured tail has a run in a hundred
            with ten times the memory, which no limit fit for the others survives.
        run_seconds: Every run takes so long, before the time scale, instead of a measured time; a cached result still
            saves its part.
        seed: For the same jobs in the same order.
    """

    def __init__(
        self,
        *,
        time_scale: float,
        memory_scale: float,
        tail_quantile: float = 0.9,
        run_seconds: float | None = None,
        seed: int | None = None,
    ) -> None:
        self._time_scale = time_scale
        self._memory_scale = memory_scale
        self._tail_quantile = tail_quantile
        self._run_seconds = run_seconds
        self._random = random.Random(seed)
        self._popularity = list(accumulate(rank**-ZIPF_EXPONENT for rank in range(1, KEYS + 1)))

    def draw(self, *, key: str | None = None, memory_factor: float = 1.0) -> Job:
        """One job; `key` and `memory_factor` (times the usual memory) are the caller's."""
        key = key if key is not None else self._popular_key()
        seconds = self.seconds() * self._time_scale
        peak_bytes = _peak_bytes(min(self._random.random(), self._tail_quantile))
        held_bytes = min(peak_bytes, MEMORY_MEDIAN_BYTES * self._random.lognormvariate(0, MEMORY_SIGMA))
        memory = self._memory_scale * memory_factor
        answers = 2 if self._random.random() < 0.3 else 1
        return Job(
            key=key,
            context_seconds=seconds * CACHEABLE_SHARE,
            result_bytes=int(_result_bytes(key) * self._memory_scale),
            answer_seconds=(seconds * (1 - CACHEABLE_SHARE) / answers,) * answers,
            held_bytes=int(held_bytes * memory),
            excursion_bytes=int((peak_bytes - held_bytes) * memory),
        )

    def seconds(self) -> float:
        """Duration of one run without a cached result, before the time scale."""
        if self._run_seconds is not None:
            return self._run_seconds
        output_tokens = OUTPUT_TOKENS_MEDIAN * self._random.lognormvariate(0, OUTPUT_TOKENS_SIGMA)
        seconds = (
            BASE_SECONDS
            + SECONDS_PER_OUTPUT_TOKEN * output_tokens
            + SECONDS_PER_NEW_TOKEN * NEW_TOKENS
            + SECONDS_PER_CACHED_TOKEN * CACHED_TOKENS
        )
        return min(LONGEST_SECONDS, seconds * self._random.lognormvariate(0, DURATION_SIGMA))

    def _popular_key(self) -> str:
        rank = bisect_left(self._popularity, self._random.random() * self._popularity[-1])
        return f"prompt-{rank}"


def _peak_bytes(quantile: float) -> float:
    """The maximum of memory at a quantile, log-linear between the measured ones."""
    for (low, low_megabytes), (high, high_megabytes) in pairwise(PEAK_BYTES_AT):
        if quantile <= high:
            share = (quantile - low) / (high - low)
            return math.exp((1 - share) * math.log(low_megabytes) + share * math.log(high_megabytes)) * MEGABYTE
    raise ValueError(f"{quantile} is no quantile")


def _result_bytes(key: str) -> float:
    # The same key has the same size every time and everywhere.
    return RESULT_MEDIAN_BYTES * random.Random(zlib.crc32(key.encode())).lognormvariate(0, RESULT_SIGMA)
