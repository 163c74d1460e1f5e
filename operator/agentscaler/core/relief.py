"""Memory safety: `base + workers * per run + cache` stays inside the objective.

It may always lower cache and workers.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil

from agentscaler.api.conditions import Reason
from agentscaler.core.capacity import (
    LEAST_CACHE_CUT,
    base_workers,
    busy_level,
    cache_bounds,
    cache_bytes_in_force,
    needed_for_forecast,
    workers_for_demand,
)
from agentscaler.core.decision import Diagnosis
from agentscaler.core.diagnose import FULL
from agentscaler.core.memory import Memory, Sample
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode
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
RISES = 2
RISE_SECONDS = 60.0
"""Scrapes further apart than this tell no rise."""
USELESS = 0.98
"""Of what the worst pod held when workers were last cut."""
ROOMY = 0.7
"""Of the budget. Where the mean pod holds no more, the worst one holds a rare run: fewer workers in all pods mend
nothing, since it runs already, and the pod's own memory gate starts no more beside it."""
LEAK_SHARE = 0.5
"""Below this share of what a pod holds, its runs are not what fills it."""


def relieve_memory(s: Situation, d: Draft) -> Draft:
    """Above the objective: the cache gives first, then workers. Replicas follow by themselves, sized for fewer."""
    budget, worst = s.memory_budget_bytes, s.value(SignalName.MEMORY_MAX_BYTES)
    if budget is None or worst is None:
        return d
    if s.diagnosis is not Diagnosis.MEMORY_BOUND:
        return _keep_invariant(s, d, budget)
    worst += _rise_bytes(s)
    if s.now - s.memory.relieved_at < SETTLE_SECONDS:
        return _no_growth(s, d)
    d = _no_growth(s, d)
    surplus = worst - AIM * budget
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
    held = max(worst - _cache_held(s), 1.0)
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
    fewer = max(_least_workers(s, budget, fills=fills), min(workers, ceil(fullest)) - ceil(left / per_run))
    return d.workers(
        "relieve-memory",
        min(workers, fewer),
        Reason.MEMORY_PRESSURE,
        f"the worst pod holds {worst / 2**20:.0f}Mi of {budget / 2**20:.0f}Mi that the objective allows, "
        f"and the cache cannot give enough",
    )


def _least_workers(s: Situation, budget: float, *, fills: bool) -> int:
    """Workers that a cut leaves: the busy level where one run fills one pod, half of it where no runs fill it."""
    mean, least = s.value(SignalName.MEMORY_MEAN_BYTES), s.policy.workers.min
    if mean is not None and mean <= ROOMY * budget:
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
    if s.diagnosis is Diagnosis.MEMORY_BOUND:
        after = relieve_memory(s, d).settings.workers
        if after is None or after >= min(before, base_workers(s)):
            return d
    else:
        after = _workers_let_run(s)
        if after is None:
            return d
    # The slots that stood open for bursts are gone: pods have to be kept free instead.
    bare = replace(s.demand, margin=s.demand.bare_margin)
    replicas = max(d.settings.replicas, needed_for_forecast(s, bare, after))
    why = f"memory leaves {after} workers to each pod: {replicas} replicas do the work"
    return d.replicas("replace-cut-workers", replicas, Reason.MEMORY_PRESSURE, why)


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


def unexplained_bytes(s: Situation) -> Sample | None:
    """What the worst pod holds above the learned law, with the time of its scrape; None while there is no law."""
    worst, fullest = s.observation.signal(SignalName.MEMORY_MAX_BYTES), s.value(SignalName.IN_FLIGHT_MAX)
    if worst.value is None or worst.observed_at is None or fullest is None or s.law is None or not s.law.learned:
        return None
    explained = _cache_held(s) + s.law.base_bytes + s.law.per_run_bytes * fullest
    return Sample(worst.observed_at, worst.value - explained)


def memory_short(s: Situation) -> bool:
    """Whether the worst pod stands above the objective, or rises so that a cut would come too late if it waited."""
    budget, worst, limit = s.memory_budget_bytes, s.value(SignalName.MEMORY_MAX_BYTES), s.target.memory_limit_bytes
    if budget is None or worst is None or limit is None:
        return False
    return worst > budget or worst + _rise_bytes(s) > (budget + limit) / 2


def _rise_bytes(s: Situation) -> float:
    """By how much the worst pod rises until a cut takes effect, if it goes on as it rose twice in a row.

    Only what it rose without more runs counts. One run that takes a lot at once is a step, and no rise.
    """
    now, past = unexplained_bytes(s), s.memory.unexplained[-2:]
    if now is None or len(past) < RISES:
        return 0.0
    steps = [(b.value - a.value) / (b.at - a.at) for a, b in pairwise((*past, now)) if 0 < b.at - a.at <= RISE_SECONDS]
    per_second = max(min(steps), 0.0) if len(steps) == RISES else 0.0
    return per_second * (SETTLE_SECONDS + s.policy.interval_seconds)


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


def _cache_held(s: Situation) -> float:
    """What the cache holds; all that it may hold, where that is exported and not known now."""
    held = s.value(SignalName.CACHE_BYTES)
    if held is not None:
        return held
    return cache_bytes_in_force(s) if SignalName.CACHE_BYTES in s.observation.signals else 0.0


def _cut_cache(s: Situation, d: Draft, surplus: float) -> tuple[Draft, float]:
    """Cut the cache below what it holds by the surplus. Returns the draft and the bytes that this frees."""
    bounds, size = cache_bounds(s), d.settings.cache.max_bytes
    if bounds is None or size is None:
        return d, 0.0
    holds = min(_cache_held(s), float(size))
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
    above = unexplained_bytes(s)
    if above is not None and (not memory.unexplained or above.at > memory.unexplained[-1].at):
        memory = replace(memory, unexplained=(*memory.unexplained[-RISES:], above))
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
