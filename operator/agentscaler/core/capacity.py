"""Replicas and workers in one move: workers meet what is there now, replicas what will be."""

from __future__ import annotations

from math import ceil

from agentscaler.api.conditions import Reason
from agentscaler.core.demand import Demand, replicas_for
from agentscaler.core.memory import Sample
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode, Range
from agentscaler.core.settings import Knob
from agentscaler.core.situation import Draft, Situation, describe_cache
from agentscaler.core.values import replace

LEAST_CACHE_CUT = 0.05
"""A cut of less is not worth a write."""
DEFAULT_WORKERS = 8
RESERVE = 1.3
"""Slots over the busy level that stand open for bursts, where memory has room: with fewer, bursts break through."""
WORTH_A_ROLL = 1.25
"""Workers that only a restart brings are asked for when they are so many times those of now, a fifth fewer pods."""
BURST_GROWTH = 1.3
"""A burst that has made a queue is taken to have grown so far since the last scrapes, which tell of it late."""
JUMP = 2.0
"""So many times the work that the pods are sized for is no noise. From 1.6 on, small services paid a quarter more."""
CPU_SHARE = 0.9
DELIVERY_SECONDS = 60.0
"""Settings that pods have not reported by then are not counted on: not mounted, refused, or waiting for a restart."""


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
    if s.memory.kill_cap is not None:
        most = min(most, s.memory.kill_cap.workers)
    return max(s.policy.workers.min, most)


def reachable_workers(s: Situation) -> int:
    """The highest safe worker count once the cache has given way as far as it may; what is in force in mode Off."""
    if s.policy.workers.mode is Mode.OFF:
        return s.workers_in_force or DEFAULT_WORKERS
    bounds = cache_bounds(s)
    return safe_workers(s, min(bounds.min, cache_bytes_in_force(s)) if bounds else cache_bytes_in_force(s))


def busy_level(s: Situation) -> int:
    """The runs that a pod is sized for, before memory has a say."""
    wanted = s.memory.learned.busy_level or s.policy.workers.initial or s.memory.base_workers or DEFAULT_WORKERS
    return min(max(wanted, s.policy.workers.min), s.policy.workers.max)


def fixed_workers(s: Situation) -> int | None:
    """The worker count that replicas have to live with, where nobody is going to move it."""
    mode = s.policy.workers.mode
    # Advice on workers helps replicas only where they too are advice.
    fixed = mode is Mode.OFF or (mode is Mode.RECOMMEND and s.policy.replicas.mode is Mode.AUTO)
    return (s.workers_in_force or DEFAULT_WORKERS) if fixed else None


def delivered_workers(s: Situation, workers: int) -> int:
    """As many of these workers as replicas may be sized for: what never reaches the pods does no work."""
    since, reported = s.memory.undelivered_since, s.value(SignalName.WORKER_LIMIT)
    if since is None or reported is None or s.now - since <= DELIVERY_SECONDS:
        return workers
    return max(min(workers, int(reported)), 1)


def base_workers(s: Situation) -> int:
    """The busy level that replicas are sized for: slots above it are the reserve for bursts."""
    level = max(s.policy.workers.min, min(busy_level(s), reachable_workers(s)))
    return fixed_workers(s) or (level if _worth_a_roll(s, level) else min(level, _present_workers(s)))


def _worth_a_roll(s: Situation, workers: int) -> bool:
    """Whether pods may get so many workers: where settings come by a restart, slots for little are not worth one.

    Slots that stand open cost nothing and stay; a reserve for bursts comes with workers that are needed.
    """
    return not s.target.restart_delivery or workers >= WORTH_A_ROLL * _present_workers(s)


def _present_workers(s: Situation) -> int:
    """Those that pods have, within the user's bounds."""
    bounds = s.policy.workers
    return min(max(s.workers_in_force or s.current.workers or DEFAULT_WORKERS, bounds.min), bounds.max)


def follow_demand(s: Situation, d: Draft) -> Draft:
    """Workers meet what is there now as far as memory allows; replicas are ordered for what will be."""
    if s.demand is None:
        return d
    demand, base, reach = s.demand, base_workers(s), reachable_workers(s)
    replicas = needed_replicas(s, demand, base)
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


