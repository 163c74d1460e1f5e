"""A pool of workers in steps of one second: the inner loop of the clairvoyant search."""

from __future__ import annotations

import numpy as np

from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.state import Floats, Ints


@compiled
def pool_late(
    arrival: Floats, service: Floats, pods: tuple[Ints, Ints, Ints, int], limits: tuple[float, float], most_late: int
) -> tuple[int, float]:
    """Serve requests first come, first served, out of one pool.

    Fewer pods interrupt nothing: what runs goes on, and whole pods for it are billed until it ends.

    Args:
        arrival: of the requests, sorted.
        service: how long each holds a worker.
        pods: ready ones and billed ones in each second, zeros to work with (two more), and workers of each.
        limits: seconds of waiting after which a request is late, and after which it gives up.
        most_late: where the count stops.

    Returns:
        Late or timed-out requests, and pod-seconds billed. The count stops at `most_late`; the bill is infinite then.
    """
    late_after, give_up_after = limits
    ready, ordered, ends, workers = pods
    seconds = len(ready)
    n = len(arrival)
    longest = seconds + 1
    first, nxt, running, late, billed = 0, 0, 0, 0, 0.0
    for t in range(seconds):
        running -= ends[t]
        while nxt < n and arrival[nxt] < t + 1:
            nxt += 1
        while first < nxt and t + 1 - arrival[first] > give_up_after:
            first += 1
            late += 1
        free = ready[t] * workers - running
        while free > 0 and first < nxt:
            # Started as soon as a slot is free in this second.
            wait = max(0.0, t - arrival[first])
            late += wait > late_after
            end = int(max(arrival[first], float(t)) + service[first] + 0.5)
            ends[min(max(end, t + 1), longest)] += 1
            first += 1
            running += 1
            free -= 1
        billed += max(ordered[t], -(-running // workers))
        if late > most_late:
            return late, np.inf
    return late + (nxt - first), billed


@compiled
def in_service(arrival: Floats, service: Floats, load: Floats) -> None:
    """Add to `load` the mean number of requests in service in each second, if all started when they came."""
    seconds = len(load)
    for i in range(len(arrival)):
        begin, end = arrival[i], min(arrival[i] + service[i], float(seconds))
        a, b = int(begin), int(end)
        if a >= seconds:
            continue
        if a == b:
            load[a] += end - begin
            continue
        load[a] += a + 1 - begin
        for t in range(a + 1, b):
            load[t] += 1.0
        if b < seconds:
            load[b] += end - b
