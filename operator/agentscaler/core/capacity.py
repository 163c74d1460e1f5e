"""Replicas and workers in one move: workers meet what is there now, replicas what will be."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from agentscaler.api.conditions import Reason
from agentscaler.core.demand import Demand, replicas_for
from agentscaler.core.memory import Sample
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode, Range, ScalingRules
from agentscaler.core.settings import Knob
from agentscaler.core.shape import HPA_TOLERANCE, stabilized, within_tolerance
from agentscaler.core.situation import Draft, Situation, describe_cache

OWN_SCALE_UP = ScalingRules(tolerance=0.0)
OWN_SCALE_DOWN = ScalingRules(stabilization_window_seconds=300, tolerance=HPA_TOLERANCE)
"""Without `behavior`: the HPA's five minutes. Two minutes cost 7 % fewer pods and twice as many changes."""
LONGEST_HOLD_SECONDS = 900
HELD_START_UPS = 4
WORKER_HOLD_SECONDS = 120.0
LEAST_CACHE_CUT = 0.05
"""A cut of less is not worth a write."""
DEFAULT_WORKERS = 8
CPU_SHARE = 0.9
MOST_FEEDBACK = 1.5
"""A broken queue-wait objective enlarges the need by half at most: the rest is the forecast's work."""


def cache_bounds(s: Situation) -> Range | None:
    """Bounds of the cache size when the operator may move it."""
    return s.policy.cache.max_bytes if s.policy.cache.mode is Mode.AUTO else None


def cache_bytes_in_force(s: Situation) -> float:
    """What the cache may grow to: its limit where one is set, else what it holds."""
    size = s.current.cache.max_bytes
    return float(size) if size is not None else s.value(SignalName.CACHE_BYTES) or 0.0


def safe_workers(s: Situation, cache_bytes: float) -> int:
    """The highest worker count that memory, CPU and the user's maximum allow beside a cache of that size."""
    most = s.policy.workers.max
    budget = s.memory_budget_bytes
    if budget is not None and s.law is not None:
        fits = s.law.runs_that_fit(budget, cache_bytes, busy_level(s))
        # A bound that is not learned may stop growth; it takes nothing away.
        most = min(most, fits if s.law.learned else max(fits, s.workers_in_force or 0))
    cores, busy = s.value(SignalName.CPU_CORES), s.value(SignalName.IN_FLIGHT)
    if s.target.cpu_limit_cores and cores and busy and busy >= 1:
        feeds = CPU_SHARE * s.target.cpu_limit_cores * busy / cores
        most = int(min(most, max(feeds, s.workers_in_force or 0)))
    if s.memory.worker_cap is not None:
        most = min(most, s.memory.worker_cap)
    return max(s.policy.workers.min, most)


def reachable_workers(s: Situation) -> int:
    """The highest safe worker count once the cache has given way as far as it may; what is in force in mode Off."""
    if s.policy.workers.mode is Mode.OFF:
        return s.workers_in_force or DEFAULT_WORKERS
    bounds = cache_bounds(s)
    return safe_workers(s, min(bounds.min, cache_bytes_in_force(s)) if bounds else cache_bytes_in_force(s))


def busy_level(s: Situation) -> int:
    """The runs that a pod is sized for, before memory has a say."""
    wanted = s.policy.workers.initial or s.memory.base_workers or DEFAULT_WORKERS
    return min(max(wanted, s.policy.workers.min), s.policy.workers.max)


def fixed_workers(s: Situation) -> int | None:
    """The worker count that replicas have to live with, where nobody is going to move it."""
    mode = s.policy.workers.mode
    # Advice on workers helps replicas only where they too are advice.
    fixed = mode is Mode.OFF or (mode is Mode.RECOMMEND and s.policy.replicas.mode is Mode.AUTO)
    return (s.workers_in_force or DEFAULT_WORKERS) if fixed else None


def base_workers(s: Situation) -> int:
    """The busy level that replicas are sized for: slots above it are the reserve for bursts."""
    return fixed_workers(s) or max(s.policy.workers.min, min(busy_level(s), reachable_workers(s)))


def follow_demand(s: Situation, d: Draft) -> Draft:
    """Workers meet what is there now as far as memory allows; replicas are ordered for what will be."""
    if s.demand is None:
        return d
    demand, base, reach = s.demand, base_workers(s), reachable_workers(s)
    replicas = needed_replicas(s, demand, base, fixed_workers(s) or reach)
    workers = needed_workers(s, demand, base, reach)
    limits = (s.policy.replicas.min, s.policy.replicas.max)
    surge = demand.surge
    because = Reason.BURST if surge else Reason.DEMAND
    d = d.replicas(
        "follow-demand",
        replicas,
        because,
        f"{demand.ahead_runs:.1f} runs expected in {demand.lead_seconds:.0f} s need {replicas} replicas "
        f"at {base} busy workers each (bounds {limits[0]}..{limits[1]})",
    )
    if s.policy.workers.mode is Mode.OFF or (s.workers_in_force is None and s.policy.workers.initial is None):
        return d
    d = _cache_gives_way(s, d, min(workers_for_demand(s, demand, 1), reach))
    if surge and workers == reach and replicas > s.policy.replicas.max:
        by_bound = reach == s.policy.workers.max
        d = d.limit(
            Reason.BOUNDED_MAX if by_bound else Reason.MEMORY_LIMITED,
            "workers are at the user's maximum" if by_bound else "workers are at the most that memory allows",
        )
    return d.workers(
        "follow-demand",
        workers,
        because,
        f"{demand.busy_runs:.0f} runs and {demand.queued_runs:.0f} waiting on {s.serving_pods} pods; "
        f"memory and bounds allow {reach} workers",
    )


