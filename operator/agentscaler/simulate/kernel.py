"""The event loop: arrivals, queues, pods, settings on their way, and scrapes, in the order of virtual time."""

from __future__ import annotations

import numpy as np

from agentscaler.simulate import state as c
from agentscaler.simulate.breaker import admits, breaker_state
from agentscaler.simulate.caches import holds, shrink_cache
from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.lifecycle import conclude, pass_time
from agentscaler.simulate.pods import note_wait, outage_share, pod_event, start_run
from agentscaler.simulate.state import State

SHARED = c.MOST_PODS
NOBODY, ALL_REFUSE = -1, -2


@compiled
def pick(s: State, t: float, queued: bool) -> int:
    """The least loaded pod that may take a run now; with `queued`, that may take it into its own queue."""
    best, least, ready, admitting = NOBODY, np.inf, False, False
    for j in range(s.ints[c.LIVE]):
        p = s.live[j]
        if s.pod_ints[p, c.STATUS] != c.READY:
            continue
        ready = True
        if not admits(s, p, t):
            continue
        admitting = True
        load = s.pod_ints[p, c.BUSY] + (s.queue_length[p] if queued else 0)
        if load < least and (queued or load < s.ints[c.WORKERS]):
            best, least = p, load
    return ALL_REFUSE if best == NOBODY and ready and not admitting else best


@compiled
def home(s: State, otherwise: int, r: int, t: float) -> int:
    """The pod that holds the session of the request, if it has a free worker."""
    for j in range(s.ints[c.LIVE]):
        p = s.live[j]
        free = s.pod_ints[p, c.STATUS] == c.READY and s.pod_ints[p, c.BUSY] < s.ints[c.WORKERS]
        if free and holds(s, p, r) and admits(s, p, t):
            return int(p)
    return otherwise


@compiled
def push(s: State, q: int, r: int) -> None:
    """Put a request into a queue, before those that came later (they are there where a pod's queue was dissolved)."""
    before, after = -1, -1
    if s.queue_length[q] > 0:
        if s.arrival[s.queue_tail[q]] <= s.arrival[r]:
            before = s.queue_tail[q]
        else:
            after = s.queue_head[q]
            while s.arrival[after] <= s.arrival[r]:
                before, after = after, s.behind[after]
    s.behind[r] = after
    if before < 0:
        s.queue_head[q] = r
    else:
        s.behind[before] = r
    if after < 0:
        s.queue_tail[q] = r
    s.queue_length[q] += 1
    s.ints[c.QUEUED_N] += 1


@compiled
def pop(s: State, q: int) -> int:
    """Take the first request out of a queue."""
    r = s.queue_head[q]
    s.queue_head[q] = s.behind[r]
    s.queue_length[q] -= 1
    s.ints[c.QUEUED_N] -= 1
    return int(r)


@compiled
def refuse(s: State, r: int, t: float) -> None:
    """All breakers refuse the request."""
    s.queue_counters[c.REJECTED_BREAKER] += 1
    if outage_share(s, t) == 0.0:
        s.ints[c.HEALTHY_REFUSALS] += 1
    if t > s.arrival[r]:
        note_wait(s, t - s.arrival[r])
    conclude(s, r, c.REFUSED)


@compiled
def give_up(s: State, q: int, t: float) -> None:
    """The first in the queue has waited too long."""
    r = pop(s, q)
    s.wait[r] = t - s.arrival[r]
    note_wait(s, t - s.arrival[r])
    conclude(s, r, c.TIMED_OUT)


@compiled
def serve_own(s: State, p: int, t: float) -> None:
    """Start what waits in a pod's own queue, as far as it has workers."""
    while s.queue_length[p] > 0 and s.pod_ints[p, c.STATUS] == c.READY:
        if s.pod_ints[p, c.BUSY] >= s.ints[c.WORKERS]:
            return
        r = pop(s, p)
        if admits(s, p, t):
            start_run(s, p, r, t)
        else:
            refuse(s, r, t)
    while s.queue_length[p] > 0 and s.pod_ints[p, c.STATUS] != c.READY:
        push(s, SHARED, pop(s, p))  # a pod that died: its callers try again


