"""The world's state as plain arrays, and the names of their columns."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_PODS: Final = 1024
MOST_WORKERS: Final = 64
CACHE_PLACES: Final = 12_000_000
"""Items of all pods' caches together; pods beyond have none."""
CALL_WINDOW: Final = 512
"""Calls that a breaker remembers at most."""
LATEST_CALLS: Final = 30
"""Of a window by time, as in the runtime."""
SECONDS_KEPT: Final = 1024
BUCKETS: Final = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.75, 3.0, 5.0, 10.0, 17.5, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Of the contract, seconds; one more without a bound follows."""
N_BUCKETS: Final = len(BUCKETS) + 1
BOUNDS: Final = np.array([*BUCKETS, np.inf])

# What became of a request.
WAITING, RUNNING, DONE, TIMED_OUT, FAILED, KILLED, REFUSED = range(7)

# Status of a pod.
ABSENT, STARTING, READY, DRAINING = range(4)

# Outcome of the upstream call of a run.
OK, SERVER_ERROR, HANGS, THROTTLED = range(4)

# State of a breaker.
CLOSED, HALF_OPEN, OPEN = range(3)

# Pods, floats.
CREATED, READY_AT, CLOCK, SEEN, SPEED, NEXT, MEM, CPU, DEADLINE, OPEN_UNTIL, CACHE_MB, KILLED_AT, POD_FLOATS = range(13)
# CLOCK is the pod's own time: it runs slower than the world's while the CPU limit throttles the pod.

# Pods, integers.
(
    STATUS,
    BUSY,
    ORDINAL,
    BREAKER,
    TRIALS_SENT,
    TRIALS_DONE,
    TRIALS_BAD,
    CALLS_HEAD,
    CALLS,
    CALLS_BAD,
    EXPORTED,
    RESTARTS,
    BUSY_SCRAPED,
    BUSY_BEFORE,
    POD_INTS,
) = range(15)

# Times of a running request on its pod's clock.
REPLY, PEAK_ON, PEAK_OFF, END, SLOT_TIMES = range(5)

# Integers of a running request.
REQUEST, OUTCOME, TRIAL, SLOT_INTS = range(4)

# Counters that each pod exports.
COMPLETED, ERRORS, CALLS_SENT, CALLS_429, CALLS_5XX, CALLS_TIMEOUT, CPU_SECONDS, DURATION_SUM, STARTED = range(9)
CACHE_HITS, CACHE_MISSES, CACHE_EVICTIONS = range(9, 12)
DURATION = 12
SUCCESS_DURATION = DURATION + N_BUCKETS
POD_COUNTERS = SUCCESS_DURATION + N_BUCKETS

# Counters of the deployment's queue.
REJECTED_BREAKER, REJECTED, WAIT_SUM, QUEUE_WAIT = range(4)
QUEUE_COUNTERS = QUEUE_WAIT + N_BUCKETS

# One scrape: gauges, their running sums, then all counters.
GAUGES: Final = (
    "in_flight",
    "in_flight_serving",
    "in_flight_max",
    "queue",
    "pods",
    "memory_max",
    "memory_mean",
    "worker_limit",
    "breaker_state",
    "cache_bytes",
    "targets",
    "serving_pods",
)
N_GAUGES: Final = len(GAUGES)
POD_PART: Final = 2 * N_GAUGES
QUEUE_PART: Final = POD_PART + POD_COUNTERS
ROW: Final = QUEUE_PART + QUEUE_COUNTERS

# The world, floats.
(
    NOW,
    BILLED,
    INTEGRAL,
    SETTINGS_AT,
    NEXT_SCRAPE,
    NEXT_SECOND,
    REQUEST_TOKENS,
    MODEL_TOKENS,
    REFILLED_AT,
    LOST_SECONDS,
    BUSY_SECONDS,
    NEW_CACHE_MB,
    CACHE_LIMIT_MB,
    TOKENS_FRESH,
    TOKENS_CACHED,
    WORLD_FLOATS,
) = range(16)

# The world, integers.
(
    ARRIVED,
    LIVE,
    WANTED,
    WORKERS,
    NEW_WORKERS,
    SCRAPES,
    VERSION,
    CREATED_PODS,
    STARTS,
    LATE,
    TIMED_OUT_N,
    FAILED_N,
    KILLED_N,
    REFUSED_N,
    VIOLATIONS,
    UNAVOIDABLE,
    OOM_KILLS,
    WASTED_CALLS,
    RUNNING_N,
    QUEUED_N,
    SECONDS_LIVE,
    HEALTHY_REFUSALS,
    DONE_N,
    SENT_N,
    LEAVING_RUNS,
    WORLD_INTS,
) = range(26)

# Constants of one run.
(
    MEM_BASE,
    MEM_RUN,
    MEM_LIMIT,
    CPU_LIMIT,
    LATE_AFTER,
    GIVE_UP_AFTER,
    GRACE,
    SCRAPE_EVERY,
    DELIVERY,
    ERROR_AFTER,
    HANG_AFTER,
    THROTTLED_AFTER,
    QUEUE_PER_POD,
    CALLS_PER_MINUTE,
    TOKENS_PER_MINUTE,
    PEAK_SHARE,
    ITEM_MB,
    SECONDS_PER_TOKEN,
    STICKY,
    CONSTANTS,
) = range(20)

# A breaker's settings: a window of 0 seconds counts the last `LEAST_CALLS` calls instead.
THRESHOLD, OPEN_FOR, WINDOW, LEAST_CALLS, TRIALS, BREAKER_FIELDS = range(6)


class State(NamedTuple):
    """Everything that the kernel reads and writes."""

    arrival: Floats
    service: Floats
    reply: Floats
    peak: Floats
    peak_start: Floats
    cores: Floats
    fail_draw: Floats
    kind_draw: Floats
    tokens: Floats
    doomed: NDArray[np.uint8]
    """1: the provider fails it even when it is sent the moment it arrives."""
    input_tokens: Floats
    base_cached: Floats
    """Input tokens that count as cached in `service`."""
    item_offsets: Ints
    items: Ints
    """What each request looks up in a cache: `items[item_offsets[r]:item_offsets[r + 1]]`."""
    item_tokens: Floats
    """Input tokens that one found item spares request r."""
    fate: NDArray[np.int8]
    wait: NDArray[np.float32]
    behind: NDArray[np.int32]
    """The next one in the same queue."""
    outage_begin: Floats
    outage_end: Floats
    outage_share: Floats
    start_up: Floats
    pods: Floats
    pod_ints: Ints
    newer: NDArray[np.int32]
    older: NDArray[np.int32]
    """Neighbours of each item in the order of use, for each pod with a cache."""
    counters: Floats
    exported: Floats
    """Counters at the pod's last scrape."""
    slot_times: Floats
    slot_ints: Ints
    slot_mem: Floats
    call_times: Floats
    call_bad: NDArray[np.uint8]
    queue_head: Ints
    queue_tail: Ints
    queue_length: Ints
    """One queue for each pod, and the shared one at the end."""
    live: Ints
    """The pods that exist, oldest first."""
    world: Floats
    ints: Ints
    constants: Floats
    breaker: Floats
    new_breaker: Floats
    queue_counters: Floats
    totals: Floats
    """Sums of what Prometheus has seen of the pods' counters."""
    rows: Floats
    """The last scrapes, one after the other in a ring."""
    seconds: Floats
    """Integral of the work in the system at each whole second, in a ring."""


