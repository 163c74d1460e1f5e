"""How many pods there are: orders of the scaler, and which pods go."""

from __future__ import annotations

import numpy as np

from agentscaler.simulate import state as c
from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.kernel import reroute
from agentscaler.simulate.lifecycle import become_ready, create_pod, remove_pod
from agentscaler.simulate.state import State

IDLE_FIRST, NEWEST_FIRST, RANDOM = 0, 1, 2


@compiled
def _rank(s: State, p: int, mode: int) -> tuple[float, float]:
    """Pods go in rising order: those that are not ready first, as in Kubernetes."""
    if s.pod_ints[p, c.STATUS] == c.STARTING:
        return -1.0, -s.pods[p, c.CREATED]
    if mode == IDLE_FIRST:
        return float(s.pod_ints[p, c.BUSY_BEFORE]), -s.pods[p, c.READY_AT]
    if mode == NEWEST_FIRST:
        return 0.0, -s.pods[p, c.READY_AT]
    return 0.0, float((s.pod_ints[p, c.ORDINAL] * 2654435761) % 4294967296)


@compiled
def resize(s: State, wanted: int, mode: int) -> None:
    """Order pods, or let pods go: they drain, and what still runs after the grace period is lost."""
    t = s.world[c.NOW]
    s.ints[c.WANTED] = wanted
    have = 0
    for j in range(s.ints[c.LIVE]):
        have += s.pod_ints[s.live[j], c.STATUS] != c.DRAINING
    for _ in range(wanted - have):
        create_pod(s, t)
    for _ in range(have - wanted):
        victim, low, second = -1, np.inf, np.inf
        for j in range(s.ints[c.LIVE]):
            p = s.live[j]
            if s.pod_ints[p, c.STATUS] == c.DRAINING:
                continue
            first, then = _rank(s, p, mode)
            if first < low or (first == low and then < second):
                victim, low, second = p, first, then
        if s.pod_ints[victim, c.STATUS] == c.STARTING or s.pod_ints[victim, c.BUSY] == 0:
            remove_pod(s, victim, t)
        else:
            s.pod_ints[victim, c.STATUS] = c.DRAINING
            s.ints[c.LEAVING_RUNS] += s.pod_ints[victim, c.BUSY]
            s.pods[victim, c.DEADLINE] = t + s.constants[c.GRACE]
            s.ints[c.VERSION] += 1
        reroute(s, victim, t)


@compiled
def begin(s: State, pods: int, phase: float) -> None:
    """Pods that are ready at once; scrapes begin at the phase."""
    for _ in range(pods):
        p = create_pod(s, 0.0)
        s.ints[c.STARTS] -= 1
        become_ready(s, p, 0.0)
    s.ints[c.WANTED] = pods
    s.world[c.NEXT_SCRAPE] = phase