@compiled
def serve(s: State, t: float) -> None:
    """Start what waits in the shared queue, as far as there are workers."""
    own = s.constants[c.QUEUE_PER_POD] > 0
    while s.queue_length[SHARED] > 0:
        p = pick(s, t, own)
        if p == NOBODY:
            return
        r = pop(s, SHARED)
        if s.constants[c.STICKY] > 0 and p != ALL_REFUSE:
            p = home(s, p, r, t)
        if p == ALL_REFUSE:
            refuse(s, r, t)
        elif own and s.pod_ints[p, c.BUSY] >= s.ints[c.WORKERS]:
            push(s, p, r)
        else:
            start_run(s, p, r, t)


@compiled
def reroute(s: State, p: int, t: float) -> None:
    """The pod takes no work any more: what waited in its own queue goes to others."""
    while s.queue_length[p] > 0:
        push(s, SHARED, pop(s, p))
    serve(s, t)


@compiled
def scrape(s: State, t: float) -> None:
    """What Prometheus reads of all pods that answer."""
    here = s.ints[c.SCRAPES] % s.rows.shape[0]
    before = (s.ints[c.SCRAPES] - 1) % s.rows.shape[0]
    row = s.rows[here]
    busy, serving, fullest, worst, memory, cache = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    pods, serving_pods, state = 0, 0, 0
    for j in range(s.ints[c.LIVE]):
        p = s.live[j]
        if s.pod_ints[p, c.STATUS] == c.STARTING:
            continue
        pass_time(s, p, t)
        runs = s.pod_ints[p, c.BUSY]
        pods += 1
        busy += runs
        if s.pod_ints[p, c.STATUS] == c.READY:
            serving += runs
            serving_pods += 1
        fullest = max(fullest, runs)
        held = s.pods[p, c.MEM] + s.pods[p, c.CACHE_MB]
        memory += held
        worst = max(worst, held)
        cache = max(cache, s.pods[p, c.CACHE_MB])
        state = max(state, breaker_state(s, p, t))
        seen = s.pod_ints[p, c.EXPORTED] == 1
        for n in range(c.POD_COUNTERS):
            if seen:
                s.totals[n] += s.counters[p, n] - s.exported[p, n]
            s.exported[p, n] = s.counters[p, n]
        s.pod_ints[p, c.EXPORTED] = 1
        s.pod_ints[p, c.BUSY_BEFORE] = s.pod_ints[p, c.BUSY_SCRAPED]
        s.pod_ints[p, c.BUSY_SCRAPED] = runs
    row[0], row[1], row[2], row[3], row[4] = busy, serving, fullest, s.ints[c.QUEUED_N], pods
    row[5], row[6], row[7] = worst, memory / pods if pods > 0 else 0.0, s.ints[c.WORKERS]
    row[8], row[9], row[10], row[11] = state, cache, s.ints[c.LIVE], serving_pods
    for n in range(c.N_GAUGES):
        row[c.N_GAUGES + n] = row[n] + (s.rows[before, c.N_GAUGES + n] if s.ints[c.SCRAPES] > 0 else 0.0)
    for n in range(c.POD_COUNTERS):
        row[c.POD_PART + n] = s.totals[n]
    for n in range(c.QUEUE_COUNTERS):
        row[c.QUEUE_PART + n] = s.queue_counters[n]
    s.ints[c.SCRAPES] += 1
    s.world[c.NEXT_SCRAPE] += s.constants[c.SCRAPE_EVERY]


