"""The situation of one object, worked out before any rule: what is known, what is wanted, what limits it."""

from __future__ import annotations

from agentscaler.core.breaker import remember_upstream
from agentscaler.core.capacity import reachable_workers
from agentscaler.core.decision import Diagnosis
from agentscaler.core.demand import demand, lead_seconds
from agentscaler.core.diagnose import all_targets_down, diagnose, upstream_throttled
from agentscaler.core.forecast import WINDOWS, foresee
from agentscaler.core.learn import TAIL_HALF_LIFE_SECONDS, learn, memory_law
from agentscaler.core.margin import judge
from agentscaler.core.memory import Learned, Memory, Sample
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import Mode, Policy
from agentscaler.core.relief import memory_short
from agentscaler.core.settings import Settings
from agentscaler.core.situation import Knowledge, Situation, serving_pods
from agentscaler.core.target import Target
from agentscaler.core.throttle import is_futile
from agentscaler.core.upstream import FRESH_SECONDS, fails_afresh, failure_rate
from agentscaler.core.values import replace

PART_SECONDS = 60.0
"""Beyond the learned start-up: for so long a pod may be Ready and not scraped yet, or scraped and leaving."""


def assess(policy: Policy, target: Target, observation: Observation, memory: Memory, now: float) -> Situation:
    """Work out once what all rules look at, and take this tick into memory."""
    elapsed = now - memory.decided_at if memory.decided_at else float(policy.interval_seconds)
    full = memory.rates_since is not None and now - memory.rates_since >= WINDOWS[0][0]
    learned = learn(memory.learned, target, observation, elapsed, full=full)
    learned = replace(learned, lateness=judge(learned.lateness, policy.objectives, observation, elapsed))
    reported = observation.value(SignalName.WORKER_LIMIT)
    current = replace(memory.settings or Settings(replicas=target.replicas), replicas=target.replicas)
    in_force = current.workers if current.workers is not None else (int(reported) if reported else None)
    # Settings that have not arrived yet do no work.
    working = min(in_force, int(reported)) if in_force and reported else in_force
    slots = max(working or 1, 1) * serving_pods(target, observation)
    lead = lead_seconds(policy, observation, learned, now)
    foresight = replace(memory.foresight, since=memory.rates_since)
    short = bool(reported and current.workers and int(reported) < current.workers)
    memory = replace(
        memory,
        learned=learned,
        foresight=foresee(foresight, observation, now, lead_seconds=lead),
        undelivered_since=_since(memory.undelivered_since, now) if short else None,
    )
    wanted = demand(
        policy,
        observation,
        learned,
        now,
        slots=slots,
        foresight=memory.foresight,
        reserve=_reserve(policy, memory, working),
    )
    knowledge = _knowledge(target, observation, certain=wanted.certain if wanted else None)
    memory = _with_times(_with_gap(memory, policy, target, now), knowledge, now)
    if memory.base_workers is None and current.workers is None and reported:
        memory = replace(memory, base_workers=int(reported))
    if not memory.needs:
        # Without history the present size is the last recommendation, as for the HPA.
        memory = replace(memory, needs=(Sample(now, float(target.replicas)),))
    manual = policy.replicas.manual
    if memory.manual_replicas is not None and manual != memory.manual_replicas and policy.replicas.mode is Mode.AUTO:
        # The user named a size: start again from it, once.
        current = replace(current, replicas=manual)
        memory = replace(memory, needs=(Sample(now, float(manual)),))
    s = Situation(
        policy=policy,
        target=target,
        observation=observation,
        memory=_with_failures(_with_manual(memory, policy, target), observation, elapsed, now),
        now=now,
        current=current,
        knowledge=knowledge,
        demand=wanted,
        law=memory_law(memory.learned, observation, _headroom_bytes(policy, target, memory.learned)),
        workers_in_force=in_force,
        diagnosis=Diagnosis.UNKNOWN,
    )
    s = replace(
        s,
        diagnosis=diagnose(
            policy,
            target,
            observation,
            memory_short=memory_short(s),
            demand=wanted,
            workers=in_force,
            reach=reachable_workers(s),
            slots=slots,
            failing_afresh=now - s.memory.failed_afresh_at < FRESH_SECONDS,
            throttled=upstream_throttled(observation) and not is_futile(memory, observation, now),
        ),
    )
    return replace(s, memory=remember_upstream(s.memory, s))


def _with_failures(memory: Memory, observation: Observation, elapsed: float, now: float) -> Memory:
    """Note the rate of failures, and when it last rose."""
    rate = failure_rate(observation)
    if rate is None:
        return memory
    afresh = fails_afresh(observation, memory.failure_rate, elapsed)
    return replace(memory, failure_rate=rate, failed_afresh_at=now if afresh else min(memory.failed_afresh_at, now))


