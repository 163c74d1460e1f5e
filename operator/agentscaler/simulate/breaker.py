"""The circuit breaker of each pod, as docs/contract.md says it."""

from __future__ import annotations

from agentscaler.simulate import state as c
from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.state import State


@compiled
def admits(s: State, p: int, t: float) -> bool:
    """Whether the breaker of pod `p` lets a run through now. An open one whose wait is over turns half-open."""
    if s.pod_ints[p, c.BREAKER] == c.CLOSED:
        return True
    if s.pod_ints[p, c.BREAKER] == c.OPEN:
        if t < s.pods[p, c.OPEN_UNTIL]:
            return False
        s.pod_ints[p, c.BREAKER] = c.HALF_OPEN
        s.pod_ints[p, c.TRIALS_SENT] = 0
        s.pod_ints[p, c.TRIALS_DONE] = 0
        s.pod_ints[p, c.TRIALS_BAD] = 0
    return bool(s.pod_ints[p, c.TRIALS_SENT] < s.breaker[c.TRIALS])


@compiled
def breaker_state(s: State, p: int, t: float) -> int:
    """What the pod exports: an open breaker whose wait is over is half-open."""
    if s.pod_ints[p, c.BREAKER] == c.OPEN and t >= s.pods[p, c.OPEN_UNTIL]:
        return c.HALF_OPEN
    return int(s.pod_ints[p, c.BREAKER])


@compiled
def reset_breaker(s: State, p: int) -> None:
    """Closed, with an empty window."""
    s.pod_ints[p, c.BREAKER] = c.CLOSED
    s.pod_ints[p, c.CALLS] = 0
    s.pod_ints[p, c.CALLS_BAD] = 0


@compiled
def open_breaker(s: State, p: int, t: float) -> None:
    """Refuse for as long as the settings say."""
    reset_breaker(s, p)
    s.pod_ints[p, c.BREAKER] = c.OPEN
    s.pods[p, c.OPEN_UNTIL] = t + s.breaker[c.OPEN_FOR]


@compiled
def _forget(s: State, p: int) -> None:
    oldest = (s.pod_ints[p, c.CALLS_HEAD] - s.pod_ints[p, c.CALLS]) % c.CALL_WINDOW
    s.pod_ints[p, c.CALLS_BAD] -= s.call_bad[p, oldest]
    s.pod_ints[p, c.CALLS] -= 1


@compiled
def record_call(s: State, p: int, t: float, bad: bool, trial: bool) -> None:
    """Count one call that ended."""
    if s.breaker[c.THRESHOLD] <= 0:
        return
    state = s.pod_ints[p, c.BREAKER]
    if state == c.HALF_OPEN and trial:
        s.pod_ints[p, c.TRIALS_DONE] += 1
        s.pod_ints[p, c.TRIALS_BAD] += bad
        if s.pod_ints[p, c.TRIALS_DONE] >= s.breaker[c.TRIALS]:
            if 100.0 * s.pod_ints[p, c.TRIALS_BAD] >= s.breaker[c.THRESHOLD] * s.pod_ints[p, c.TRIALS_DONE]:
                open_breaker(s, p, t)
            else:
                reset_breaker(s, p)
    if state != c.CLOSED:
        return
    by_count = s.breaker[c.WINDOW] <= 0
    most = min(int(s.breaker[c.LEAST_CALLS]), c.CALL_WINDOW) if by_count else c.LATEST_CALLS
    while s.pod_ints[p, c.CALLS] >= most:
        _forget(s, p)
    while not by_count and s.pod_ints[p, c.CALLS] > 0:
        oldest = (s.pod_ints[p, c.CALLS_HEAD] - s.pod_ints[p, c.CALLS]) % c.CALL_WINDOW
        if s.call_times[p, oldest] > t - s.breaker[c.WINDOW]:
            break
        _forget(s, p)
    head = s.pod_ints[p, c.CALLS_HEAD] % c.CALL_WINDOW
    s.call_times[p, head] = t
    s.call_bad[p, head] = bad
    s.pod_ints[p, c.CALLS_HEAD] = (head + 1) % c.CALL_WINDOW
    s.pod_ints[p, c.CALLS] += 1
    s.pod_ints[p, c.CALLS_BAD] += bad
    calls = s.pod_ints[p, c.CALLS]
    if (
        calls >= min(int(s.breaker[c.LEAST_CALLS]), most)
        and 100.0 * s.pod_ints[p, c.CALLS_BAD] >= s.breaker[c.THRESHOLD] * calls
    ):
        open_breaker(s, p, t)
