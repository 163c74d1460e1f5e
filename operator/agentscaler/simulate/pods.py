"""What happens inside a pod: runs start, call the provider, hold memory and CPU, and end."""

from __future__ import annotations

import numpy as np

from agentscaler.simulate import state as c
from agentscaler.simulate.breaker import record_call
from agentscaler.simulate.caches import look_up
from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.lifecycle import (
    become_ready,
    conclude,
    die_of_memory,
    free_slot,
    lose_runs,
    over_limit,
    pass_time,
    plan,
    remove_pod,
)
from agentscaler.simulate.state import State

LEAST_SECONDS = 0.05


@compiled
def outage_share(s: State, t: float) -> float:
    """Share of the calls sent now that fail."""
    at = np.searchsorted(s.outage_begin, t, side="right") - 1
    return float(s.outage_share[at]) if at >= 0 and t < s.outage_end[at] else 0.0


@compiled
def note_wait(s: State, seconds: float) -> None:
    """Count a wait that ended, whichever way."""
    s.queue_counters[c.QUEUE_WAIT + np.searchsorted(c.BOUNDS, seconds)] += 1
    s.queue_counters[c.WAIT_SUM] += seconds


@compiled
def call_outcome(s: State, r: int, t: float) -> int:
    """What becomes of the upstream call of request `r` sent now."""
    if s.fail_draw[r] < outage_share(s, t):
        s.ints[c.WASTED_CALLS] += 1
        return c.SERVER_ERROR if s.kind_draw[r] < 0.5 else c.HANGS
    calls, tokens = s.constants[c.CALLS_PER_MINUTE], s.constants[c.TOKENS_PER_MINUTE]
    if calls == np.inf and tokens == np.inf:
        return c.OK
    minutes = (t - s.world[c.REFILLED_AT]) / 60.0
    s.world[c.REFILLED_AT] = t
    if calls < np.inf:
        s.world[c.REQUEST_TOKENS] = min(calls, s.world[c.REQUEST_TOKENS] + calls * minutes)
    if tokens < np.inf:
        s.world[c.MODEL_TOKENS] = min(tokens, s.world[c.MODEL_TOKENS] + tokens * minutes)
    if s.world[c.REQUEST_TOKENS] < 1.0 or s.world[c.MODEL_TOKENS] < s.tokens[r]:
        return c.THROTTLED
    s.world[c.REQUEST_TOKENS] -= 1.0
    s.world[c.MODEL_TOKENS] -= s.tokens[r]
    return c.OK


@compiled
def _set_times(s: State, p: int, k: int) -> None:
    """When the events of a new run are due, on its pod's clock."""
    times, constants, now = s.slot_times[p, k], s.constants, s.pods[p, c.CLOCK]
    r, outcome = s.slot_ints[p, k, c.REQUEST], s.slot_ints[p, k, c.OUTCOME]
    if outcome == c.OK:
        spared = look_up(s, p, r)
        s.world[c.TOKENS_FRESH] += s.input_tokens[r] - spared
        s.world[c.TOKENS_CACHED] += spared
        longer = constants[c.SECONDS_PER_TOKEN] * (s.base_cached[r] - spared)
        service, share = max(s.service[r] + longer, LEAST_SECONDS), s.peak_start[r]
        times[c.REPLY] = now + min(s.reply[r], service)
        times[c.PEAK_ON] = now + share * service
        times[c.PEAK_OFF] = now + (share + constants[c.PEAK_SHARE]) * service
        times[c.END] = now + service
        return
    after = constants[c.ERROR_AFTER]
    if outcome == c.HANGS:
        after = constants[c.HANG_AFTER]
    elif outcome == c.THROTTLED:
        after = constants[c.THROTTLED_AFTER]
    times[c.REPLY] = now + after
    times[c.PEAK_ON] = np.inf
    times[c.PEAK_OFF] = np.inf
    times[c.END] = now + after


@compiled
def start_run(s: State, p: int, r: int, t: float) -> None:
    """Request `r` gets a worker of pod `p`."""
    pass_time(s, p, t)
    wait = t - s.arrival[r]
    s.wait[r] = wait
    note_wait(s, wait)
    if wait > s.constants[c.LATE_AFTER]:
        s.ints[c.LATE] += 1
        if not s.doomed[r]:
            s.ints[c.VIOLATIONS] += 1
    s.fate[r] = c.RUNNING
    s.ints[c.RUNNING_N] += 1
    s.ints[c.SENT_N] += 1
    s.counters[p, c.STARTED] += 1
    k = s.pod_ints[p, c.BUSY]
    s.pod_ints[p, c.BUSY] = k + 1
    trial = s.pod_ints[p, c.BREAKER] != c.CLOSED
    if trial:
        s.pod_ints[p, c.TRIALS_SENT] += 1
    outcome = call_outcome(s, r, t)
    s.slot_ints[p, k, c.REQUEST] = r
    s.slot_ints[p, k, c.OUTCOME] = outcome
    s.slot_ints[p, k, c.TRIAL] = trial
    _set_times(s, p, k)
    s.slot_mem[p, k] = s.constants[c.MEM_RUN]
    s.pods[p, c.MEM] += s.constants[c.MEM_RUN]
    s.pods[p, c.CPU] += s.cores[r]
    if over_limit(s, p):
        die_of_memory(s, p, t)
    else:
        plan(s, p)