def _with_gap(memory: Memory, policy: Policy, target: Target, now: float) -> Memory:
    """After a time in which nothing was decided, nothing is known of it: a full window passes before any saving.

    The API server may have been away, or the spec refused; the size of now counts as needed, as after a restart.
    """
    gap = now - memory.decided_at if memory.decided_at else 0.0
    if gap <= max(2 * policy.interval_seconds, policy.window_seconds):
        return memory
    needs = (*memory.needs, Sample(now, float(target.replicas)))
    return replace(memory, known_since=None, partial_since=None, needs=needs)


def _with_times(memory: Memory, knowledge: Knowledge, now: float) -> Memory:
    """Since when demand has been known, or known in part, and rates have had their history."""
    if now < memory.decided_at:
        # The clock went back: nothing that was noted in its future may hold or free anything.
        memory = replace(
            memory,
            needs=(),
            worker_needs=(),
            changes=(),
            known_since=None,
            rates_since=None,
            partial_since=None,
            relieved_at=min(memory.relieved_at, now),
            kills=(),
            kill_cap=None,
            throttled_at=min(memory.throttled_at, now),
            cache_changed_at=min(memory.cache_changed_at, now),
            throttle_cut=None,
            throttle_futile=None,
            trial=None,
            rests=(),
            undelivered_since=None,
        )
    partial = _since(memory.partial_since, now) if knowledge is Knowledge.PARTIAL else None
    # A pod that comes or leaves holds while it does. A part that stays away is a gap like any other.
    passing = partial is not None and now - partial <= memory.learned.start_up_seconds + PART_SECONDS
    known = knowledge is Knowledge.KNOWN or passing
    seen = knowledge in {Knowledge.KNOWN, Knowledge.PARTIAL}
    return replace(
        memory,
        known_since=_since(memory.known_since, now) if known else None,
        rates_since=_since(memory.rates_since, now) if seen else None,
        partial_since=partial,
    )


def _since(before: float | None, now: float) -> float:
    return now if before is None else before


def _with_manual(memory: Memory, policy: Policy, target: Target) -> Memory:
    """Take note of `spec.replicas`. An adopted target has a size of its own: only a change of the field counts."""
    manual, auto = policy.replicas.manual, policy.replicas.mode is Mode.AUTO
    changed = memory.manual_replicas is not None and manual != memory.manual_replicas
    if changed and auto and manual and policy.paused_scale_in and policy.paused_scale_out:
        return memory  # nothing moves now: the size stands when the pause ends. Zero does not wait for that.
    if changed and auto:
        memory = replace(memory, open_order=max(manual, policy.replicas.min))
    heeded = memory.manual_heeded or changed or not target.adopted
    if (memory.manual_replicas, memory.manual_heeded) == (manual, heeded):
        return memory
    return replace(memory, manual_replicas=manual, manual_heeded=heeded)


def _knowledge(target: Target, observation: Observation, *, certain: bool | None) -> Knowledge:
    if all_targets_down(observation):
        return Knowledge.DEAD
    if certain is None:
        return Knowledge.UNKNOWN
    reporting = observation.value(SignalName.PODS_REPORTING)
    if reporting is not None and reporting < min(target.ready_replicas, target.replicas):
        return Knowledge.PARTIAL  # a pod that nobody scrapes is not an idle one
    known_rate = observation.value(SignalName.REQUEST_RATE_60) is not None
    known_queue = observation.value(SignalName.QUEUE_DEPTH) is not None or not _exported(observation)
    return Knowledge.KNOWN if certain and known_rate and known_queue else Knowledge.PARTIAL


def _exported(observation: Observation) -> bool:
    """Whether the framework exports a queue at all: a signal that does not exist is not one that is missing."""
    return SignalName.QUEUE_DEPTH in observation.signals


def _headroom_bytes(policy: Policy, target: Target, learned: Learned) -> float:
    """What the limit leaves above the memory objective, so far as the tail is known: wholly after two hours."""
    ratio, limit = policy.objectives.memory_ratio, target.memory_limit_bytes
    if ratio is None or limit is None:
        return 0.0
    known = min(learned.memory.n * policy.interval_seconds / TAIL_HALF_LIFE_SECONDS, 1.0)
    return known * (1.0 - ratio) * limit


def _reserve(policy: Policy, memory: Memory, workers: int | None) -> float:
    """Worker slots of a pod over the runs that it is sized for; 1 where nobody sizes it."""
    level = memory.learned.busy_level or policy.workers.initial
    return workers / level if workers and level and policy.workers.mode is Mode.AUTO else 1.0