def needed_replicas(s: Situation, demand: Demand, base: int, reach: int) -> int:
    """Replicas whose base workers hold the forecast, and what hot workers cannot reach of the backlog.

    Nothing is taken away that the work of this moment needs, whatever the forecast says.
    """
    unreached = max(0.0, demand.urgent_runs - reach * s.serving_pods) if demand.surge else 0.0
    needed = replicas_for(demand.staffed((demand.ahead_runs + unreached) * _feedback(s)), base)
    busy = replicas_for(demand.staffed(demand.busy_runs + demand.queued_runs), base)
    return max(needed, min(busy, s.current.replicas))


def needed_workers(s: Situation, demand: Demand, base: int, reach: int) -> int:
    """Workers per ready pod for the larger of present and coming work; never below what replicas are sized for.

    In a surge the queue that is seen is old and grows on, and a slot costs nothing but memory: all that fit beside
    the cache as it is are opened at once. The cache gives way only for workers that are needed for sure.
    """
    needed = workers_for_demand(s, demand, base)
    if demand.surge:
        needed = max(needed, safe_workers(s, cache_bytes_in_force(s)))
    return min(needed, reach)


def workers_for_demand(s: Situation, demand: Demand, base: int) -> int:
    """Workers per pod that present and coming work asks for, without any reserve for a surge."""
    return max(base, ceil(demand.staffed(max(demand.urgent_runs, demand.ahead_runs)) / s.serving_pods))


def _feedback(s: Situation) -> float:
    objective, wait = s.policy.objectives.queue_wait, s.value(SignalName.QUEUE_WAIT)
    queued = s.demand is not None and s.demand.queued_runs > 0
    if objective is None or wait is None or not queued:
        return 1.0  # a quantile looks back: only a queue that is there now confirms it
    return min(max(wait / objective.target_seconds, 1.0), MOST_FEEDBACK)


def _cache_gives_way(s: Situation, d: Draft, workers: int) -> Draft:
    """Work goes before cache: shrink it as far as the workers now needed ask for."""
    bounds, budget = cache_bounds(s), s.memory_budget_bytes
    size = d.settings.cache.max_bytes
    if bounds is None or budget is None or size is None or s.law is None or not s.law.learned:
        return d
    if s.law.runs_that_fit(budget, size, busy_level(s)) >= workers:
        return d
    smaller = max(bounds.min, s.law.cache_beside(budget, workers, busy_level(s)))
    if smaller > (1 - LEAST_CACHE_CUT) * size:
        return d
    settings = replace(d.settings, cache=replace(d.settings.cache, max_bytes=smaller))
    return d.set(
        "cache-gives-way",
        Knob.CACHE,
        settings,
        Reason.MEMORY_LIMITED,
        f"the cache makes room for {workers} workers ({describe_cache(settings)})",
    )


def hold_peaks(s: Situation, d: Draft) -> Draft:
    """Capacity falls only to the largest need of the window, and rises only to the smallest one where the user asks.

    With `behavior` the windows and tolerances have the HPA's meaning; without, shrinking waits 120 s.
    """
    if s.demand is None:
        return d
    behavior = s.policy.replicas.behavior
    up, down = (behavior.scale_up, behavior.scale_down) if behavior else (OWN_SCALE_UP, own_scale_down(s))
    current, wanted = s.current.replicas, d.settings.replicas
    held = stabilized(
        current,
        wanted,
        ups=s.memory.needs,
        downs=s.memory.needs,
        up_window_seconds=up.stabilization_window_seconds,
        down_window_seconds=down.stabilization_window_seconds,
        now=s.now,
    )
    d = d.replicas(
        "hold-peaks", held, Reason.STABILIZED, f"the stabilization window asks for {held} instead of {wanted}"
    )
    tolerance = (up if held > current else down).tolerance
    if held != current and within_tolerance(current, held, HPA_TOLERANCE if tolerance is None else tolerance):
        d = d.replicas("hold-peaks", current, Reason.WITHIN_TOLERANCE, f"{held} is within tolerance of {current}")
    if d.settings.workers is None or s.current.workers is None:
        return d
    peak = max([d.settings.workers, *(int(n.value) for n in recent(s.memory.worker_needs, s.now, WORKER_HOLD_SECONDS))])
    kept = min(peak, s.current.workers) if d.settings.workers < s.current.workers else d.settings.workers
    return d.workers("hold-peaks", kept, Reason.STABILIZED, f"{kept} workers were needed within the last minute")


def own_scale_down(s: Situation) -> ScalingRules:
    """Limits of shrinking without `behavior`: what takes long to come back is held longer."""
    hold = HELD_START_UPS * s.memory.learned.start_up_seconds
    seconds = min(max(OWN_SCALE_DOWN.stabilization_window_seconds, int(hold)), LONGEST_HOLD_SECONDS)
    return replace(OWN_SCALE_DOWN, stabilization_window_seconds=seconds)


def recent(samples: tuple[Sample, ...], now: float, window_seconds: float) -> tuple[Sample, ...]:
    """The samples inside the window."""
    return tuple(sample for sample in samples if 0 <= now - sample.at < window_seconds)
