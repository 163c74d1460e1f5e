"""What Prometheus and the API server would tell a policy: nothing fresher, nothing finer."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf, nan

import numpy as np

from agentscaler.core.target import Pod
from agentscaler.simulate import state as c
from agentscaler.simulate.state import Floats, State

COUNTERS = {
    "completed": c.POD_PART + c.COMPLETED,
    "started": c.POD_PART + c.STARTED,
    "errors": c.POD_PART + c.ERRORS,
    "upstream_calls": c.POD_PART + c.CALLS_SENT,
    "upstream_429": c.POD_PART + c.CALLS_429,
    "upstream_5xx": c.POD_PART + c.CALLS_5XX,
    "upstream_timeout": c.POD_PART + c.CALLS_TIMEOUT,
    "cpu_seconds": c.POD_PART + c.CPU_SECONDS,
    "duration_sum": c.POD_PART + c.DURATION_SUM,
    "cache_hits": c.POD_PART + c.CACHE_HITS,
    "cache_misses": c.POD_PART + c.CACHE_MISSES,
    "cache_evictions": c.POD_PART + c.CACHE_EVICTIONS,
    "rejected_breaker": c.QUEUE_PART + c.REJECTED_BREAKER,
    "rejected": c.QUEUE_PART + c.REJECTED,
    "wait_sum": c.QUEUE_PART + c.WAIT_SUM,
}
"""Columns of a scrape's row, by the name that `View.rate` takes."""
HISTOGRAMS = {
    "queue_wait": c.QUEUE_PART + c.QUEUE_WAIT,
    "duration": c.POD_PART + c.DURATION,
    "latency": c.POD_PART + c.SUCCESS_DURATION,
}
"""First bucket's column; `latency` counts successful runs only."""
_GAUGE = {name: column for column, name in enumerate(c.GAUGES)}
EXTRAPOLATED = 1.1
"""Prometheus extends a rate to the edge of its window when that is nearer than so many sample intervals."""


@dataclass(frozen=True, slots=True)
class LiveStats:
    """What KPA reads of its own queue proxies every second; no other policy may."""

    concurrency: Floats
    """Requests in the system, queue included, averaged over each of the last whole seconds, oldest first."""


