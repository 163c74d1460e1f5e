"""Memory safety: `base + workers * per run + cache` stays inside the objective.

It may always lower cache and workers.
"""

from __future__ import annotations

from math import ceil

from agentscaler.api.conditions import Reason
from agentscaler.core.capacity import (
    LEAST_CACHE_CUT,
    base_workers,
    busy_level,
    cache_bounds,
    cache_bytes_in_force,
    needed_for_backlog,
    needed_for_forecast,
    workers_for_demand,
)
from agentscaler.core.decision import Diagnosis
from agentscaler.core.diagnose import FULL
from agentscaler.core.memory import Memory
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode
from agentscaler.core.rise import cache_bytes_held, remember_rise, rise_bytes_per_second
from agentscaler.core.settings import Knob
from agentscaler.core.situation import Draft, Knowledge, Situation, describe_cache
from agentscaler.core.values import replace

AIM = 0.95
"""Relief aims a little below the objective, so that it does not have to come back for crumbs."""
SETTLE_SECONDS = 10.0
"""A cut needs a delivery and a scrape before its effect can be seen."""
CALM_SECONDS = 300.0
RELAX_SECONDS = 60.0
RELAX_BELOW = 0.9
SLACK = 0.05
"""The law moves by a little at each tick: what is over by less than this is left as it is."""
USELESS = 0.98
"""Of what the worst pod held when workers were last cut."""
ROOMY = 0.7
"""Of the budget. Where the mean pod holds no more, the worst one holds a rare run: fewer workers in all pods mend
nothing, since it runs already, and the pod's own memory gate starts no more beside it."""
LONGEST_RISE_SECONDS = 60.0
"""Three scrapes tell no more of what comes."""
LEAK_SHARE = 0.5
"""Below this share of what a pod holds, its runs are not what fills it."""


def relieve_memory(s: Situation, d: Draft) -> Draft:
    """Above the objective: the cache gives first, then workers. Replicas follow by themselves, sized for fewer."""
    budget, worst = s.memory_budget_bytes, s.value(SignalName.MEMORY_MAX_BYTES)
    if budget is None or worst is None:
        return d
    if s.diagnosis is not Diagnosis.MEMORY_BOUND:
        return _keep_invariant(s, d, budget)
    # What is there is cut to the objective. What only rises is kept from the limit: it may rise no further, and the
    # pods that are ordered for all of it take work over without a cut.
    rises, safe = worst + _rise_bytes(s), _safe_bytes(s, budget)
    if rises - safe > worst - AIM * budget:
        why = f"the worst pod rises to {rises / 2**20:.0f}Mi, and {safe / 2**20:.0f}Mi are safe"
        return _relieved(s, d, rises, safe, why)
    why = f"the worst pod holds {worst / 2**20:.0f}Mi of {budget / 2**20:.0f}Mi that the objective allows"
    return _relieved(s, d, worst, AIM * budget, why)


def _relieved(s: Situation, d: Draft, worst: float, allowed: float, why: str) -> Draft:
    """Take from cache and workers what the worst pod holds above the allowed bytes."""
    d = _no_growth(s, d)
    if s.now - s.memory.relieved_at < SETTLE_SECONDS:
        return d
    surplus = worst - allowed
    d, freed = _cut_cache(s, d, surplus)
    left = surplus - freed
    if left <= 0:
        return d
    fullest = s.value(SignalName.IN_FLIGHT_MAX) or 0.0
    workers = d.settings.workers
    if fullest < 1 or workers is None or s.policy.workers.mode is Mode.OFF:
        return d.limit(
            Reason.MEMORY_PRESSURE,
            "memory stands above its objective without running work that could be cut: "
            "raise the limit, lower the cache's minimum, or look for a leak",
        )
    held = max(worst - cache_bytes_held(s), 1.0)
    per_run, fills = held / fullest, True
    if s.law is not None and s.law.learned:
        # What runs hold now may be more than they held within the last hour.
        per_run = max(s.law.per_run_bytes, (held - s.law.base_bytes) / fullest)
        fills = s.law.per_run_bytes * fullest >= LEAK_SHARE * held
        if not fills:
            d = d.limit(
                Reason.MEMORY_PRESSURE,
                "the worst pod holds more than its runs explain: look for a leak, or raise the memory limit",
            )
    elif s.memory.relieved_bytes and worst > USELESS * s.memory.relieved_bytes:
        fills = False  # a cut of workers before this one freed nothing
    fewer = max(_least_workers(s, fills=fills), min(workers, ceil(fullest)) - ceil(left / per_run))
    return d.workers(
        "relieve-memory",
        min(workers, fewer),
        Reason.MEMORY_PRESSURE,
        f"{why}, and the cache cannot give enough",
    )


