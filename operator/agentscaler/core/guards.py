"""Rules that say no: unknown signals, a failing provider, pods that do not come, a pause."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.breaker import most_calls_succeed, provider_is_back
from agentscaler.core.budget import budget_burns
from agentscaler.core.decision import Diagnosis
from agentscaler.core.diagnose import OPEN, upstream_failing
from agentscaler.core.observation import SignalName
from agentscaler.core.settings import Cache, Knob, with_knob
from agentscaler.core.situation import Draft, Knowledge, Situation
from agentscaler.core.values import replace

OUTAGE_GROWTH = 2
"""Replicas in an outage that leaves most calls well, over those before it."""
CREDIT_START_UPS = 3.0
LEAST_CREDIT_SECONDS = 120.0


def no_less(s: Situation, d: Draft, rule: str, reason: Reason, why: str) -> Draft:
    """Keep replicas, workers and cache at what they are at least."""
    d = d.replicas(rule, max(d.settings.replicas, s.current.replicas), reason, why)
    if d.settings.workers is not None and s.current.workers is not None:
        d = d.workers(rule, max(d.settings.workers, s.current.workers), reason, why)
    return _keep_cache(s, d, rule, reason, why)


def no_more(s: Situation, d: Draft, rule: str, reason: Reason, why: str) -> Draft:
    """Keep replicas, workers and cache at what they are at most."""
    cut = d.settings.replicas > s.current.replicas
    d = d.replicas(rule, min(d.settings.replicas, s.current.replicas), reason, why)
    if d.settings.workers is not None and s.current.workers is not None:
        cut = cut or d.settings.workers > s.current.workers
        d = d.workers(rule, min(d.settings.workers, s.current.workers), reason, why)
    size, ttl = (
        _at_most(d.settings.cache.max_bytes, s.current.cache.max_bytes),
        _at_most(d.settings.cache.ttl_seconds, s.current.cache.ttl_seconds),
    )
    d = d.set(rule, Knob.CACHE, replace(d.settings, cache=Cache(size, ttl)), reason, why)
    d = d.limit(reason, why) if cut else d
    return _keep_cache(s, d, rule, reason, why)


def _at_most(value: int | None, most: int | None) -> int | None:
    return most if value is not None and most is not None and value > most else value


def _keep_cache(s: Situation, d: Draft, rule: str, reason: Reason, why: str) -> Draft:
    """Less cache is no loss of capacity in exchange for more workers; where those are refused, it is one."""
    before, after = s.current.cache.max_bytes, d.settings.cache.max_bytes
    if before is None or after is None or after >= before or d.settings.workers != s.current.workers:
        return d
    cache = replace(d.settings, cache=replace(d.settings.cache, max_bytes=before))
    return d.set(rule, Knob.CACHE, cache, reason, why)


def spare_dependency(s: Situation, d: Draft) -> Draft:
    """A provider that fails or throttles is not helped by more pods: replicas stand still, 429s cut workers.

    Where most calls still succeed, those that hang take workers away from them, and after an outage there is work to
    catch up with: then replicas may grow, within bounds.
    """
    if s.diagnosis is not Diagnosis.DEPENDENCY_BOUND and not _outage_behind_memory(s):
        return d
    if most_calls_succeed(s) or provider_is_back(s):
        most = max(OUTAGE_GROWTH * s.memory.replicas_before_outage, s.current.replicas)
        why = "the provider fails in part, or did a minute ago: no more than twice the pods from before"
        if d.settings.replicas > most:
            d = d.limit(Reason.HOLDING_DEPENDENCY, why)
        return d.replicas("spare-dependency", min(d.settings.replicas, most), Reason.HOLDING_DEPENDENCY, why)
    why = "the provider is the limit: more capacity would only send it more calls"
    if d.settings.replicas > s.current.replicas:
        d = d.limit(Reason.HOLDING_DEPENDENCY, why)
    d = d.replicas("spare-dependency", s.current.replicas, Reason.HOLDING_DEPENDENCY, why)
    if d.settings.workers is None or s.current.workers is None:
        return d
    workers = min(d.settings.workers, s.current.workers)
    return d.workers("spare-dependency", workers, Reason.HOLDING_DEPENDENCY, why)


def _outage_behind_memory(s: Situation) -> bool:
    """Whether the provider fails now, though memory danger has the diagnosis.

    Rates look back a minute, and memory must not wait so long for its pods: only a breaker that is open proves it.
    """
    is_open = (s.value(SignalName.BREAKER_STATE) or 0) >= OPEN
    return s.diagnosis is Diagnosis.MEMORY_BOUND and is_open and upstream_failing(s.observation)


def keep_the_unknown(s: Situation, d: Draft) -> Draft:
    """Unknown may hold or raise capacity, never lower it."""
    if s.knowledge is Knowledge.KNOWN:
        return d
    return no_less(s, d, "keep-the-unknown", Reason.HOLDING_UNKNOWN, "demand is not fully known: nothing is taken away")


def save_only_in_peace(s: Situation, d: Draft) -> Draft:
    """Saving waits for a full window of signals, the end of a rollout, a healthy provider and a budget that lasts."""
    if s.known_for_seconds < s.policy.window_seconds:
        return no_less(
            s,
            d,
            "save-only-in-peace",
            Reason.HOLDING_RECOVERY,
            f"a full window of {s.policy.window_seconds} s of signals comes before any saving",
        )
    if s.target.rolling_out:
        return no_less(s, d, "save-only-in-peace", Reason.HOLDING_ROLLOUT, "a rollout is under way")
    if s.diagnosis is Diagnosis.DEPENDENCY_BOUND:
        return no_less(s, d, "save-only-in-peace", Reason.HOLDING_DEPENDENCY, "a failing provider hides the demand")
    if budget_burns(s):
        why = "the error budget burns: in the window and over an hour more runs fail than the objective allows"
        return no_less(s, d, "save-only-in-peace", Reason.HOLDING_ERRORS, why)
    return d


def late_pods(s: Situation) -> str:
    """Why pods on their way are given up; empty while they may still come.

    A pod that is older than one that did become ready is a broken pod, and no sign that pods do not come; so is one
    of a batch of which most came.
    """
    came = max((pod.created_at for pod in s.target.pods if pod.ready_at is not None), default=0.0)
    young = [pod for pod in s.target.pods if pod.created_at >= came]
    missing = [pod for pod in young if pod.ready_at is None]
    if 2 * len(missing) < len(young) or not missing or s.target.ready_replicas >= s.target.replicas:
        return ""
    patience = max(LEAST_CREDIT_SECONDS, CREDIT_START_UPS * s.memory.learned.start_up_seconds)
    for pod in missing:
        if pod.problem:
            return pod.problem
        if s.now - pod.created_at > patience:
            return "pods have not become ready for three times the learned start-up time"
    return ""


def expire_credit(s: Situation, d: Draft) -> Draft:
    """Pods on their way are counted as if they were here, until they do not come: then no more are ordered."""
    if d.settings.replicas <= s.current.replicas:
        return d
    why = late_pods(s)
    if not why:
        return d
    d = d.replicas("expire-credit", s.current.replicas, Reason.PODS_NOT_COMING, f"no more pods are ordered: {why}")
    # The part after the colon counts nodes and seconds: it belongs to the step, not to a condition.
    return d.limit(Reason.PODS_NOT_COMING, f"pods that were ordered do not come: {why.split(':')[0]}")


def obey_full_pause(s: Situation, d: Draft) -> Draft:
    """A pause of both directions stops everything, memory relief too: the user has taken over."""
    if s.policy.paused_scale_in and s.policy.paused_scale_out:
        for knob in Knob:
            d = d.set("obey-pause", knob, with_knob(d.settings, knob, s.current), Reason.PAUSED, "tuning is paused")
    return d


def obey_pause(s: Situation, d: Draft) -> Draft:
    """A pause of one direction stops that direction for every knob; memory relief, which comes later, is excepted."""
    if s.policy.paused_scale_in and s.policy.paused_scale_out:
        return d
    if s.policy.paused_scale_in:
        return no_less(s, d, "obey-pause", Reason.PAUSED, "scale-in is paused")
    if s.policy.paused_scale_out:
        return no_more(s, d, "obey-pause", Reason.PAUSED, "scale-out is paused")
    return d
