"""What perfect knowledge would pay: the reference of every cost ratio."""

from __future__ import annotations

from math import inf

import numpy as np

from agentscaler.simulate.fluid import in_service, pool_late
from agentscaler.simulate.model import ServiceModel
from agentscaler.simulate.state import Floats, Ints
from agentscaler.simulate.workload import Workload

WINDOWS_SECONDS = (15, 30, 60, 120, 300)
LATE_SHARE = 0.01
START_UP_SECONDS = 30
STEPS = 14
"""Of the bisection: a factor to within a ten-thousandth."""
LEAST_FACTOR, MOST_FACTOR, HIGHEST_FACTOR = 0.5, 3.0, 40.0


def clairvoyant_hours(workload: Workload, model: ServiceModel) -> float:
    """Replica-hours of the cheapest schedule found with perfect knowledge that is late for at most 1 %.

    The number of requests that would be in service with unlimited capacity, averaged over 15 to 300 s, times a factor,
    in whole pods of `model.workers`, is ordered a start-up (30 s) before it is needed and served by a pool; the factor
    is found by bisection, and the best window counts. It starts with the pods that every policy starts with. A pool
    repacks its work as it shrinks, which pods cannot: the true optimum of pods that drain is dearer. Memory, CPU and
    failures are left out.
    """
    seconds = int(np.ceil(workload.duration_seconds))
    arrival, service = workload.requests["arrival"], workload.held_seconds(model)
    load = np.zeros(seconds)
    in_service(arrival, service, load)
    most_late = int(LATE_SHARE * len(arrival))
    limits = (model.late_after_seconds, model.give_up_after_seconds)
    first = workload.first_replicas(model)
    best = inf
    for window in WINDOWS_SECONDS:
        smooth = _centred_mean(load, window)

        def billed(factor: float, smooth: Floats = smooth) -> float:
            need = np.maximum(np.ceil(smooth * factor / model.workers - 1e-9), 1).astype(np.int64)
            ordered = _held(need)
            pods = (_ready(ordered, first), ordered, np.zeros(seconds + 2, np.int64), model.workers)
            return pool_late(arrival, service, pods, limits, most_late)[1] / 3600

        low, high = LEAST_FACTOR, MOST_FACTOR
        while (cost := billed(high)) == inf and high < HIGHEST_FACTOR:
            low, high = high, 2 * high
        if cost == inf:
            continue
        for _ in range(STEPS):
            middle = (low + high) / 2
            now = billed(middle)
            if now < inf:
                high, cost = middle, now
            else:
                low = middle
        best = min(best, cost)
    return best


def fluid_hours(workload: Workload, model: ServiceModel) -> float:
    """No policy that serves everything in pods of so many workers can be below it."""
    return float(workload.held_seconds(model).sum()) / model.workers / 3600


def static_replicas(workload: Workload, model: ServiceModel) -> int:
    """The fewest constant replicas that are late for at most 1 %."""
    seconds = int(np.ceil(workload.duration_seconds))
    arrival, service = workload.requests["arrival"], workload.held_seconds(model)
    most_late = int(LATE_SHARE * len(arrival))
    limits = (model.late_after_seconds, model.give_up_after_seconds)

    def enough(pods: int) -> bool:
        same = np.full(seconds, pods, np.int64)
        _, billed = pool_late(
            arrival, service, (same, same, np.zeros(seconds + 2, np.int64), model.workers), limits, most_late
        )
        return billed < inf

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _centred_mean(load: Floats, window: int) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(load)])
    at = np.arange(len(load))
    low, high = np.maximum(at - window // 2, 0), np.minimum(at + (window + 1) // 2, len(load))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _held(need: Ints) -> Ints:
    """Pods billed: the maximum over the next start-up."""
    padded = np.concatenate([need, np.full(START_UP_SECONDS, need[-1])])
    held: Ints = np.lib.stride_tricks.sliding_window_view(padded, START_UP_SECONDS + 1).max(axis=1)
    return held


def _ready(ordered: Ints, first: int) -> Ints:
    """Pods that have been there for a start-up."""
    padded = np.concatenate([np.full(START_UP_SECONDS, first), ordered])
    ready: Ints = np.lib.stride_tricks.sliding_window_view(padded, START_UP_SECONDS + 1).min(axis=1)
    return ready
