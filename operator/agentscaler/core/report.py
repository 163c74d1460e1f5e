"""A decision in words: conditions, the reason that weighed most, and one sentence for a person."""

from __future__ import annotations

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.core.decision import Diagnosis, Step
from agentscaler.core.guards import late_pods
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode
from agentscaler.core.schedules import unknown_zone
from agentscaler.core.settings import Knob, Settings
from agentscaler.core.situation import Draft, Knowledge, Situation, describe_breaker, describe_cache

QUEUE_SHARE = 0.1
"""Below this share of the latency, waiting is not what makes it long."""

KNOBS = (Knob.REPLICAS, Knob.WORKERS, Knob.CACHE, Knob.CIRCUIT_BREAKER)
QUIET = {
    Diagnosis.IDLE: "no traffic",
    Diagnosis.STEADY: "demand and capacity fit",
    Diagnosis.OVERSIZED: "capacity is above demand",
    Diagnosis.UNKNOWN: "demand is not known, so everything is held",
    Diagnosis.DEAD: "every scrape target is down, so everything is held",
    Diagnosis.WORKER_BOUND: "all workers are busy",
    Diagnosis.REPLICA_BOUND: "all workers of all replicas are busy",
    Diagnosis.DEPENDENCY_BOUND: "the provider fails or throttles",
    Diagnosis.MEMORY_BOUND: "memory is above its objective",
}


def conditions(s: Situation, d: Draft) -> tuple[Condition, ...]:
    """The conditions that follow from the decision alone. Messages hold no number that drifts."""
    found = [_scaling_active(s, d), _metrics_available(s), _scaling_limited(d), _objective_unreachable(s)]
    why = late_pods(s)
    if why:
        found.append(
            Condition(ConditionType.STALLED, True, Reason.PODS_NOT_COMING, f"pods do not come: {why.split(':')[0]}")
        )
    elif mend := unknown_zone(s.policy):
        found.append(Condition(ConditionType.STALLED, True, Reason.INVALID_SCHEDULE, mend))
    return tuple(found)


def _scaling_active(s: Situation, d: Draft) -> Condition:
    kind, p = ConditionType.SCALING_ACTIVE, s.policy
    if p.replicas.manual == 0:
        return Condition(kind, False, Reason.SCALED_TO_ZERO, "spec.replicas is 0; set it to 1 or more to start tuning")
    if p.paused_scale_in and p.paused_scale_out:
        return Condition(kind, False, Reason.PAUSED, "tuning is paused; set spec.paused to false to go on")
    modes = {p.replicas.mode, p.workers.mode, p.cache.mode, p.breaker.mode}
    if Mode.AUTO not in modes:
        reason = Reason.RECOMMEND_ONLY if Mode.RECOMMEND in modes else Reason.SWITCHED_OFF
        return Condition(kind, False, reason, "no knob is in mode Auto")
    if d.settings.replicas == 0 and p.replicas.mode is Mode.AUTO:
        return Condition(kind, False, Reason.SCALED_TO_ZERO, "a schedule lets the service rest without pods now")
    if s.knowledge in {Knowledge.UNKNOWN, Knowledge.DEAD}:
        return Condition(kind, False, Reason.HOLDING_UNKNOWN, "demand is not known: nothing is taken away")
    return Condition(kind, True, Reason.SIGNALS_FRESH, "knobs in mode Auto follow the signals")


def _metrics_available(s: Situation) -> Condition:
    kind = ConditionType.METRICS_AVAILABLE
    if s.knowledge is Knowledge.DEAD:
        return Condition(kind, False, Reason.TARGETS_DOWN, "every scrape target of the object is down")
    if s.observation.problems:
        reason, message = s.observation.problems[0]
        available = None if s.knowledge is Knowledge.KNOWN else False
        return Condition(kind, available if available is False else True, Reason(reason), message)
    if s.knowledge is Knowledge.PARTIAL and s.memory.known_since is None:
        return Condition(
            kind,
            False,
            Reason.SIGNALS_PARTIAL,
            "some ready pods have reported no series for a while, so nothing is taken away: are all of them scraped?",
        )
    if s.knowledge is Knowledge.UNKNOWN:
        return Condition(kind, False, Reason.SIGNALS_EMPTY, "no series of running work: is the agent scraped?")
    if s.target.memory_limit_bytes is None and s.policy.objectives.memory_ratio is not None:
        return Condition(
            kind,
            True,
            Reason.NO_MEMORY_LIMIT,
            "the container has no memory limit, so the memory objective is off; set resources.limits.memory",
        )
    return Condition(kind, True, Reason.SIGNALS_FRESH, "the required signals are known")