@compiled
def apply_settings(s: State, t: float) -> None:
    """What was ordered a delivery ago is in force."""
    s.world[c.SETTINGS_AT] = np.inf
    s.ints[c.WORKERS] = s.ints[c.NEW_WORKERS]
    for n in range(c.BREAKER_FIELDS):
        s.breaker[n] = s.new_breaker[n]
    s.world[c.CACHE_LIMIT_MB] = s.world[c.NEW_CACHE_MB]
    for j in range(s.ints[c.LIVE] - 1, -1, -1):
        p = s.live[j]
        if s.pod_ints[p, c.STATUS] != c.STARTING:
            shrink_cache(s, p)
            serve_own(s, p, t)
    serve(s, t)


@compiled
def arrive(s: State, t: float) -> None:
    """The next request comes in."""
    r = s.ints[c.ARRIVED]
    s.ints[c.ARRIVED] += 1
    push(s, SHARED, r)
    serve(s, t)


@compiled
def _next_pod(s: State) -> tuple[float, int]:
    """When something happens in a pod, and in which."""
    at, pod = np.inf, -1
    for j in range(s.ints[c.LIVE]):
        p = s.live[j]
        due = min(s.pods[p, c.NEXT], s.pods[p, c.DEADLINE])
        if due < at:
            at, pod = due, p
    return at, pod


@compiled
def _next_give_up(s: State) -> tuple[float, int]:
    """When somebody has waited too long, and in which queue."""
    if s.ints[c.QUEUED_N] == 0:
        return np.inf, SHARED
    at, queue = np.inf, SHARED
    if s.queue_length[SHARED] > 0:
        at = s.arrival[s.queue_head[SHARED]]
    if s.constants[c.QUEUE_PER_POD] > 0:
        for j in range(s.ints[c.LIVE]):
            p = s.live[j]
            if s.queue_length[p] > 0 and s.arrival[s.queue_head[p]] < at:
                at, queue = s.arrival[s.queue_head[p]], p
    return max(at + s.constants[c.GIVE_UP_AFTER], s.world[c.NOW]), queue


@compiled
def _in_pod(s: State, p: int, t: float) -> None:
    """Something happens in a pod; what it frees goes to those who wait."""
    pod_event(s, p, t)
    if s.pod_ints[p, c.STATUS] != c.READY and s.queue_length[p] > 0:
        reroute(s, p, t)
    if s.ints[c.QUEUED_N] > 0:
        serve_own(s, p, t)
        serve(s, t)


@compiled
def _by_the_clock(s: State, t: float) -> None:
    """What is due at times of its own."""
    if t == s.world[c.SETTINGS_AT]:
        apply_settings(s, t)
    elif t == s.world[c.NEXT_SCRAPE]:
        scrape(s, t)
    else:
        s.seconds[s.ints[c.SECONDS_LIVE] % c.SECONDS_KEPT] = s.world[c.INTEGRAL]
        s.ints[c.SECONDS_LIVE] += 1
        s.world[c.NEXT_SECOND] += 1.0


@compiled
def _in_system(s: State) -> int:
    """Requests that proxies of ready pods and the activator know of: not those in pods that leave."""
    return int(s.ints[c.RUNNING_N] - s.ints[c.LEAVING_RUNS] + s.ints[c.QUEUED_N])


@compiled
def advance(s: State, until: float) -> None:
    """Let the world run until that time."""
    while True:
        pod_at, pod = _next_pod(s)
        queue_at, queue = _next_give_up(s)
        clock_at = min(s.world[c.SETTINGS_AT], s.world[c.NEXT_SCRAPE], s.world[c.NEXT_SECOND])
        request = s.ints[c.ARRIVED]
        arrival_at = s.arrival[request] if request < len(s.arrival) else np.inf
        t = min(pod_at, queue_at, clock_at, arrival_at)
        now = min(t, until)
        s.world[c.INTEGRAL] += (now - s.world[c.NOW]) * _in_system(s)
        s.world[c.NOW] = now
        if t > until:
            return
        if t == pod_at:
            _in_pod(s, pod, t)
        elif t == clock_at:
            _by_the_clock(s, t)
        elif t == queue_at:
            give_up(s, queue, t)
        else:
            arrive(s, t)