def needed_replicas(s: Situation, demand: Demand, base: int) -> int:
    """Replicas whose base workers hold the forecast, and end a backlog."""
    return max(
        needed_for_forecast(s, demand, base),
        needed_for_backlog(s, demand, base) if demand.surge else 0,
        needed_for_jump(s, demand, base),
    )


def needed_for_jump(s: Situation, demand: Demand, base: int) -> int:
    """Replicas that bring work which has jumped back into the reserve of hot workers; 0 where it has not.

    Forecasts look back over a minute and more, and learn of a jump late. What counts is the work that is there and that
    arrivals of this moment would keep running: a queue that was there before them is ended by hot workers.
    """
    lasting = min(demand.busy_runs + demand.queued_runs, demand.present_rate * demand.service_seconds)
    if fixed_workers(s) is not None or lasting <= JUMP * base * s.current.replicas:
        return 0
    return replicas_for(lasting / RESERVE, delivered_workers(s, base))


def needed_for_forecast(s: Situation, demand: Demand, base: int) -> int:
    """Replicas whose base workers hold the forecast.

    Nothing is taken away that the work of this moment needs, whatever the forecast says.
    """
    base = delivered_workers(s, base)
    busy = replicas_for(demand.busy_runs + demand.queued_runs, base)
    return max(replicas_for(demand.staffed(demand.ahead_runs), base), min(busy, s.current.replicas))


def needed_for_backlog(s: Situation, demand: Demand, base: int, growth: float = BURST_GROWTH) -> int:
    """Replicas that end a backlog as fast as pods come at all; `growth`: of arrivals over those of this moment.

    A fluid projection of the work in the system: arrivals go on, the base workers that there are pass what they can,
    and pods on their way help from when they are ready. What waits then is late already, and more pods would only stand
    there when it is gone: it is enough that it is gone a quarter of a start-up later. The reserve above the base
    workers is left out: it is what the burst has used up, and what its growth that is not seen yet will need.
    """
    base, service = delivered_workers(s, base), demand.service_seconds
    patience = s.memory.learned.start_up_seconds / 4
    horizon, work, at = demand.lead_seconds, demand.busy_runs + demand.queued_runs, 0.0
    rate = max(demand.arrival_rate, growth * demand.present_rate)
    slots = float(base * s.serving_pods)
    coming = max(s.target.replicas - s.serving_pods, 0)
    started = sorted(p.created_at for p in s.target.pods if p.ready_at is None)[:coming]
    lead = s.memory.learned.start_up_seconds
    joins = [max(created + lead - s.now, 0.0) for created in started] + [lead] * (coming - len(started))
    for join in [*sorted(join for join in joins if join < horizon), horizon]:
        passed = min(work, slots) / service * (join - at)
        work, at = max(work + rate * (join - at) - passed, 0.0), join
        slots += base
    return replicas_for(max(rate * service, work / (1.0 + patience / service)), base)


def needed_workers(s: Situation, demand: Demand, base: int, reach: int) -> int:
    """Workers per ready pod for the larger of present and coming work; never below what replicas are sized for.

    In a surge the queue that is seen is old and grows on, and a slot costs nothing but memory: all that fit beside
    the cache as it is are opened at once. The cache gives way only for workers that are needed for sure.
    """
    needed, safe = workers_for_demand(s, demand, base), safe_workers(s, cache_bytes_in_force(s))
    if not _worth_a_roll(s, needed):
        return min(_present_workers(s), safe, reach)
    if demand.surge:
        needed = max(needed, safe)
    elif s.law is not None and s.law.learned:
        needed = max(needed, min(safe, ceil(RESERVE * base)))
    return min(needed, reach)


def workers_for_demand(s: Situation, demand: Demand, base: int) -> int:
    """Workers per pod that present and coming work asks for, without any reserve for a surge."""
    return max(base, ceil(demand.staffed(max(demand.urgent_runs, demand.ahead_runs)) / s.serving_pods))


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


def recent(samples: tuple[Sample, ...], now: float, window_seconds: float) -> tuple[Sample, ...]:
    """The samples, in the order of their time, that are inside the window."""
    if not samples or (now - samples[0].at < window_seconds and samples[-1].at <= now):
        return samples
    return tuple(sample for sample in samples if 0 <= now - sample.at < window_seconds)
