"""What holds for the service and not for the moment: start-up time, service time, the law of memory per run."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt

from agentscaler.core.memory import Learned, Moments
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.target import Target
from agentscaler.core.values import replace

HALF_LIFE_SECONDS = 3600.0
"""Of the decayed sums: an hour holds a few load levels, and a new image is learned within a few hours."""
TAIL_HALF_LIFE_SECONDS = 3600.0
"""Of the worst excess over the mean law (the tail)."""
SURPLUS_HALF_LIFE_SECONDS = 60.0
SURPLUS_DEVIATIONS = 3.0
"""Only what stands further above the law than chance explains, measured or that of runs that differ, is a change."""
LEAST_SAMPLES = 8.0
LEAST_SPREAD_RUNS = 0.4
"""Standard deviation of runs per pod below which a slope says nothing."""
LEAST_START_UP_SECONDS = 1.0
LONGEST_START_UP_SECONDS = 900.0
"""A pod that took longer has lost readiness and found it again: its Ready time is not that of its start."""
MEBIBYTE = 2**20
LEAST_RUN_BYTES = 1024.0
"""A slope below this is noise: no run lives in less."""


PRIOR = Learned()


@dataclass(frozen=True)
class MemoryLaw:
    """Memory of one pod without its cache: `base + runs * per_run + excess`, all bytes. `excess` is the tail seen."""

    base_bytes: float
    per_run_bytes: float
    excess_bytes: float
    learned: bool = True
    """False: only an upper bound, good for refusing growth, not for taking anything away."""
    surplus_bytes: float = 0.0
    """What a run holds now above `per_run_bytes`: longer contexts, or a leak."""
    headroom_bytes: float = 0.0
    """What the limit leaves above the memory objective, so far as the tail is known."""

    @property
    def tail_bytes(self) -> float:
        """What has to stay free below the objective for rare runs.

        What lies between objective and limit is there for them, but for a worse one than any seen: all of the tail
        stays below the objective, or as much as lets twice the tail stay below the limit.
        """
        return min(self.excess_bytes, max(2 * self.excess_bytes - self.headroom_bytes, 0.0))

    @property
    def present_bytes(self) -> float:
        """Memory of one run now."""
        return self.per_run_bytes + self.surplus_bytes

    def runs_that_fit(self, budget_bytes: float, cache_bytes: float, busy_level: int) -> int:
        """The most runs whose memory stays inside the budget beside the cache; may be below zero.

        The tail limits the reserve above `busy_level`, the runs that a pod is sized for; below it the mean
        law counts alone. The tail belongs to the worst pod of an hour: taken off every pod's budget it would throttle
        a whole service for one leak. Where the base alone fills the budget, fewer runs mend nothing: half remain.
        A surplus may be a leak, too: it takes no more than half of the busy level away.
        """
        room = budget_bytes - self.base_bytes - cache_bytes
        mean = int(room // self.per_run_bytes)
        if budget_bytes - self.base_bytes < self.per_run_bytes:
            mean = max(mean, busy_level // 2)
        now = max(int(room // self.present_bytes), min(mean, busy_level // 2))
        return max(int((room - self.tail_bytes) // self.present_bytes), min(mean, now, busy_level))

    def cache_beside(self, budget_bytes: float, runs: int, busy_level: int) -> int:
        """Bytes left for the cache beside `runs`, in whole mebibytes; may be below zero."""
        tail = self.tail_bytes if runs > busy_level else 0.0
        left = budget_bytes - self.base_bytes - runs * self.present_bytes - tail
        return int(left // MEBIBYTE) * MEBIBYTE


def learn(
    learned: Learned, target: Target, observation: Observation, elapsed_seconds: float, *, full: bool = True
) -> Learned:
    """Take in one tick. `elapsed_seconds` since the last one decides how much of the past fades.

    `full`: whether rates have had the minute that they look back on.
    """
    learned = _learn_start_up(learned, target)
    learned = _learn_service(learned, observation, elapsed_seconds, full=full)
    return _learn_memory(learned, observation, elapsed_seconds)


def _learn_start_up(learned: Learned, target: Target) -> Learned:
    """A high estimate: it rises half-way to a slower start at once, and falls a tenth of the way to a faster one."""
    estimate, seen = learned.start_up_seconds, learned.start_up_seen_at
    for pod in sorted((p for p in target.pods if p.ready_at is not None), key=lambda p: p.ready_at or 0.0):
        if pod.ready_at is None or pod.ready_at <= seen or pod.restarted:
            continue
        seen = pod.ready_at
        took = max(LEAST_START_UP_SECONDS, pod.ready_at - pod.created_at)
        if took <= LONGEST_START_UP_SECONDS:
            estimate += (took - estimate) * (0.5 if took > estimate else 0.2)
    return replace(learned, start_up_seconds=estimate, start_up_seen_at=seen)


def _learn_service(learned: Learned, observation: Observation, elapsed_seconds: float, *, full: bool) -> Learned:
    """Little's law: integral of busy over completions. The mean of what has ended so far is biased low at a start."""
    busy = observation.value(SignalName.IN_FLIGHT)
    rate = observation.value(SignalName.REQUEST_RATE_60)
    if busy is None or rate is None or elapsed_seconds <= 0:
        return learned
    step = min(elapsed_seconds, 60.0)
    fade = 0.5 ** (step / HALF_LIFE_SECONDS)
    integral, completions, took = learned.busy_integral, learned.completions, observation.value(SignalName.SERVICE_TIME)
    if not full and took is not None and not learned.service_seen:
        # The rate counts what came as if it had come in all of the minute: by it a new service takes far too long.
        return replace(learned, service_seconds=max(took, 1e-3))
    first = took is not None and rate > 0 and not learned.service_seen
    if first and took is not None and completions <= PRIOR.completions:
        # The first runs have ended: their mean is a better prior than any constant. Only once: rare runs that take
        # long leave as few completions behind.
        integral = max(integral - PRIOR.busy_integral, 0.0) + completions * took
    integral = integral * fade + busy * step
    completions = completions * fade + rate * step
    # The prior of two calls, of ten seconds at first, fades with all the rest and keeps the quotient finite.
    service = integral / completions if completions > 0 else learned.service_seconds
    return replace(
        learned,
        busy_integral=integral,
        completions=completions,
        service_seconds=max(service, 1e-3),
        service_seen=learned.service_seen or first,
    )


