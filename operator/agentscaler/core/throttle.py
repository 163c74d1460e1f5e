"""Workers that only earn 429s: taken away by a fifth, as long as that helps, and given back step by step."""

from __future__ import annotations

from math import sqrt

from agentscaler.api.conditions import Reason
from agentscaler.core.capacity import base_workers
from agentscaler.core.diagnose import upstream_throttled
from agentscaler.core.memory import Memory, Sample, ThrottleCut
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import Mode
from agentscaler.core.settings import Knob
from agentscaler.core.situation import Draft, Knowledge, Situation
from agentscaler.core.upstream import RATE_WINDOW_SECONDS, success_rate, upstream_shares
from agentscaler.core.values import replace

THROTTLE_FACTOR = 0.8
"""Multiplicative decrease on 429s, as in AIMD; the increase is the demand rule's."""
THROTTLE_SECONDS = 75.0
"""A cut shows in the rate of the last minute after that minute and a scrape."""
RETURN_SECONDS = 30.0
RETURN_SHARE = 8
"""Every half minute without 429s an eighth of the workers comes back, one at least: the additive increase."""
DEVIATIONS = 2.0
FUTILE_SECONDS = 3600.0
"""For so long it is remembered that fewer workers do not lower a share of 429s."""
NEWS = 1.5
"""Times that share: a throttle of another kind, worth a cut of its own."""


def withdraw_throttled(s: Situation, d: Draft) -> Draft:
    """Workers that only earn 429s are worth nothing: a fifth goes, and comes back step by step."""
    workers, cap = d.settings.workers, s.memory.throttle_cap
    if workers is None or s.policy.workers.mode is not Mode.AUTO:
        return d
    if cap is not None and cap < workers:
        d = d.workers("withdraw-throttled", cap, Reason.RATE_LIMITED, "the provider answered 429: back step by step")
        if cap < base_workers(s) and d.settings.replicas > s.current.replicas:
            why = "the provider's rate is the limit: replicas wait until all workers are back"
            d = d.replicas("withdraw-throttled", s.current.replicas, Reason.RATE_LIMITED, why)
            d = d.limit(Reason.RATE_LIMITED, why)
    if not _is_cut(s):
        return d
    assert d.settings.workers is not None
    fewer = max(s.policy.workers.min, int(d.settings.workers * THROTTLE_FACTOR))
    return d.workers("withdraw-throttled", fewer, Reason.RATE_LIMITED, "the provider answers 429: fewer runs at a time")


def remember_throttle(s: Situation, d: Draft, memory: Memory) -> Memory:
    """Note the cap, when it last moved, the rate of 429s, and whether the last cut has helped."""
    rate = s.value(SignalName.UPSTREAM_429_RATE)
    # A counter with a label is not there before its first event: unknown is no throttle, and the cap may return.
    throttled = rate is not None and upstream_throttled(s.observation)
    since = (s.now if memory.throttled_since is None else memory.throttled_since) if throttled else None
    rate = memory.throttle_rate if rate is None else rate
    if (memory.throttle_rate, memory.throttled_since) != (rate, since):
        memory = replace(memory, throttle_rate=rate, throttled_since=since)
    share = upstream_shares(s.observation)[1]
    futile = is_futile(s.memory, s.observation, s.now)
    if throttled and (_did_not_help(s) or futile):
        memory = replace(memory, throttle_futile=Sample(s.now, share), throttle_cut=None)
    step = next((step for step in reversed(d.steps) if step.rule == "withdraw-throttled"), None)
    if step is not None and step.knob is Knob.WORKERS and _is_cut(s):
        cut = ThrottleCut(s.now, share, success_rate(s.observation))
        return replace(memory, throttle_cap=d.settings.workers, throttled_at=s.now, throttle_cut=cut)
    cap = memory.throttle_cap
    if cap is None or (throttled and not futile) or s.now - memory.throttled_at < RETURN_SECONDS:
        return memory
    cap += max(1, cap // RETURN_SHARE)
    return replace(memory, throttle_cap=cap if cap < s.policy.workers.max else None, throttled_at=s.now)


def _is_cut(s: Situation) -> bool:
    """Whether a fifth of the workers goes now."""
    settled = s.now - s.memory.throttled_at >= THROTTLE_SECONDS
    if not settled or not _throttled_now(s) or _did_not_help(s):
        return False
    return not is_futile(s.memory, s.observation, s.now)


def is_futile(memory: Memory, observation: Observation, now: float) -> bool:
    """Whether 429s come in a share that fewer workers have been seen not to lower: then they are no limit."""
    futile = memory.throttle_futile
    if futile is None or not 0 <= now - futile.at < FUTILE_SECONDS:
        return False
    return upstream_shares(observation)[1] <= NEWS * futile.value


def _did_not_help(s: Situation) -> bool:
    """Whether more calls than a limited rate would refuse are refused, a while after workers were cut.

    Of a provider that takes so many calls a second fewer calls leave a smaller share refused. Where somebody else uses
    up its rate, or one key of many is bad, the share stays as it is whatever is sent.
    """
    cut, calls = s.memory.throttle_cut, s.value(SignalName.UPSTREAM_CALL_RATE) or 0.0
    if cut is None or s.now - cut.at < THROTTLE_SECONDS or calls <= 0:
        return False
    expected = max(0.0, 1.0 - cut.succeeded / calls)
    chance = DEVIATIONS * sqrt(cut.share * (1.0 - cut.share) / (RATE_WINDOW_SECONDS * calls))
    return upstream_shares(s.observation)[1] > expected + chance


def _throttled_now(s: Situation) -> bool:
    """429s come in now, and do not only stand in the minute that the rate looks back.

    In the first minute of a throttle each new 429 raises the rate; after it, a rate that does not fall is fed.
    """
    if s.knowledge is not Knowledge.KNOWN or not upstream_throttled(s.observation):
        return False
    rate, before, since = s.value(SignalName.UPSTREAM_429_RATE) or 0.0, s.memory.throttle_rate, s.memory.throttled_since
    if since is None or s.now - since < THROTTLE_SECONDS:
        return rate > 1.01 * before
    return rate >= 0.97 * before
