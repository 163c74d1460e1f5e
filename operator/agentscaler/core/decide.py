"""One decision: an ordered chain of small rules over one situation.

Invariants, whatever the signals say:
- no knob leaves the user's bounds, and zero replicas mean zero;
- what is not known may hold or raise capacity, never lower it; fresh memory danger alone may lower workers and cache;
- a pause, a mode or a conflict is obeyed by every knob that it names;
- the same inputs give the same decision, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

from agentscaler.api.conditions import Reason
from agentscaler.core.assess import assess
from agentscaler.core.breaker import start_breaker, tune_breaker
from agentscaler.core.budget import remember_failures
from agentscaler.core.cache import tune_cache
from agentscaler.core.capacity import (
    base_workers,
    delivered_workers,
    follow_demand,
    needed_workers,
    reachable_workers,
    recent,
)
from agentscaler.core.decision import Decision
from agentscaler.core.demand import replicas_for
from agentscaler.core.drain import remember_cuts, spare_running
from agentscaler.core.external import external_replicas, follow_external, keep_unknown_external
from agentscaler.core.fallback import fall_back, remember_blindness
from agentscaler.core.guards import (
    expire_credit,
    keep_the_unknown,
    obey_full_pause,
    obey_pause,
    save_only_in_peace,
    spare_dependency,
)
from agentscaler.core.hold import hold_peaks, hold_seconds, remember_changes
from agentscaler.core.hpa import hpa_replicas
from agentscaler.core.kills import remember_kills, survive_kills
from agentscaler.core.level import remember_level
from agentscaler.core.limits import keep_bounds, limit_rate, obey_modes
from agentscaler.core.memory import Change, Memory, Sample
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import CachePolicy, Mode, Policy, Range
from agentscaler.core.relief import relieve_memory, remember_relief, replace_cut_workers
from agentscaler.core.report import conditions, main_reason, summary
from agentscaler.core.schedules import heed_schedules, keep_schedule, rest
from agentscaler.core.settings import Breaker, Cache, Knob
from agentscaler.core.situation import Draft, Knowledge, Situation
from agentscaler.core.state import keep_state, remember_order, tell_order
from agentscaler.core.target import Target
from agentscaler.core.throttle import remember_throttle, withdraw_throttled
from agentscaler.core.trial import judge_trial, remember_trial
from agentscaler.core.values import replace

Rule = Callable[[Situation, Draft], Draft]

RULES: tuple[Rule, ...] = (
    follow_demand,
    follow_external,
    replace_cut_workers,
    hold_peaks,
    spare_running,
    rest,
    judge_trial,
    tune_cache,
    tune_breaker,
    spare_dependency,
    keep_the_unknown,
    keep_unknown_external,
    save_only_in_peace,
    withdraw_throttled,
    fall_back,
    expire_credit,
    limit_rate,
    keep_state,
    obey_pause,
    relieve_memory,
    survive_kills,
    obey_full_pause,
    keep_schedule,
    keep_bounds,
)
NEEDS = ("follow-demand", "follow-external")
"""Rules that say what is needed, before anything holds or cuts it."""
LEAST_HISTORY_SECONDS = 300.0
_Values = TypeVar("_Values", Cache, Breaker)


def decide(policy: Policy, target: Target, observation: Observation, memory: Memory, now: float) -> Decision:
    """Decide all four knobs of one object.

    Args:
        policy: what the user wants, every default filled in.
        target: live facts of the Deployment.
        observation: all signals of this tick.
        memory: what the last decision of this object left; `Memory()` for a new one.
        now: Unix seconds.

    Returns:
        The decision with its chain of reasons and the memory for the next one. It raises nothing.
    """
    s = assess(heed_schedules(policy, target.replicas, now), target, observation, memory, now)
    if policy.replicas.manual == 0:
        return _zero(s)
    draft = _first(s)
    for rule in RULES:
        draft = rule(s, draft)
    return _finish(s, draft)


def _first(s: Situation) -> Draft:
    """The draft before any rule: what is, with a start value for each knob that has none yet."""
    p, current = s.policy, s.current
    d = Draft(current)
    if current.replicas != s.target.replicas:
        d = Draft(replace(current, replicas=s.target.replicas)).replicas(
            "restart-from-size", current.replicas, Reason.RESTARTED_FROM_SIZE, "spec.replicas was changed to this size"
        )
    if current.workers is None and p.workers.mode is not Mode.OFF:
        start = p.workers.initial if p.workers.initial is not None else s.workers_in_force
        if start is not None:
            d = d.workers("first", min(max(start, p.workers.min), p.workers.max), Reason.INITIAL, "the start value")
    if p.cache.mode is not Mode.OFF:
        cache = _filled(current.cache, _start_cache(p.cache))
        d = d.set("first", Knob.CACHE, replace(d.settings, cache=cache), Reason.INITIAL, "start values")
    if p.breaker.mode is not Mode.OFF:
        # Advice alone must not drift with the rate of the moment.
        calls = s.value(SignalName.UPSTREAM_CALL_RATE) if p.breaker.mode is Mode.AUTO else None
        rate = calls / s.serving_pods if calls is not None else None
        breaker = _filled(current.breaker, start_breaker(p.breaker, rate, d.settings.workers))
        d = d.set("first", Knob.CIRCUIT_BREAKER, replace(d.settings, breaker=breaker), Reason.INITIAL, "start values")
    return d


def _filled(values: _Values, start: _Values) -> _Values:
    """The values, and start values where there are none yet."""
    missing = {f.name: getattr(start, f.name) for f in fields(values) if getattr(values, f.name) is None}
    return replace(values, **missing)


def _start_cache(policy: CachePolicy) -> Cache:
    """Without `initial`: the geometric middle of the bounds, since sizes and lifetimes live on a log scale."""

    def start(bounds: Range | None) -> int | None:
        if bounds is None:
            return None
        return bounds.initial if bounds.initial is not None else int((max(bounds.min, 1) * bounds.max) ** 0.5)

    return Cache(start(policy.max_bytes), start(policy.ttl_seconds))


def _zero(s: Situation) -> Decision:
    """Zero means zero, and tuning stops."""
    d = Draft(replace(s.current, replicas=s.target.replicas)).replicas(
        "zero", 0, Reason.SCALED_TO_ZERO, "spec.replicas is 0: no pods, and tuning stops"
    )
    return _finish(s, d, zero=True)


def _finish(s: Situation, d: Draft, *, zero: bool = False) -> Decision:
    policy, live = s.policy, replace(s.current, replicas=s.target.replicas)
    recommended = d.settings
    keep = s.target.conflict or (policy.replicas.mode is not Mode.AUTO and not s.memory.manual_heeded)
    settings = obey_modes(policy, live, recommended, keep_replicas=keep)
    if zero:
        settings = replace(live, replicas=live.replicas if s.target.conflict else 0)
    elif policy.paused_scale_in and policy.paused_scale_out:
        settings = replace(settings, replicas=_paused_replicas(s, settings.replicas))
    memory = remember_failures(s, remember_blindness(s, remember_throttle(s, d, remember_relief(s, d, s.memory))))
    memory = remember_kills(s, d, memory)
    memory = remember_trial(s, d, settings, memory)
    if settings.cache != live.cache:
        memory = replace(memory, cache_changed_at=s.now)
    if settings.replicas != live.replicas:
        memory = replace(memory, changes=(*memory.changes, Change(s.now, settings.replicas - live.replicas)))
    memory = remember_changes(s, settings.replicas, _with_needs(s, d, memory))
    memory = remember_level(s, remember_cuts(s, settings.replicas, memory))
    memory = remember_order(s, settings.replicas, memory)
    d = tell_order(memory, d)
    memory = replace(memory, settings=settings, decided_at=s.now)
    return Decision(
        current=live,
        settings=settings,
        recommended=recommended,
        diagnosis=s.diagnosis,
        steps=d.steps,
        conditions=conditions(s, d),
        memory=memory,
        reason=main_reason(s, d, live, settings),
        summary=summary(s, d, live, settings),
        demand_runs=s.demand.ahead_runs if s.demand else None,
        forecast=s.demand,
        margin_runs=s.demand.staffed(s.demand.ahead_runs) - s.demand.ahead_runs if s.demand else None,
        hpa_replicas=_hpa(s),
    )


def _paused_replicas(s: Situation, replicas: int) -> int:
    bounds = s.policy.replicas
    if bounds.mode is not Mode.AUTO:
        return replicas
    return min(max(s.target.replicas, bounds.min), bounds.max)


def _with_needs(s: Situation, d: Draft, memory: Memory) -> Memory:
    """Remember what demand asked for, raw, as long as any window looks back."""
    behavior = s.policy.replicas.behavior
    window = max(LEAST_HISTORY_SECONDS, hold_seconds(s))
    periods = [LEAST_HISTORY_SECONDS]
    if behavior:
        for rules in (behavior.scale_up, behavior.scale_down):
            window = max(window, rules.stabilization_window_seconds)
            periods += [policy.period_seconds for policy in rules.policies]
    changes = tuple(c for c in memory.changes if s.now - c.at < max(periods))
    needs, worker_needs = recent(memory.needs, s.now, window), recent(memory.worker_needs, s.now, LEAST_HISTORY_SECONDS)
    if s.demand is not None and s.knowledge in {Knowledge.KNOWN, Knowledge.PARTIAL}:
        raw = next(
            (step.after for step in reversed(d.steps) if step.rule in NEEDS and step.knob is Knob.REPLICAS), None
        )
        need = raw if isinstance(raw, int) else s.current.replicas
        if s.demand.surge:
            # What only a backlog asks for goes with the backlog, and so does the margin on top of a burst.
            runs = min(s.demand.ahead_runs, s.demand.arrival_rate * s.demand.service_seconds)
            lasting = replicas_for(runs, delivered_workers(s, base_workers(s)))
            need = min(need, max(lasting, external_replicas(s) or 0))
        workers = needed_workers(s, s.demand, base_workers(s), reachable_workers(s))
        if s.knowledge is Knowledge.PARTIAL and s.memory.known_since is None:
            # A lower bound is no recommendation to shrink to.
            need, workers = max(need, s.current.replicas), max(workers, s.current.workers or 0)
        needs = (*needs, Sample(s.now, float(need)))
        worker_needs = (*worker_needs, Sample(s.now, float(workers)))
    return replace(memory, needs=needs, worker_needs=worker_needs, changes=changes)


def _hpa(s: Situation) -> int | None:
    busy = s.value(SignalName.IN_FLIGHT)
    if busy is None:
        return None
    bounds = s.policy.replicas
    return hpa_replicas(
        replicas=s.target.replicas,
        ready=s.target.ready_replicas,
        in_flight=busy,
        workers=base_workers(s),
        minimum=bounds.min,
        maximum=bounds.max,
    )