def _learn_memory(learned: Learned, observation: Observation, elapsed_seconds: float) -> Learned:
    mean, worst = observation.value(SignalName.MEMORY_MEAN_BYTES), observation.value(SignalName.MEMORY_MAX_BYTES)
    busy, fullest = observation.value(SignalName.IN_FLIGHT), observation.value(SignalName.IN_FLIGHT_MAX)
    pods = observation.value(SignalName.PODS_REPORTING)
    if mean is None or worst is None or busy is None or fullest is None or not pods:
        return learned
    cache = observation.value(SignalName.CACHE_BYTES)
    if cache is None and SignalName.CACHE_BYTES in observation.signals:
        return learned  # a cache of unknown size would be taken for runs
    cache = cache or 0.0
    fade = 0.5 ** (max(elapsed_seconds, 0.0) / HALF_LIFE_SECONDS)
    x, y = busy / max(pods, 1.0), max(mean - cache, 0.0)
    m = learned.memory
    sums = Moments(
        n=m.n * fade + 1,
        x=m.x * fade + x,
        y=m.y * fade + y,
        xx=m.xx * fade + x * x,
        xy=m.xy * fade + x * y,
        yy=m.yy * fade + y * y,
    )
    line = _line(sums, learned.run_bytes)
    excess = learned.memory_excess_bytes * 0.5 ** (max(elapsed_seconds, 0.0) / TAIL_HALF_LIFE_SECONDS)
    if line is not None:
        base, slope = line
        excess = max(excess, worst - cache - base - slope * fullest)
    run_bytes = line[1] if line is not None else 0.0
    present = _present(learned, line, x, y, pods=pods, elapsed_seconds=elapsed_seconds) if line is not None else 0.0
    return replace(
        learned,
        memory=sums,
        memory_excess_bytes=max(excess, 0.0),
        run_bytes=run_bytes,
        present_run_bytes=present,
    )