def _least_workers(s: Situation, *, fills: bool) -> int:
    """Workers that a cut leaves: the busy level where one run fills one pod, half of it where no runs fill it."""
    mean, least = s.value(SignalName.MEMORY_MEAN_BYTES), s.policy.workers.min
    if mean is not None and s.memory_budget_bytes is not None and mean <= ROOMY * s.memory_budget_bytes:
        return max(least, busy_level(s))
    return least if fills else max(least, busy_level(s) // 2)


def replace_cut_workers(s: Situation, d: Draft) -> Draft:
    """Runs that memory does not let start in the pods that there are, others have to do.

    Those that relief is about to keep out are ordered for in the same decision, and those that the pods' own memory
    gates keep out already.
    """
    before = d.settings.workers
    if s.demand is None or before is None:
        return d
    cap = s.memory.worker_cap
    if s.now - s.memory.relieved_at < RELAX_SECONDS and (cap is None or cap <= busy_level(s)):
        why = "memory was short within the last minute: no pod goes, for its work would weigh on the others"
        d = d.replicas("replace-cut-workers", max(d.settings.replicas, s.current.replicas), Reason.MEMORY_PRESSURE, why)
    if s.diagnosis is Diagnosis.MEMORY_BOUND:
        after = _workers_left(s, d, s.demand.lead_seconds)
        if after is None or after >= min(before, base_workers(s)):
            return d
    else:
        after = _workers_let_run(s)
        if after is None:
            return d
    # The slots that stood open for bursts are gone: pods have to be kept free instead. What cannot run until these are
    # ready waits for them.
    bare = replace(s.demand, margin=s.demand.bare_margin)
    needed = max(needed_for_forecast(s, bare, after), needed_for_backlog(s, s.demand, after, growth=1.0))
    replicas = max(d.settings.replicas, needed)
    why = f"memory leaves {after} workers to each pod: {replicas} replicas do the work"
    return d.replicas("replace-cut-workers", replicas, Reason.MEMORY_PRESSURE, why)


def _workers_left(s: Situation, d: Draft, lead_seconds: float) -> int | None:
    """Workers that the objective leaves to each pod if memory rises on until pods that are ordered now are there."""
    budget, worst = s.memory_budget_bytes, s.value(SignalName.MEMORY_MAX_BYTES)
    if budget is None or worst is None:
        return None
    risen = worst + rise_bytes_per_second(s) * min(lead_seconds, LONGEST_RISE_SECONDS)
    limit = s.target.memory_limit_bytes or risen
    return _relieved(s, d, max(min(risen, limit), worst), AIM * budget, "").settings.workers


def _workers_let_run(s: Situation) -> int | None:
    """Workers of a pod that its memory gate lets run; None where it keeps nothing waiting.

    It shows as runs that wait beside free workers, which would not fit into memory as the law has it.
    """
    budget, reported = s.memory_budget_bytes, s.value(SignalName.WORKER_LIMIT)
    if s.demand is None or not s.demand.queued_runs or budget is None or not reported:
        return None
    if s.law is None or not s.law.learned or s.demand.busy_runs >= FULL * reported * s.serving_pods:
        return None
    wanted = (s.demand.busy_runs + s.demand.queued_runs) / s.serving_pods
    if s.law.runs_that_fit(budget, cache_bytes_in_force(s), busy_level(s)) >= wanted:
        return None
    return max(1, int(s.demand.busy_runs / s.serving_pods))


def memory_short(s: Situation) -> bool:
    """Whether the worst pod stands above the objective, or rises so that a cut would come too late if it waited."""
    budget, worst = s.memory_budget_bytes, s.value(SignalName.MEMORY_MAX_BYTES)
    if budget is None or worst is None:
        return False
    return worst > budget or worst + _rise_bytes(s) > _safe_bytes(s, budget)


def _safe_bytes(s: Situation, budget: float) -> float:
    """What memory that rises may come to: half-way from the objective to the limit."""
    return (budget + (s.target.memory_limit_bytes or budget)) / 2


def _rise_bytes(s: Situation) -> float:
    """By how much the worst pod rises until a cut takes effect."""
    return rise_bytes_per_second(s) * (SETTLE_SECONDS + s.policy.interval_seconds)


def _no_growth(s: Situation, d: Draft) -> Draft:
    settings = d.settings
    if s.current.workers is not None and settings.workers is not None:
        most = max(s.current.workers, _back_uncured(s))
        d = d.workers(
            "relieve-memory",
            min(settings.workers, most),
            Reason.MEMORY_PRESSURE,
            "memory is above its objective: no more workers",
        )
    before, size = s.current.cache.max_bytes, settings.cache.max_bytes
    if before is not None and size is not None and size > before:
        cache = replace(d.settings, cache=replace(settings.cache, max_bytes=before))
        d = d.set("relieve-memory", Knob.CACHE, cache, Reason.MEMORY_PRESSURE, "memory is above its objective")
    return d


def _back_uncured(s: Situation) -> int:
    """Workers that come back after a cut that did not help within five minutes: half of the busy level."""
    return 0 if s.now - s.memory.relieved_at <= CALM_SECONDS else busy_level(s) // 2


def _cut_cache(s: Situation, d: Draft, surplus: float) -> tuple[Draft, float]:
    """Cut the cache below what it holds by the surplus. Returns the draft and the bytes that this frees."""
    bounds, size = cache_bounds(s), d.settings.cache.max_bytes
    if bounds is None or size is None:
        return d, 0.0
    holds = min(cache_bytes_held(s), float(size))
    smaller = max(bounds.min, int(holds - surplus))
    if smaller >= size:
        return d, 0.0
    settings = replace(d.settings, cache=replace(d.settings.cache, max_bytes=smaller))
    d = d.set(
        "relieve-memory",
        Knob.CACHE,
        settings,
        Reason.MEMORY_PRESSURE,
        f"memory is above its objective: the cache gives way first ({describe_cache(settings)})",
    )
    return d, max(holds - smaller, 0.0)


def _keep_invariant(s: Situation, d: Draft, budget: float) -> Draft:
    """Keep the sum of what is set inside the objective, before memory shows that it is not."""
    workers, law = d.settings.workers, s.law
    if law is None or not law.learned or workers is None:
        return d
    size = float(d.settings.cache.max_bytes) if d.settings.cache.max_bytes is not None else cache_bytes_in_force(s)
    busy = busy_level(s)
    if law.runs_that_fit(budget * (1 + SLACK), size, busy) >= workers:
        return d
    if s.demand is not None and s.knowledge is Knowledge.KNOWN and s.policy.workers.mode is not Mode.OFF:
        # The reserve of slots that nobody needs now goes before the cache does.
        needed = max(busy, workers_for_demand(s, s.demand, base_workers(s)))
        spare = max(min(needed, workers), law.runs_that_fit(budget, size, busy))
        d = d.workers("memory-invariant", spare, Reason.MEMORY_LIMITED, "the reserve of workers goes before the cache")
        workers = spare
        if law.runs_that_fit(budget * (1 + SLACK), size, busy) >= workers:
            return d
    bounds = cache_bounds(s)
    if bounds is not None and d.settings.cache.max_bytes is not None:
        smaller = min(d.settings.cache.max_bytes, max(bounds.min, law.cache_beside(budget, workers, busy)))
        if smaller <= (1 - LEAST_CACHE_CUT) * size:
            settings = replace(d.settings, cache=replace(d.settings.cache, max_bytes=smaller))
            d = d.set(
                "memory-invariant",
                Knob.CACHE,
                settings,
                Reason.MEMORY_LIMITED,
                f"{workers} workers at {law.present_bytes / 2**20:.1f}Mi a run leave {describe_cache(settings)}",
            )
            size = float(smaller)
    if s.policy.workers.mode is Mode.OFF:
        return d
    fits = max(s.policy.workers.min, min(workers, law.runs_that_fit(budget * (1 + SLACK), size, busy)))
    if fits < workers:
        d = d.limit(Reason.MEMORY_LIMITED, "the learned memory per run keeps workers below what demand asks for")
    return d.workers(
        "memory-invariant",
        fits,
        Reason.MEMORY_LIMITED,
        f"memory per run ({law.present_bytes / 2**20:.1f}Mi, tail {law.excess_bytes / 2**20:.0f}Mi) allows {fits}",
    )


def remember_relief(s: Situation, d: Draft, memory: Memory) -> Memory:
    """Keep the cap that pressure forced, and relax it step by step while memory stays calm."""
    memory = remember_rise(s, memory)
    relieved = {step.knob for step in d.steps if step.rule == "relieve-memory"}
    fewer = Knob.WORKERS in relieved and (d.settings.workers or 0) < (s.current.workers or 0)
    smaller = Knob.CACHE in relieved and (d.settings.cache.max_bytes or 0) < (s.current.cache.max_bytes or 0)
    if fewer or smaller:
        if fewer:
            held = s.value(SignalName.MEMORY_MAX_BYTES) or 0.0
            memory = replace(memory, worker_cap=d.settings.workers, relieved_bytes=held)
        return replace(memory, relieved_at=s.now)
    budget, worst = s.memory_budget_bytes, s.value(SignalName.MEMORY_MAX_BYTES)
    if memory.worker_cap is None:
        return memory
    if budget is None:
        return replace(memory, worker_cap=None)
    if worst is None:
        return memory
    if worst > budget:
        return replace(memory, worker_cap=max(memory.worker_cap, _back_uncured(s)))
    wait = CALM_SECONDS if worst > RELAX_BELOW * budget else RELAX_SECONDS
    if s.now - memory.relieved_at < wait:
        return memory
    cap = memory.worker_cap + max(1, memory.worker_cap // 4)
    return replace(memory, worker_cap=cap if cap < s.policy.workers.max else None, relieved_at=s.now)