def empty(
    requests: dict[str, Any], constants: Floats, start_up: Floats, outages: tuple[Floats, Floats, Floats]
) -> State:
    """A world without pods at time 0.

    Args:
        requests: the arrays of the requests, by field name.
        constants: of this run.
        start_up: seconds that the n-th start of a pod takes.
        outages: begin, end and share of failing calls of each outage.
    """
    n, pods = len(requests["arrival"]), MOST_PODS
    rows = int(600 / constants[SCRAPE_EVERY]) + 16
    cached = int(requests["items"].max()) + 2 if constants[ITEM_MB] > 0 and len(requests["items"]) else 1
    lists = (min(MOST_PODS, max(1, CACHE_PLACES // cached)), cached)
    world = np.zeros(WORLD_FLOATS)
    world[SETTINGS_AT] = np.inf
    world[NEXT_SECOND] = np.inf
    world[REQUEST_TOKENS], world[MODEL_TOKENS] = constants[CALLS_PER_MINUTE], constants[TOKENS_PER_MINUTE]
    return State(
        **requests,
        fate=np.zeros(n, np.int8),
        wait=np.full(n, np.nan, np.float32),
        behind=np.full(n, -1, np.int32),
        outage_begin=outages[0],
        outage_end=outages[1],
        outage_share=outages[2],
        start_up=start_up,
        pods=np.zeros((pods, POD_FLOATS)),
        pod_ints=np.zeros((pods, POD_INTS), np.int64),
        newer=np.full(lists, -1, np.int32),
        older=np.full(lists, -1, np.int32),
        counters=np.zeros((pods, POD_COUNTERS)),
        exported=np.zeros((pods, POD_COUNTERS)),
        slot_times=np.full((pods, MOST_WORKERS, SLOT_TIMES), np.inf),
        slot_ints=np.zeros((pods, MOST_WORKERS, SLOT_INTS), np.int64),
        slot_mem=np.zeros((pods, MOST_WORKERS)),
        call_times=np.zeros((pods, CALL_WINDOW)),
        call_bad=np.zeros((pods, CALL_WINDOW), np.uint8),
        queue_head=np.full(pods + 1, -1, np.int64),
        queue_tail=np.full(pods + 1, -1, np.int64),
        queue_length=np.zeros(pods + 1, np.int64),
        live=np.zeros(pods, np.int64),
        world=world,
        ints=np.zeros(WORLD_INTS, np.int64),
        constants=constants,
        breaker=np.zeros(BREAKER_FIELDS),
        new_breaker=np.zeros(BREAKER_FIELDS),
        queue_counters=np.zeros(QUEUE_COUNTERS),
        totals=np.zeros(POD_COUNTERS),
        rows=np.zeros((rows, ROW)),
        seconds=np.zeros(SECONDS_KEPT),
    )
