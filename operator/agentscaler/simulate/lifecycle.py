"""Pods come, become ready, are killed and go, with what runs in them."""

from __future__ import annotations

import numpy as np

from agentscaler.simulate import state as c
from agentscaler.simulate.breaker import reset_breaker
from agentscaler.simulate.caches import clear_cache
from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.state import State

UNKNOWN = c.MOST_WORKERS + 1
"""Runs in a pod that no scrape tells yet: it does not rank as idle."""


@compiled
def conclude(s: State, r: int, fate: int) -> None:
    """A request ends otherwise than well. It counts once, and not at all where the provider fails it in any case."""
    s.fate[r] = fate
    if fate == c.TIMED_OUT:
        s.ints[c.TIMED_OUT_N] += 1
    elif fate == c.FAILED:
        s.ints[c.FAILED_N] += 1
    elif fate == c.KILLED:
        s.ints[c.KILLED_N] += 1
    elif fate == c.REFUSED:
        s.ints[c.REFUSED_N] += 1
    if s.doomed[r]:
        s.ints[c.UNAVOIDABLE] += 1
    elif not s.wait[r] > s.constants[c.LATE_AFTER] or fate == c.TIMED_OUT:
        s.ints[c.VIOLATIONS] += 1


@compiled
def pass_time(s: State, p: int, t: float) -> None:
    """Let the pod's own clock and its CPU counter catch up with the world."""
    passed = t - s.pods[p, c.SEEN]
    s.pods[p, c.CLOCK] += passed * s.pods[p, c.SPEED]
    s.counters[p, c.CPU_SECONDS] += passed * min(s.pods[p, c.CPU], s.constants[c.CPU_LIMIT])
    s.pods[p, c.SEEN] = t


@compiled
def plan(s: State, p: int) -> None:
    """Work out the pod's speed and when its next event is due."""
    cpu, most = s.pods[p, c.CPU], s.constants[c.CPU_LIMIT]
    s.pods[p, c.SPEED] = most / cpu if cpu > most else 1.0
    first = np.inf
    for k in range(s.pod_ints[p, c.BUSY]):
        for e in range(c.SLOT_TIMES):
            first = min(first, s.slot_times[p, k, e])
    s.pods[p, c.NEXT] = s.pods[p, c.SEEN] + max(first - s.pods[p, c.CLOCK], 0.0) / s.pods[p, c.SPEED]


@compiled
def over_limit(s: State, p: int) -> bool:
    """Whether the kernel kills the pod now."""
    return bool(s.pods[p, c.MEM] + s.pods[p, c.CACHE_MB] > s.constants[c.MEM_LIMIT])


@compiled
def free_slot(s: State, p: int, k: int) -> None:
    """Take run `k` out of the pod."""
    last = s.pod_ints[p, c.BUSY] - 1
    s.pods[p, c.MEM] -= s.slot_mem[p, k]
    s.pods[p, c.CPU] -= s.cores[s.slot_ints[p, k, c.REQUEST]]
    if k != last:
        for e in range(c.SLOT_TIMES):
            s.slot_times[p, k, e] = s.slot_times[p, last, e]
        for e in range(c.SLOT_INTS):
            s.slot_ints[p, k, e] = s.slot_ints[p, last, e]
        s.slot_mem[p, k] = s.slot_mem[p, last]
    s.pod_ints[p, c.BUSY] = last
    s.ints[c.RUNNING_N] -= 1
    if s.pod_ints[p, c.STATUS] == c.DRAINING:
        s.ints[c.LEAVING_RUNS] -= 1
    if last == 0:
        s.pods[p, c.MEM], s.pods[p, c.CPU] = s.constants[c.MEM_BASE], 0.0


@compiled
def lose_runs(s: State, p: int, t: float) -> None:
    """All runs of the pod are lost."""
    while s.pod_ints[p, c.BUSY] > 0:
        k = s.pod_ints[p, c.BUSY] - 1
        r = s.slot_ints[p, k, c.REQUEST]
        s.world[c.LOST_SECONDS] += t - s.arrival[r] - s.wait[r]
        conclude(s, r, c.KILLED)
        free_slot(s, p, k)


@compiled
def remove_pod(s: State, p: int, t: float) -> None:
    """The pod is gone, and so is its bill."""
    s.pod_ints[p, c.STATUS] = c.ABSENT
    s.world[c.BILLED] += t - s.pods[p, c.CREATED]
    j = 0
    while s.live[j] != p:
        j += 1
    s.ints[c.LIVE] -= 1
    for i in range(j, s.ints[c.LIVE]):
        s.live[i] = s.live[i + 1]
    s.ints[c.VERSION] += 1


@compiled
def _begin(s: State, p: int, t: float) -> None:
    s.pod_ints[p, c.STATUS] = c.STARTING
    s.pod_ints[p, c.BUSY] = 0
    s.pod_ints[p, c.BUSY_SCRAPED] = UNKNOWN
    s.pod_ints[p, c.BUSY_BEFORE] = UNKNOWN
    s.pods[p, c.READY_AT] = t + s.start_up[s.ints[c.STARTS] % len(s.start_up)]
    s.ints[c.STARTS] += 1
    s.pods[p, c.NEXT] = s.pods[p, c.READY_AT]
    s.pods[p, c.MEM], s.pods[p, c.CPU] = s.constants[c.MEM_BASE], 0.0
    clear_cache(s, p)
    s.pods[p, c.SPEED] = 1.0
    reset_breaker(s, p)
    s.ints[c.VERSION] += 1


@compiled
def create_pod(s: State, t: float) -> int:
    """A new pod, not ready yet; -1 when there is no room for it in the arrays."""
    p = 0
    while p < c.MOST_PODS and s.pod_ints[p, c.STATUS] != c.ABSENT:
        p += 1
    if p == c.MOST_PODS:
        return -1
    s.pod_ints[p, :] = 0
    s.pods[p, c.CREATED] = t
    s.pods[p, c.DEADLINE] = np.inf
    s.pod_ints[p, c.ORDINAL] = s.ints[c.CREATED_PODS]
    s.ints[c.CREATED_PODS] += 1
    s.counters[p, :] = 0.0
    _begin(s, p, t)
    s.live[s.ints[c.LIVE]] = p
    s.ints[c.LIVE] += 1
    return p


@compiled
def become_ready(s: State, p: int, t: float) -> None:
    """The pod takes work from now on."""
    s.pod_ints[p, c.STATUS] = c.READY
    s.pods[p, c.SEEN] = t
    s.pods[p, c.READY_AT] = t
    s.pods[p, c.CLOCK] = 0.0
    s.ints[c.VERSION] += 1
    plan(s, p)


@compiled
def die_of_memory(s: State, p: int, t: float) -> None:
    """The kernel kills the container: it starts again, or the pod ends if it was leaving anyway."""
    s.ints[c.OOM_KILLS] += 1
    lose_runs(s, p, t)
    if s.pod_ints[p, c.STATUS] == c.DRAINING:
        remove_pod(s, p, t)
        return
    s.pod_ints[p, c.RESTARTS] += 1
    s.pods[p, c.KILLED_AT] = t
    s.counters[p, :] = 0.0
    s.exported[p, :] = 0.0
    _begin(s, p, t)
