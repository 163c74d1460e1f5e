"""The circuit breaker: tightened while the provider fails, back to its start when the provider has been well."""

from __future__ import annotations

from math import ceil

from agentscaler.api.conditions import Reason
from agentscaler.core.diagnose import FAILING_SHARE, OPEN, upstream_failing, upstream_throttled
from agentscaler.core.memory import Memory, Sample
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import BreakerPolicy, Mode, Range
from agentscaler.core.settings import Breaker, Knob
from agentscaler.core.situation import Draft, Situation, describe_breaker
from agentscaler.core.upstream import RATE_WINDOW_SECONDS, failure_rate, success_rate, upstream_shares
from agentscaler.core.values import replace

DEFAULT_THRESHOLD_PERCENT = 50
DEFAULT_WAIT_SECONDS = 30
SLIDING_WINDOW_SECONDS = 60
LEAST_CALLS, MOST_CALLS = 10, 15
"""The runtime's window holds the latest 30 calls: half of them tell enough."""
LEAST_FAILURES = 3
"""So many failed calls it takes at least to open a tightened breaker."""
TRIALS_OF_THROTTLED = 3
"""So many trial calls have to succeed before a breaker closes while there are 429s: a provider that answers a few calls
and refuses the rest would close it with each lucky one, and many calls are wasted until it opens again."""
CALM_SECONDS = 120.0
MOST, FEWER_THAN_MOST, MORE_THAN_MOST = 0.5, 0.4, 0.6
"""Share of the calls. A breaker that refuses while most would succeed costs more than it saves; the second share makes
it mild, the third strict again: about half of the calls must not move it to and fro."""
LEAST_OUTAGE_SECONDS = 30.0
"""Before that a share of few calls tells nothing."""
FALLING = 0.9
"""Of the failures when breakers closed: a rate that has not fallen to this share may tell that calls still fail."""
RISING, LEAST_RISE = 1.2, 0.1
"""Over the calls per second that succeeded when breakers closed: with so many more, calls do succeed."""
BACK_SECONDS = 10.0
"""For so long closed breakers have to stay closed until they are believed."""
WAIT_SHARE_OF_OUTAGE = 0.05
"""The open state may cost at most a twentieth of the outage again: the wait grows with its age."""


def start_breaker(policy: BreakerPolicy, call_rate_per_pod: float | None, workers: int | None) -> Breaker:
    """Where the breaker starts.

    A window of calls must be filled before a breaker can trip: library defaults (100 calls) never fill at an agent's
    rates, so the least number of calls is half of what a pod makes in the window.
    """
    threshold, wait = policy.failure_rate_threshold_percent, policy.wait_duration_in_open_state_seconds
    calls = int((call_rate_per_pod or 0.0) * SLIDING_WINDOW_SECONDS / 2)
    return Breaker(
        failure_rate_threshold_percent=_start(threshold, DEFAULT_THRESHOLD_PERCENT),
        wait_duration_in_open_state_seconds=_start(wait, DEFAULT_WAIT_SECONDS),
        sliding_window_seconds=SLIDING_WINDOW_SECONDS,
        minimum_number_of_calls=min(max(calls, LEAST_CALLS), MOST_CALLS),
        permitted_calls_in_half_open_state=_trials(workers),
    )


