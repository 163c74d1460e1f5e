"""The service that is simulated: constants of the control benchmark, and what its variants change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, log

import numpy as np

from agentscaler.core.settings import Breaker
from agentscaler.simulate.state import Floats

MEGABYTE = 1e6
GIBIBYTE = 2**30
RESILIENCE4J = Breaker(
    failure_rate_threshold_percent=50,
    wait_duration_in_open_state_seconds=60,
    sliding_window_seconds=0,
    minimum_number_of_calls=100,
    permitted_calls_in_half_open_state=10,
)
"""Its defaults. Its window counts calls (the last 100), which 0 seconds stand for."""


class Workers(StrEnum):
    """Whether the worker limit may move."""

    FROZEN = "frozen"
    FREE = "free"


class MemoryLaw(StrEnum):
    """How much memory a run takes at its peak."""

    TYPICAL = "typical"
    HEAVY = "heavy"
    """Coding agents that compile and test."""


class StartUp(StrEnum):
    """How long a pod takes to become ready."""

    FIXED = "fixed"
    LOGNORMAL = "lognormal"


class Queue(StrEnum):
    """Where requests wait."""

    SHARED = "shared"
    """One queue of the deployment; a free worker of the least loaded pod takes the next request."""
    POD = "pod"
    """Each pod has its own; a new request joins the least loaded pod."""


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """Constants of the service. Those with an origin in measured data say so; the others are assumptions."""

    workers: int = 8
    """Of one pod, unless a policy moves them."""
    late_after_seconds: float = 5.0
    give_up_after_seconds: float = 60.0
    grace_seconds: float = 120.0
    """A pod that leaves finishes its runs for so long; then they are lost."""
    delivery_seconds: float = 3.0
    """Until changed settings are in force in all pods."""
    base_mb: float = 150.0
    run_mb: float = 210.0
    """Measured: median over runs."""
    peak_share: float = 0.1
    """Of a run's time that it stands at its peak."""
    peak_median_mb: float = 291.0
    peak_p90_mb: float = 441.0
    typical_most_mb: float = 1000.0
    heavy_p99_mb: float = 2050.0
    heavy_most_mb: float = 4060.0
    heavy_most_quantile_z: float = 3.09
    """The heavy law reaches its maximum at this standard normal quantile (99.9 %)."""
    cpu_median_cores: float = 0.09
    cpu_sigma: float = 0.85
    """With the median it gives the measured mean of 0.13 and p99 of 0.65."""
    cpu_mean_cores: float = 0.13
    cpu_limit_cores: float = 4.0
    fixed_start_up_seconds: float = 30.0
    start_up_median_seconds: float = 25.0
    start_up_p95_seconds: float = 60.0
    call_base_seconds: float = 1.240
    call_per_output_token: float = 0.01488
    call_per_1000_new_tokens: float = 0.0301
    call_per_1000_cached_tokens: float = 0.0144
    call_sigma: float = 0.27
    """Observed over fitted call time; log-normal of mean 1."""
    error_after_seconds: float = 1.0
    hang_after_seconds: float = 30.0
    throttled_after_seconds: float = 0.5
    outages_per_day: float = 3.0
    outage_median_seconds: float = 74 * 60.0
    outage_p90_seconds: float = 301 * 60.0
    outage_most_seconds: float = 60 * 60.0
    outage_most_share: float = 0.25
    """Of a trace shorter than a day, that one outage may cover."""
    outage_failing_shares: tuple[float, float, float] = (0.1, 0.3, 1.0)
    """Of the calls, by level of the incident."""
    first_window_seconds: float = 300.0
    first_headroom: float = 1.3

    def peaks(self, uniform: Floats, law: MemoryLaw) -> Floats:
        """Memory of runs at their peak, whole megabytes, for uniform draws."""
        z = _normal(uniform)
        sigma = log(self.peak_p90_mb / self.peak_median_mb) / Z90
        logs = log(self.peak_median_mb) + sigma * z
        most = self.typical_most_mb
        if law is MemoryLaw.HEAVY:
            points = (Z90, Z99, self.heavy_most_quantile_z)
            values = np.log([self.peak_p90_mb, self.heavy_p99_mb, self.heavy_most_mb])
            logs = np.where(z > Z90, np.interp(z, points, values), logs)
            most = self.heavy_most_mb
        return np.round(np.clip(np.exp(logs), self.run_mb, most))

    def cores(self, uniform: Floats) -> Floats:
        """CPU of runs."""
        return np.exp(log(self.cpu_median_cores) + self.cpu_sigma * _normal(uniform))

    def call_seconds(self, fresh: Floats, cached: Floats, output: Floats) -> Floats:
        """Mean duration of calls with so many new and cached input tokens and output tokens."""
        return (
            self.call_base_seconds
            + self.call_per_output_token * output
            + self.call_per_1000_new_tokens * fresh / 1000
            + self.call_per_1000_cached_tokens * cached / 1000
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """What differs between the cells of the benchmark."""

    workers: Workers = Workers.FROZEN
    memory: MemoryLaw = MemoryLaw.TYPICAL
    startup: StartUp = StartUp.FIXED
    outages: bool = False
    scrape_seconds: float = 15.0
    memory_limit_bytes: int = 6 * GIBIBYTE
    start_up_seconds: float | None = None
    """Of the fixed law, or the median of the other; None: the model's."""
    queue: Queue = Queue.SHARED
    cache_bytes: int = 0
    """Cache of each pod at the start; 0: caches are not simulated."""
    cache_item_mb: float = 0.065536
    """One block of 512 tokens of a prompt (64 KiB), or one session."""
    sticky: bool = False
    """A run goes to the pod that holds its session or its first block, if that has a free worker."""
    calls_per_minute: float = inf
    """The provider's limit; what goes beyond is answered 429."""
    tokens_per_minute: float = inf
    model: ServiceModel = ServiceModel()

    def with_workers(self, workers: int) -> Variant:
        """The same with another fixed worker limit."""
        return replace(self, model=replace(self.model, workers=workers))


Z90 = 1.2815515655446004
Z95 = 1.6448536269514722
Z99 = 2.3263478740408408
_GRID = np.linspace(-6.0, 6.0, 24001)
_AREA = np.concatenate([[0.0], np.cumsum((np.exp(-(_GRID[1:] ** 2) / 2) + np.exp(-(_GRID[:-1] ** 2) / 2)) / 2)])
_AREA /= _AREA[-1]


def _normal(uniform: Floats) -> Floats:
    """Standard normal quantiles by interpolation: the same draw gives the same value under every law."""
    return np.interp(uniform, _AREA, _GRID)