def _present(
    learned: Learned,
    line: tuple[float, float],
    runs: float,
    held_bytes: float,
    *,
    pods: float,
    elapsed_seconds: float,
) -> float:
    """What a run holds now. `runs` and `held_bytes` are of the mean pod, `line` is the law with this tick.

    The law as it was tells whether the runs have changed, the law as it is how much they hold.
    """
    before = _line(learned.memory, learned.run_bytes)
    if before is None:
        return 0.0
    base, slope = before
    m, above = learned.memory, held_bytes - base - slope * runs
    scatter = max((m.yy - m.y**2 / m.n - slope**2 * (m.xx - m.x**2 / m.n)) / m.n, 0.0)
    chance = SURPLUS_DEVIATIONS * sqrt(max(scatter, slope**2 * runs / pods))
    base, slope = line
    present = max((held_bytes - base) / runs, slope) if runs >= max(1.0, m.x / m.n) and above > chance else slope
    if present >= learned.present_run_bytes:
        return (present + max(learned.present_run_bytes, slope)) / 2
    fade: float = 0.5 ** (max(elapsed_seconds, 0.0) / SURPLUS_HALF_LIFE_SECONDS)
    return present + (learned.present_run_bytes - present) * fade


def _line(m: Moments, known_run_bytes: float) -> tuple[float, float] | None:
    """Least squares through the decayed pairs; None while they say too little.

    A steady load says nothing of the slope. That is no reason to forget it: then only the intercept is learned.
    """
    if m.n < LEAST_SAMPLES:
        return None
    variance = m.xx / m.n - (m.x / m.n) ** 2
    slope = known_run_bytes
    if variance >= LEAST_SPREAD_RUNS**2:
        slope = (m.xy / m.n - (m.x / m.n) * (m.y / m.n)) / variance
    if slope < LEAST_RUN_BYTES:
        return None
    return max((m.y - slope * m.x) / m.n, 0.0), slope


def memory_law(learned: Learned, observation: Observation, headroom_bytes: float = 0.0) -> MemoryLaw | None:
    """The law as learned; before that, a bound that blames all of a busy pod's memory on its runs; else None.

    The bound can only be too careful: it makes a run dearer than it is. `headroom_bytes`: as in `MemoryLaw`.
    """
    line = _line(learned.memory, learned.run_bytes)
    if line is not None:
        surplus = max(learned.present_run_bytes - line[1], 0.0)
        return MemoryLaw(*line, learned.memory_excess_bytes, surplus_bytes=surplus, headroom_bytes=headroom_bytes)
    worst = observation.value(SignalName.MEMORY_MAX_BYTES)
    fullest = observation.value(SignalName.IN_FLIGHT_MAX)
    if worst is None or fullest is None or fullest < 1:
        return None
    cache = observation.value(SignalName.CACHE_BYTES) or 0.0
    return MemoryLaw(0.0, max((worst - cache) / fullest, LEAST_RUN_BYTES), 0.0, learned=False)


def work_within(observation: Observation, service_seconds: float, horizon_seconds: float) -> float:
    """E[min(duration, horizon)]: seconds of work that a run arriving now has done or still does within the horizon.

    From the histogram of run durations where it is known (trapezoids under the survival curve), else from an
    exponential law with the mean service time. Never above the horizon.
    """
    buckets = observation.service_buckets
    if len(buckets) < 2 or buckets[-1][1] <= 0:
        return service_seconds * (1.0 - exp(-horizon_seconds / service_seconds))
    area, bound, below = 0.0, 0.0, 0.0
    for upper, share in buckets:
        if upper == float("inf"):
            break
        end = min(upper, horizon_seconds)
        if end > bound:
            part = (end - bound) / (upper - bound)
            at_end = below + (share - below) * part
            area += (end - bound) * (1.0 - (below + at_end) / 2)
        bound, below = upper, share
        if upper >= horizon_seconds:
            return area
    return area + max(horizon_seconds - bound, 0.0) * (1.0 - below)