def _trials(workers: int | None) -> int:
    """A tenth of what a pod does at a time, one at least."""
    return max(1, (workers or 1) // 10)


def _start(bounds: Range | None, default: int) -> int | None:
    if bounds is None:
        return None
    return bounds.initial if bounds.initial is not None else min(max(default, bounds.min), bounds.max)


def tune_breaker(s: Situation, d: Draft) -> Draft:
    """While most calls fail: trip early, wait longer the longer it lasts. Well for two minutes: start values.

    A breaker that has tripped tells that most calls fail before the rates of a minute do.
    """
    policy, now = s.policy.breaker, s.now
    if policy.mode is Mode.OFF or d.settings.breaker == Breaker():
        return d
    breaker = d.settings.breaker
    if s.memory.upstream_bad_since is not None:
        # Only calls that failed count, or the breaker would feed on what it refuses itself; 429s are a matter of rate.
        failing = upstream_shares(s.observation)[0]
        if failing < FAILING_SHARE:
            return d
        if most_calls_succeed(s):
            # A window of 30 calls passes the usual threshold by chance where a third of them fail.
            threshold, start = policy.failure_rate_threshold_percent, start_breaker(policy, None, None)
            mild = replace(
                breaker,
                failure_rate_threshold_percent=None if threshold is None else threshold.max,
                wait_duration_in_open_state_seconds=start.wait_duration_in_open_state_seconds,
            )
            return _moved(d, mild, Reason.UPSTREAM_FAILING, "most calls succeed: they are not refused with the others")
        if not s.memory.breaker_tripped and failing < MOST:
            return d
        threshold, wait = policy.failure_rate_threshold_percent, policy.wait_duration_in_open_state_seconds
        tight = breaker
        if breaker.permitted_calls_in_half_open_state is not None:
            # While nothing answers, one call a spell is enough to hear of it.
            most = TRIALS_OF_THROTTLED if upstream_throttled(s.observation) else 1
            tight = replace(tight, permitted_calls_in_half_open_state=most)
        if threshold is not None:
            tight = replace(tight, failure_rate_threshold_percent=_tight(threshold, breaker))
        state, waits = s.value(SignalName.BREAKER_STATE), breaker.wait_duration_in_open_state_seconds
        age = now - s.memory.upstream_bad_since
        # Rates look back a minute: a closed breaker says that it is over.
        if wait is not None and waits is not None and state != 0 and age * WAIT_SHARE_OF_OUTAGE >= 2 * waits:
            tight = replace(tight, wait_duration_in_open_state_seconds=min(wait.max, 2 * waits))
        return _moved(d, tight, Reason.UPSTREAM_FAILING, "the provider fails: trip early and probe seldom")
    calm = s.memory.upstream_calm_since
    if calm is None or now - calm < CALM_SECONDS:
        return d
    start = start_breaker(policy, None, None)
    trials = breaker.permitted_calls_in_half_open_state
    well = replace(
        breaker,
        permitted_calls_in_half_open_state=None if trials is None else _trials(d.settings.workers),
        failure_rate_threshold_percent=start.failure_rate_threshold_percent,
        wait_duration_in_open_state_seconds=start.wait_duration_in_open_state_seconds,
    )
    return _moved(d, well, Reason.UPSTREAM_RECOVERED, "the provider has been well for two minutes")


def most_calls_succeed(s: Situation) -> bool:
    """Whether the provider fails in part only: then what it still does is worth having.

    Rates look back a minute: before that is over, they hold the good time before, too, which is taken out of them.
    """
    since = s.memory.upstream_bad_since
    if since is None or s.now - since < LEAST_OUTAGE_SECONDS:
        return False
    failing = upstream_shares(s.observation)[0] * max(RATE_WINDOW_SECONDS / (s.now - since), 1.0)
    threshold, now = s.policy.breaker.failure_rate_threshold_percent, s.current.breaker.failure_rate_threshold_percent
    mild = threshold is not None and now == threshold.max
    least = MORE_THAN_MOST if mild else FEWER_THAN_MOST
    return failing < least and not upstream_throttled(s.observation)


def provider_is_back(s: Situation) -> bool:
    """Whether breakers have closed again and calls succeed: that is heard of sooner than the rates of a minute tell."""
    closed, rate = s.memory.breakers_closed, failure_rate(s.observation)
    if closed is None or rate is None or s.now - s.memory.failed_afresh_at < BACK_SECONDS:
        return False
    falls = rate <= FALLING * closed.value
    succeeds = rate <= closed.value and success_rate(s.observation) >= RISING * s.memory.successes_at_close + LEAST_RISE
    # After a full minute its rates tell; before, failures that go on do not leave it.
    return BACK_SECONDS <= s.now - closed.at <= RATE_WINDOW_SECONDS and (falls or succeeds)


def _tight(threshold: Range, breaker: Breaker) -> int:
    """The lowest threshold that still takes a few failures to trip: one stray error is no outage."""
    calls = breaker.minimum_number_of_calls or LEAST_CALLS
    now = breaker.failure_rate_threshold_percent or threshold.max
    return min(max(threshold.min, ceil(100 * LEAST_FAILURES / calls)), max(now, threshold.min))


def _is_away(s: Situation) -> bool:
    """Whether the breaker stands elsewhere than where it starts."""
    start, breaker = start_breaker(s.policy.breaker, None, None), s.current.breaker
    if s.policy.breaker.mode is not Mode.AUTO or breaker == Breaker():
        return False
    return (breaker.failure_rate_threshold_percent, breaker.wait_duration_in_open_state_seconds) != (
        start.failure_rate_threshold_percent,
        start.wait_duration_in_open_state_seconds,
    )


def _moved(d: Draft, breaker: Breaker, reason: Reason, why: str) -> Draft:
    settings = replace(d.settings, breaker=breaker)
    return d.set("tune-breaker", Knob.CIRCUIT_BREAKER, settings, reason, f"{why} ({describe_breaker(settings)})")


def remember_upstream(memory: Memory, s: Situation) -> Memory:
    """Note since when the provider fails or has been well. Unknown begins the calm anew."""
    memory = _with_breakers(memory, s)
    if s.value(SignalName.UPSTREAM_5XX_RATE) is None and s.value(SignalName.BREAKER_STATE) is None:
        # Time in the dark is no calm.
        return memory if memory.upstream_calm_since is None else replace(memory, upstream_calm_since=s.now)
    if upstream_failing(s.observation):
        since = memory.upstream_bad_since
        if since is None:
            memory = replace(memory, upstream_bad_since=s.now)
            if memory.upstream_calm_since is None or s.now - memory.upstream_calm_since >= CALM_SECONDS:
                # An outage that comes back within minutes is the same one: its pods are not those of before.
                memory = replace(memory, replicas_before_outage=s.current.replicas)
        return replace(memory, upstream_calm_since=None)
    if memory.upstream_bad_since is not None:
        return replace(memory, upstream_bad_since=None, upstream_calm_since=s.now)
    if memory.upstream_calm_since is None and _is_away(s):
        return replace(memory, upstream_calm_since=s.now)  # found tight after a restart, or the user moved the start
    if (
        memory.upstream_calm_since is not None
        and not _is_away(s)
        and s.now - memory.upstream_calm_since > 2 * CALM_SECONDS
    ):
        return replace(memory, upstream_calm_since=None)
    return memory


def _with_breakers(memory: Memory, s: Situation) -> Memory:
    """Note whether breakers have tripped in this outage, and since when they are closed again."""
    state = s.value(SignalName.BREAKER_STATE)
    ill = memory.upstream_bad_since is not None
    if not memory.breaker_tripped and memory.breakers_closed is None and not ill:
        return memory
    if not ill and not upstream_throttled(s.observation):
        # 429s of a minute ago still have the diagnosis: what closed breakers tell is worth as much then.
        return replace(memory, breaker_tripped=False, breakers_closed=None)
    if state is None:
        return replace(memory, breakers_closed=None)
    if state > 0:
        # Half-open lasts until somebody calls: one pod may have been left so by an outage long ago.
        return replace(memory, breaker_tripped=memory.breaker_tripped or state >= OPEN, breakers_closed=None)
    if not memory.breaker_tripped or memory.breakers_closed is not None:
        return memory
    closed = Sample(s.now, failure_rate(s.observation) or 0.0)
    return replace(memory, breakers_closed=closed, successes_at_close=success_rate(s.observation))