def _scaling_limited(d: Draft) -> Condition:
    kind = ConditionType.SCALING_LIMITED
    if d.limits:
        reason, message = d.limits[-1]
        return Condition(kind, True, reason, message)
    return Condition(kind, False, Reason.WITHIN_RANGE, "nothing keeps the knobs from what demand asks for")


def _objective_unreachable(s: Situation) -> Condition:
    kind = ConditionType.OBJECTIVE_UNREACHABLE
    latency, objective = s.value(SignalName.LATENCY), s.policy.objectives.latency
    wait = s.value(SignalName.QUEUE_WAIT)
    if objective is None or latency is None:
        return Condition(kind, False, Reason.REACHABLE, "no latency objective is broken by the service time alone")
    if latency > objective.target_seconds and wait is not None and wait < QUEUE_SHARE * latency:
        return Condition(
            kind,
            True,
            Reason.SERVICE_TIME,
            "the runs themselves take longer than objectives.latency allows; "
            "no capacity mends that: make runs shorter or the objective longer",
        )
    return Condition(kind, False, Reason.REACHABLE, "no latency objective is broken by the service time alone")


def main_reason(s: Situation, d: Draft, current: Settings, settings: Settings) -> Reason:
    """Why the most weighty knob moved; without a move, what held it."""
    for knob in KNOBS:
        if moved(knob, current, settings):
            step = _cause(d, knob, current, settings)
            return step.reason if step is not None else Reason.MANUAL
    if s.policy.replicas.manual == 0:
        return Reason.SCALED_TO_ZERO
    if s.policy.paused_scale_in and s.policy.paused_scale_out:
        return Reason.PAUSED
    if s.target.conflict:
        return Reason.HOLDING_CONFLICT
    if settings.replicas == 0:
        return Reason.SCALED_TO_ZERO
    if s.knowledge in {Knowledge.UNKNOWN, Knowledge.DEAD}:
        return Reason.HOLDING_UNKNOWN
    if s.diagnosis is Diagnosis.DEPENDENCY_BOUND:
        return Reason.HOLDING_DEPENDENCY
    held = _holder(d)
    if held is not None:
        return held.reason
    return d.limits[-1][0] if d.limits else Reason.STEADY


def _cause(d: Draft, knob: Knob, current: Settings, settings: Settings) -> Step | None:
    """The first step that moved the knob the way it went in the end: later ones only cut it."""
    steps = [step for step in d.steps if step.knob is knob]
    if not steps:
        return None
    before, after = {
        Knob.REPLICAS: (current.replicas, settings.replicas),
        Knob.WORKERS: (current.workers, settings.workers),
    }.get(knob, (None, None))
    if before is None or after is None:
        return steps[-1]
    same_way = [step for step in steps if isinstance(step.after, int) and (step.after > before) == (after > before)]
    return same_way[0] if same_way else steps[-1]


def _holder(d: Draft) -> Step | None:
    """The step that undid a move of replicas, or of workers."""
    for knob in (Knob.REPLICAS, Knob.WORKERS):
        steps = [step for step in d.steps if step.knob is knob]
        if len(steps) > 1 and steps[0].before == steps[-1].after:
            return steps[-1]
    return None


def moved(knob: Knob, current: Settings, settings: Settings) -> bool:
    """Whether that knob differs."""
    match knob:
        case Knob.REPLICAS:
            return current.replicas != settings.replicas
        case Knob.WORKERS:
            return current.workers != settings.workers
        case Knob.CACHE:
            return current.cache != settings.cache
        case Knob.CIRCUIT_BREAKER:
            return current.breaker != settings.breaker


def summary(s: Situation, d: Draft, current: Settings, settings: Settings) -> str:
    """`replicas 2 -> 5, workers 8 -> 16: all workers are busy (...)`."""
    shown = {
        Knob.REPLICAS: (str(current.replicas), str(settings.replicas)),
        Knob.WORKERS: (_or_dash(current.workers), _or_dash(settings.workers)),
        Knob.CACHE: (describe_cache(current), describe_cache(settings)),
        Knob.CIRCUIT_BREAKER: (describe_breaker(current), describe_breaker(settings)),
    }
    moves = [f"{knob} {a} -> {b}" for knob, (a, b) in shown.items() if moved(knob, current, settings)]
    if not moves:
        held = _holder(d)
        return f"no change: {QUIET[s.diagnosis]}" + (f"; {held.message}" if held is not None else "")
    whys: list[str] = []
    for knob in shown:
        if not moved(knob, current, settings):
            continue
        cause, steps = _cause(d, knob, current, settings), [step for step in d.steps if step.knob is knob]
        if cause is not None:
            whys += [cause.message] if cause is steps[-1] else [cause.message, steps[-1].message]
    return f"{', '.join(moves)}: {'; '.join(dict.fromkeys(whys)) or 'as the resource says'}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