@compiled
def reply_to(s: State, p: int, k: int, t: float) -> None:
    """The upstream call of run `k` ends."""
    outcome = s.slot_ints[p, k, c.OUTCOME]
    s.slot_times[p, k, c.REPLY] = np.inf
    s.counters[p, c.CALLS_SENT] += 1
    if outcome == c.SERVER_ERROR:
        s.counters[p, c.CALLS_5XX] += 1
    elif outcome == c.HANGS:
        s.counters[p, c.CALLS_TIMEOUT] += 1
    elif outcome == c.THROTTLED:
        s.counters[p, c.CALLS_429] += 1
    record_call(s, p, t, outcome != c.OK, s.slot_ints[p, k, c.TRIAL] == 1)


@compiled
def end_run(s: State, p: int, k: int, t: float) -> None:
    """Run `k` ends by itself."""
    r = s.slot_ints[p, k, c.REQUEST]
    seconds = t - s.arrival[r]
    bucket = np.searchsorted(c.BOUNDS, seconds)
    s.counters[p, c.COMPLETED] += 1
    s.counters[p, c.DURATION_SUM] += seconds
    s.counters[p, c.DURATION + bucket] += 1
    s.world[c.BUSY_SECONDS] += seconds - s.wait[r]
    if s.slot_ints[p, k, c.OUTCOME] == c.OK:
        s.fate[r] = c.DONE
        s.ints[c.DONE_N] += 1
        s.counters[p, c.SUCCESS_DURATION + bucket] += 1
    else:
        s.counters[p, c.ERRORS] += 1
        conclude(s, r, c.FAILED)
    free_slot(s, p, k)


@compiled
def _to_peak(s: State, p: int, k: int) -> None:
    """Run `k` takes its most memory."""
    more = s.peak[s.slot_ints[p, k, c.REQUEST]] - s.slot_mem[p, k]
    s.slot_times[p, k, c.PEAK_ON] = np.inf
    s.slot_mem[p, k] += more
    s.pods[p, c.MEM] += more


@compiled
def _from_peak(s: State, p: int, k: int) -> None:
    """Run `k` gives it back."""
    s.slot_times[p, k, c.PEAK_OFF] = np.inf
    s.pods[p, c.MEM] += s.constants[c.MEM_RUN] - s.slot_mem[p, k]
    s.slot_mem[p, k] = s.constants[c.MEM_RUN]


@compiled
def _next_in_pod(s: State, p: int, t: float) -> tuple[int, int]:
    """The run and the kind of the event that is due; the pod's clock moves to it."""
    pass_time(s, p, t)
    first, run, kind = np.inf, 0, 0
    for k in range(s.pod_ints[p, c.BUSY]):
        for e in range(c.SLOT_TIMES):
            if s.slot_times[p, k, e] < first:
                first, run, kind = s.slot_times[p, k, e], k, e
    s.pods[p, c.CLOCK] = max(s.pods[p, c.CLOCK], first)
    return run, kind


@compiled
def pod_event(s: State, p: int, t: float) -> None:
    """Carry out the event of the pod that is due at `t`."""
    if s.pod_ints[p, c.STATUS] == c.STARTING:
        become_ready(s, p, t)
        return
    if t >= s.pods[p, c.DEADLINE]:
        lose_runs(s, p, t)
        remove_pod(s, p, t)
        return
    k, kind = _next_in_pod(s, p, t)
    if kind == c.REPLY:
        reply_to(s, p, k, t)
    elif kind == c.PEAK_ON:
        _to_peak(s, p, k)
    elif kind == c.PEAK_OFF:
        _from_peak(s, p, k)
    else:
        end_run(s, p, k, t)
    if over_limit(s, p):
        die_of_memory(s, p, t)
    elif s.pod_ints[p, c.STATUS] == c.DRAINING and s.pod_ints[p, c.BUSY] == 0:
        remove_pod(s, p, t)
    else:
        plan(s, p)