class View:
    """The service as Prometheus and the API server tell it at `now`.

    Values are those of the newest scrape that is at least one scrape interval old; windows end there too.
    """

    def __init__(self, state: State, phase: float, *, live: bool) -> None:
        self._s = state
        self._phase = phase
        self._step = float(state.constants[c.SCRAPE_EVERY])
        self._kept = state.rows.shape[0]
        self._live = live
        self._pods: tuple[Pod, ...] = ()
        self._version = -1
        self._last = -1
        self.now = 0.0
        self.observed_at = 0.0
        self.changed = False
        self._names: dict[tuple[int, int], Pod] = {}

    def at(self, now: float) -> View:
        """Move to another time, to which the world has been advanced."""
        self.now = now
        # A hair of tolerance: decisions and scrapes fall on the same grid.
        self._last = min(floor((now - self._phase) / self._step + 1e-6) - 1, int(self._s.ints[c.SCRAPES]) - 1)
        self.observed_at = self._phase + self._last * self._step
        version = int(self._s.ints[c.VERSION])
        self.changed = version != self._version
        if self.changed:
            self._version = version
            self._pods = self._list_pods()
        return self

    @property
    def replicas(self) -> int:
        """What the target's spec asks for."""
        return int(self._s.ints[c.WANTED])

    @property
    def ready_replicas(self) -> int:
        """Ready pods that are not leaving. Fresh, from the API server."""
        return sum(pod.ready_at is not None for pod in self._pods)

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Pods that are not leaving, oldest first. Fresh, from the API server."""
        return self._pods

    @property
    def seen(self) -> bool:
        """Whether any scrape is old enough to be seen."""
        return self._last >= 0

    def gauge(self, name: str) -> float | None:
        """The last value; None when there is none: no scrape yet, or no pod that answered it."""
        if self._last < 0:
            return None
        row = self._s.rows[self._last % self._kept]
        if name not in {"queue", "targets", "pods", "serving_pods"} and row[_GAUGE["pods"]] == 0:
            return None
        return float(row[_GAUGE[name]])

    def mean(self, name: str, window_seconds: float) -> float | None:
        """Mean over the samples of the window, as `avg_over_time`."""
        first = self._first(window_seconds)
        if self._last < 0:
            return None
        sums = c.N_GAUGES + _GAUGE[name]
        before = self._s.rows[(first - 1) % self._kept, sums] if first > 0 else 0.0
        return float((self._s.rows[self._last % self._kept, sums] - before) / (self._last - first + 1))

    def rate(self, name: str, window_seconds: float) -> float | None:
        """Per second, with Prometheus' extrapolation to the window; None below two samples."""
        factor, first = self._factor(window_seconds)
        if factor is None:
            return None
        column = COUNTERS[name]
        rows = self._s.rows
        start = rows[first % self._kept, column]
        return float((rows[self._last % self._kept, column] - start) * factor)

    def increases(self, histogram: str, window_seconds: float) -> Floats | None:
        """New observations in each bucket of a histogram within the window (raw, not extrapolated)."""
        factor, first = self._factor(window_seconds)
        if factor is None:
            return None
        start = HISTOGRAMS[histogram]
        part = slice(start, start + c.N_BUCKETS)
        rows = self._s.rows
        return np.asarray(rows[self._last % self._kept, part] - rows[first % self._kept, part])

    def quantile(self, histogram: str, q: float, window_seconds: float) -> float | None:
        """`histogram_quantile`; NaN without observations, None below two samples."""
        counts = self.increases(histogram, window_seconds)
        return None if counts is None else histogram_quantile(q, counts)

    @property
    def live(self) -> LiveStats | None:
        """One-second statistics for the policy that reads its own proxies."""
        if not self._live:
            return None
        n = int(self._s.ints[c.SECONDS_LIVE])
        kept = min(n, c.SECONDS_KEPT)
        at = np.arange(n - kept, n) % c.SECONDS_KEPT
        return LiveStats(np.diff(self._s.seconds[at], prepend=0.0 if kept == n else nan)[0 if kept == n else 1 :])

    def _first(self, window_seconds: float) -> int:
        """The oldest sample inside the window, whose own left edge is outside."""
        return max(0, self._last - ceil(window_seconds / self._step - 1e-9) + 1)

    def _factor(self, window_seconds: float) -> tuple[float | None, int]:
        first = self._first(window_seconds)
        if self._last - first < 1:
            return None, first
        span = (self._last - first) * self._step
        before = window_seconds - span
        if before >= EXTRAPOLATED * self._step:
            before = self._step / 2  # the series is younger than the window
        return (span + before) / span / window_seconds, first

    def _list_pods(self) -> tuple[Pod, ...]:
        s = self._s
        found = []
        for p in s.live[: s.ints[c.LIVE]]:
            ints = s.pod_ints[p]
            if ints[c.STATUS] == c.DRAINING:
                continue
            ready = float(s.pods[p, c.READY_AT]) if ints[c.STATUS] == c.READY else None
            found.append(
                Pod(
                    name=f"pod-{ints[c.ORDINAL]}",
                    created_at=float(s.pods[p, c.CREATED]),
                    ready_at=ready,
                    restarted=bool(ints[c.RESTARTS]),
                    killed_at=float(s.pods[p, c.KILLED_AT]) if ints[c.RESTARTS] else None,
                )
            )
        return tuple(found)


def histogram_quantile(q: float, counts: Floats) -> float:
    """Prometheus' rule on the counts of each bucket: linear inside a bucket, the highest finite bound beyond it."""
    total = float(counts.sum())
    if total <= 0:
        return nan
    rank = q * total
    below = 0.0
    for i, count in enumerate(counts):
        if below + count >= rank:
            if i == len(counts) - 1:
                return c.BUCKETS[-1]
            low = c.BUCKETS[i - 1] if i else 0.0
            return float(low + (c.BUCKETS[i] - low) * (rank - below) / count) if count else low
        below += float(count)
    return inf
