"""Pods that the kernel kills for memory: what they took is told too late, or by nobody."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.memory import Kill, KillCap, Memory
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode
from agentscaler.core.relief import ROOMY
from agentscaler.core.situation import Draft, Situation
from agentscaler.core.values import replace

TOGETHER_SECONDS = 300.0
"""Kills of several pods are of one kind within so long."""
AGAIN_SECONDS = 900.0
"""And those of one pod: the kubelet waits for up to five minutes before it starts a container again."""
LEAST_KILLS = 2
"""A single one was a rare run."""
LEAST_KILLS_OF_EACH = 3
"""Where memory is seen to have room between the kills."""
SETTLE_SECONDS = 15.0
"""A pod that was killed so soon after a cut had not begun with it."""
KEPT, KEPT_AFTER_RISE = 0.6, 0.75
"""Of the workers. How many fit is not known: a kill tells nothing of what was held; after a rise it was little more."""
REST_SECONDS, LONGEST_REST_SECONDS = 300.0, 7200.0
"""Before the cap rises; twice as long after each rise that killed."""


def survive_kills(s: Situation, d: Draft) -> Draft:
    """Half of the pods are killed for memory, or one of a few again and again: fewer workers until they live.

    Pods that all die are down together, and what waits for them kills them again as soon as they are back. Nothing is
    known then but this. One pod of many, or a single kill, is a rare run, and no reason to slow all of them.
    """
    cap, workers = s.memory.kill_cap, s.workers_in_force
    if s.policy.workers.mode is Mode.OFF:
        return d
    if _die(s):
        least = max(s.policy.workers.min, 1)
        if workers is None or workers <= least:
            return d.limit(Reason.MEMORY_PRESSURE, "pods are killed for memory, and no workers can go: raise the limit")
        kept = KEPT_AFTER_RISE if cap is not None and cap.risen else KEPT
        why = "pods are killed for memory, half of them or one again and again"
        return _at_most(d, max(int(kept * workers), least), why)
    return d if cap is None else _at_most(d, cap.workers, "pods were killed for memory with more workers")


def remember_kills(s: Situation, d: Draft, memory: Memory) -> Memory:
    """Keep what was seen, and a cut as the highest count, which rises step by step while pods live."""
    kills, cap = _kills(s), memory.kill_cap
    if kills != memory.kills:
        memory = replace(memory, kills=kills)
    workers, before = d.settings.workers, s.workers_in_force
    if workers is not None and before is not None and workers < before and _die(s):
        rest = cap.rest_seconds if cap is not None else REST_SECONDS
        if cap is not None and cap.risen:
            rest = min(2 * rest, LONGEST_REST_SECONDS)
        return replace(memory, kill_cap=KillCap(workers, s.now, rest))
    if cap is None:
        return memory
    reported = s.value(SignalName.WORKER_LIMIT)
    if reported is not None and reported <= cap.workers and not cap.delivered:
        cap = replace(cap, delivered=True)
    if s.now - cap.at >= cap.rest_seconds and 2 * s.target.ready_replicas > s.target.replicas:
        more = cap.workers + max(1, cap.workers // 4)
        cap = replace(cap, workers=more, at=s.now, risen=True) if more < s.policy.workers.max else None
    return memory if cap == memory.kill_cap else replace(memory, kill_cap=cap)


def _at_most(d: Draft, workers: int, why: str) -> Draft:
    if d.settings.workers is not None and d.settings.workers <= workers:
        return d
    return d.workers("survive-kills", workers, Reason.MEMORY_PRESSURE, f"{why}: {workers} workers for now")


def _die(s: Situation) -> bool:
    """Whether a kill that is new makes it so many that the workers are to blame."""
    kills, cap, since = _kills(s), s.memory.kill_cap, s.now - TOGETHER_SECONDS
    if not set(kills) - set(s.memory.kills):
        return False
    if cap is not None:
        if s.target.restart_delivery and not cap.delivered:
            return False  # they still start with what they had
        since = max(since, cap.at if cap.risen else cap.at + SETTLE_SECONDS)
    fresh = [kill for kill in kills if kill.at > since]
    begun = sum(pod.ready_at is not None or pod.restarted or pod.killed_at is not None for pod in s.target.pods)
    least = max(LEAST_KILLS, LEAST_KILLS_OF_EACH * begun) if _roomy(s) else LEAST_KILLS
    return 2 * len(fresh) >= max(begun, 1) and sum(kill.times for kill in fresh) >= least


def _roomy(s: Situation) -> bool:
    """Whether the mean pod is seen to have room: then rare runs kill, unless each pod dies again and again."""
    mean, budget = s.value(SignalName.MEMORY_MEAN_BYTES), s.memory_budget_bytes
    return mean is not None and budget is not None and mean <= ROOMY * budget


def _kills(s: Situation) -> tuple[Kill, ...]:
    """The last one of each pod. Pods tell of it only while pods come and go."""
    known = {kill.pod: kill for kill in s.memory.kills if s.now - kill.at < AGAIN_SECONDS}
    for pod in s.target.pods:
        before = known.get(pod.name)
        told = pod.killed_at
        if told is None or s.now - told >= AGAIN_SECONDS or (before is not None and before.told_at == told):
            continue
        # The kubelet's clock may be ahead.
        known[pod.name] = Kill(pod.name, told, min(told, s.now), times=before.times + 1 if before else 1)
    return tuple(sorted(known.values(), key=lambda kill: kill.pod))
