"""Trials: a move that hopes for something is judged by what it did, and taken back where it did harm or nothing.

Of the knobs only the cache is explored: a larger one may or may not find more, a smaller one may or may not lose some.
All else follows from demand, memory and the provider. One move at a time; then the share of lookups that hit, before
and after, are compared as two proportions. What cannot be told apart is kept.
"""

from __future__ import annotations

from enum import Enum
from math import sqrt

from agentscaler.api.conditions import Reason
from agentscaler.core.memory import Memory, Rest, Trial, TrialKind
from agentscaler.core.observation import SignalName
from agentscaler.core.settings import Cache, Knob, Settings
from agentscaler.core.situation import Draft, Situation, describe_cache
from agentscaler.core.values import replace

WINDOW_SECONDS = 300.0
"""Hit ratios look back so long."""
SETTLE_SECONDS = 120.0
"""Before it a cache that was changed has not begun to fill."""
LONGEST_SECONDS = 3600.0
SHRUNK_SECONDS = 2 * (SETTLE_SECONDS + WINDOW_SECONDS)
"""After such times a trial tells nothing any more, of a larger and of a smaller cache: what it set stays, unjudged."""
DEVIATIONS = 2.0
"""Standard deviations that two ratios must differ by."""
WORTH = 0.02
"""Of the lookups: a move that surely wins less than this is not worth its memory, or its older answers."""
HARM = 0.01
"""Of the lookups: a loss below this is none."""
FILLED = 0.85
LEAST_REST_SECONDS, LONGEST_REST_SECONDS = 1800.0, 86_400.0
"""Between two trials of a kind: the first rest after a failure, which doubles with each one, and the longest."""


class Verdict(Enum):
    """What becomes of a trial."""

    PENDING = "pending"
    KEEP = "keep"
    TAKE_BACK = "take back"
    UNJUDGED = "unjudged"


def resting(s: Situation, kind: TrialKind) -> bool:
    """Whether moves of this kind have failed and are not to be tried yet."""
    return any(rest.kind is kind and s.now < rest.until for rest in s.memory.rests)


def verdict(s: Situation) -> Verdict:
    """Of the trial that is under way; PENDING where there is none, or not enough is known."""
    trial, ratio, lookups = s.memory.trial, s.value(SignalName.CACHE_HIT_RATIO), lookups_of(s)
    if trial is None:
        return Verdict.PENDING
    age = s.now - trial.at
    too_old = age >= (SHRUNK_SECONDS if trial.kind is TrialKind.SHRINK else LONGEST_SECONDS)
    if too_old or s.target.rolling_out or s.target.replicas != trial.replicas:
        return Verdict.UNJUDGED
    if ratio is None or lookups is None:
        return Verdict.PENDING
    gain = ratio - trial.hit_ratio
    pooled = (ratio * lookups + trial.hit_ratio * trial.lookups) / (lookups + trial.lookups)
    chance = DEVIATIONS * sqrt(pooled * (1 - pooled) * (1 / lookups + 1 / trial.lookups))
    if trial.kind is TrialKind.SHRINK:
        if age >= WINDOW_SECONDS and gain < -max(chance, HARM):
            return Verdict.TAKE_BACK
        return Verdict.KEEP if age >= SETTLE_SECONDS + WINDOW_SECONDS else Verdict.PENDING
    if age >= SETTLE_SECONDS and gain > max(chance, HARM):
        return Verdict.KEEP
    if age < SETTLE_SECONDS + WINDOW_SECONDS or _takes_effect(s, trial, age):
        return Verdict.PENDING
    return Verdict.TAKE_BACK if gain + chance < WORTH else Verdict.KEEP


def _takes_effect(s: Situation, trial: Trial, age: float) -> bool:
    """Whether more is still to come of a larger cache that fills, or of entries that would have expired."""
    before, after, held = trial.before, trial.after, s.value(SignalName.CACHE_BYTES)
    if trial.kind is TrialKind.LENGTHEN:
        return age < (after.ttl_seconds or 0) - (before.ttl_seconds or 0) + WINDOW_SECONDS
    if held is None or after.max_bytes is None or before.max_bytes is None:
        return False
    return held < before.max_bytes + FILLED * (after.max_bytes - before.max_bytes)


def lookups_of(s: Situation) -> float | None:
    """Lookups of the window of the hit ratio; None where it is not known or there were none."""
    ratio, misses = s.value(SignalName.CACHE_HIT_RATIO), s.value(SignalName.CACHE_MISS_RATE)
    if ratio is None or not misses or not 0 <= ratio < 1:
        return None
    return misses / (1 - ratio) * WINDOW_SECONDS


def judge_trial(s: Situation, d: Draft) -> Draft:
    """Back to the last good cache where a trial did harm, or nothing."""
    trial = s.memory.trial
    if trial is None or d.settings.cache != trial.after or verdict(s) is not Verdict.TAKE_BACK:
        return d
    settings = replace(d.settings, cache=trial.before)
    ratio = s.value(SignalName.CACHE_HIT_RATIO) or 0.0
    why = (
        f"{describe_cache(d.settings)} was a trial: {100 * ratio:.1f} % of the lookups hit, "
        f"{100 * trial.hit_ratio:.1f} % before: back to {describe_cache(settings)}"
    )
    return d.set("judge-trial", Knob.CACHE, settings, Reason.TRIAL_FAILED, why)


def remember_trial(s: Situation, d: Draft, settings: Settings, memory: Memory) -> Memory:
    """Begin, end or drop the trial. `settings`: what is in force from now on, whatever the rules advised."""
    trial, before = s.memory.trial, s.current.cache
    if settings.cache != before:
        if trial is not None and settings.cache == trial.before and _last_rule(d) == "judge-trial":
            return replace(memory, trial=None, rests=_rested(memory.rests, trial.kind, s.now))
        # Something more important that moves it drops the trial.
        return replace(memory, trial=_begun(s, settings.cache) if _last_rule(d) == "tune-cache" else None)
    if trial is None:
        return memory
    if trial.after != before:
        return replace(memory, trial=None)
    found = verdict(s)
    if found is Verdict.KEEP:
        return replace(memory, trial=None, rests=tuple(each for each in memory.rests if each.kind is not trial.kind))
    return replace(memory, trial=None) if found is Verdict.UNJUDGED else memory


def _begun(s: Situation, after: Cache) -> Trial | None:
    before, ratio, lookups = s.current.cache, s.value(SignalName.CACHE_HIT_RATIO), lookups_of(s)
    if ratio is None or lookups is None or s.target.restart_delivery:
        return None  # a restart empties the caches: nothing could be compared
    if after.ttl_seconds != before.ttl_seconds:
        kind = TrialKind.LENGTHEN
    else:
        kind = TrialKind.GROW if (after.max_bytes or 0) > (before.max_bytes or 0) else TrialKind.SHRINK
    return Trial(s.now, kind, before, after, ratio, lookups, s.target.replicas)


def _rested(rests: tuple[Rest, ...], kind: TrialKind, now: float) -> tuple[Rest, ...]:
    seconds = next((min(2 * each.seconds, LONGEST_REST_SECONDS) for each in rests if each.kind is kind), None)
    rest = Rest(kind, seconds or LEAST_REST_SECONDS, now + (seconds or LEAST_REST_SECONDS))
    return (*(each for each in rests if each.kind is not kind), rest)


def _last_rule(d: Draft) -> str:
    return next((step.rule for step in reversed(d.steps) if step.knob is Knob.CACHE), "")
