"""A stretch of time in which the operator is observed, and the row that comes of it."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Self

from benchmarks.scale.gauges import Reading, cpu_seconds, machine_seconds, read, rss_bytes, seen_writes
from benchmarks.scale.stage import Stage

SAMPLE_SECONDS = 2.0
"""Less than half a tick, so that each tick is seen alone."""
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """One phase. None where a value does not apply."""

    objects: int
    phase: str
    tick_p50_seconds: float
    tick_p95_seconds: float
    cpu_cores: float
    rss_mebibytes: float
    """The most that was seen."""
    queries_per_tick: int
    """The most that was seen in one tick."""
    api_requests_per_tick: float
    writes: int
    """Without Leases."""
    leases: int
    all_ready_seconds: float | None = None
    reaction_median_seconds: float | None = None
    reaction_max_seconds: float | None = None


class Window:
    """Observes the operator from its beginning to its end; a context manager.

    Args:
        stage: What runs.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ticks: list[float] = []
        self._queries: list[int] = []
        self._rss_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self._seen_before = seen_writes(self._stage)
        self._parts = {"exporter": self._stage.exporter, "Prometheus": self._stage.prometheus.process}
        self._parts |= {"API server": self._stage.cluster.apiserver, "etcd": self._stage.cluster.etcd}
        self._cpu_before = {name: cpu_seconds(part) for name, part in self._parts.items()}
        self._machine_before = machine_seconds()
        self._began, self._began_cpu = time.monotonic(), cpu_seconds(self._stage.operator)
        self._first = self._last = read(self._stage)
        self._written_at = self._began
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        self._take()
        seconds = time.monotonic() - self._began
        self._cores = (cpu_seconds(self._stage.operator) - self._began_cpu) / seconds
        self.machine_cores = (machine_seconds() - self._machine_before) / seconds
        """Of everything that runs on this machine, the benchmark included."""
        self.others_cores = {
            name: (cpu_seconds(part) - self._cpu_before[name]) / seconds for name, part in self._parts.items()
        }
        self.said = self._last.writes - self._first.writes
        self.seen = seen_writes(self._stage) - self._seen_before

    @property
    def quiet_seconds(self) -> float:
        """For how long the operator has written nothing."""
        return time.monotonic() - self._written_at

    @property
    def disagreement(self) -> str:
        """Where the operator's count of its writes and the API server's differ; empty where they do not."""
        names = sorted(self.said.keys() | self.seen.keys())
        return ", ".join(
            f"{name}: the operator says {self.said[name]}, the API server {self.seen[name]}"
            for name in names
            if self.seen[name] != self.said[name] and name not in {"events", "leases"}
        )

    def row(self, phase: str, **measured: float | None) -> Row:
        """The row of this window, after its end."""
        counted: Counter[str] = self.said | self.seen  # the larger of the two
        ticks = max(1, self._last.ticks - self._first.ticks)
        return Row(
            objects=len(self._stage.agents),
            phase=phase,
            tick_p50_seconds=round(statistics.median(self._ticks), 3),
            tick_p95_seconds=round(statistics.quantiles(self._ticks, n=20, method="inclusive")[-1], 3),
            cpu_cores=round(self._cores, 3),
            rss_mebibytes=round(self._rss_bytes / MEBIBYTE, 1),
            queries_per_tick=max(self._queries),
            api_requests_per_tick=round((self._last.requests - self._first.requests) / ticks, 1),
            writes=counted.total() - counted["leases"],
            leases=counted["leases"],
            **measured,
        )

    def _sample(self) -> None:
        try:
            while not self._stop.wait(SAMPLE_SECONDS):
                self._take()
        except Exception as error:  # noqa: BLE001 (handed to the thread that asks)
            self._failure = error

    def _take(self) -> None:
        now: Reading = read(self._stage)
        if ticks := now.ticks - self._last.ticks:
            self._ticks += [(now.tick_seconds - self._last.tick_seconds) / ticks] * ticks
            self._queries += [round((now.queries - self._last.queries) / ticks)] * ticks
        if now.writes != self._last.writes:
            self._written_at = time.monotonic()
        self._rss_bytes = max(self._rss_bytes, rss_bytes(self._stage.operator))
        self._last = now
