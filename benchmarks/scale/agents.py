"""The metrics of one simulated pod: everything that docs/contract.md asks for, with noise at each scrape."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

NOISE = 0.1
SERVICE_SECONDS = 5.0
FAILED_SHARE = 0.002
BUCKETS_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.75, 3.0, 5.0, 10.0, 17.5, 30.0, 60.0, 120.0, 300.0, 600.0)
# Shares of runs at or below each bucket, for runs of 5 s on average.
DURATION_SHARES = (0, 0, 0, 0.01, 0.04, 0.1, 0.22, 0.42, 0.65, 0.9, 0.97, 0.99, 1, 1, 1, 1)
MEBIBYTE = 2**20
BASE_BYTES = 200 * MEBIBYTE
RUN_BYTES = 20 * MEBIBYTE
CACHE_FILL = 0.7
"""Neither so full that the cache ought to grow nor so empty that it ought to shrink."""
RUN_CORES = 0.05


@dataclass
class Service:
    """One AgentDeployment as its agents see it: how much work there is, and the settings that were delivered."""

    runs: float
    """Work in the service, running and waiting, over all pods: what the noise is about."""
    generation: int = 0
    workers: int = 8
    cache_limit_bytes: int = 256 * MEBIBYTE
    pods: dict[str, Pod] = field(default_factory=dict)

    def apply(self, tuning: str) -> None:
        """Apply a `tuning.json` whole, as an agent does."""
        settings = json.loads(tuning)
        self.workers = settings.get("workers", {}).get("maxConcurrent", self.workers)
        self.cache_limit_bytes = settings.get("cache", {}).get("maxBytes", self.cache_limit_bytes)
        self.generation = settings["generation"]


class Pod:
    """One pod with its counters. Its text is a template that was made once: a thousand pods are scraped at a time."""

    def __init__(self, namespace: str, name: str, now: float) -> None:
        self._template = _template(namespace, name)
        self._at = now
        self._runs = 0.0
        self._busy_seconds = 0.0
        self._waits = [0.0] * len(BUCKETS_SECONDS)
        self._wait_seconds = 0.0

    def text(self, service: Service, now: float) -> str:
        """The body of a scrape at `now`; counters move on by what has passed since the last one."""
        seconds, self._at = now - self._at, now
        share = service.runs / max(len(service.pods), 1) * noise()
        running = min(share, float(service.workers))
        waiting = share - running
        ended = running / SERVICE_SECONDS * seconds * noise()
        self._runs += ended
        self._busy_seconds += running * seconds * noise()
        wait = waiting * SERVICE_SECONDS / service.workers
        self._wait_seconds += wait * ended
        self._waits = [
            count + (ended if wait <= bound else 0.0) for count, bound in zip(self._waits, BUCKETS_SECONDS, strict=True)
        ]
        runs = self._runs
        failed, good = FAILED_SHARE * runs, (1 - FAILED_SHARE) * runs
        cache = CACHE_FILL * service.cache_limit_bytes
        values = (
            *(share * good for share in DURATION_SHARES),
            *(good, good, good * SERVICE_SECONDS + self._wait_seconds),
            *(share * failed for share in DURATION_SHARES),
            *(failed, failed, failed * SERVICE_SECONDS),
            *(*self._waits, runs, runs, self._wait_seconds),
            *(good, failed, running, waiting, service.workers),
            *(3 * runs, runs, cache * noise(), service.cache_limit_bytes),
            *(3 * runs - failed, failed, failed),
            service.generation,
            (BASE_BYTES + cache + running * RUN_BYTES) * noise(),
            RUN_CORES * self._busy_seconds,
        )
        return self._template % values


def noise() -> float:
    """A factor of 1, give or take a tenth."""
    return random.uniform(1 - NOISE, 1 + NOISE)


def _template(namespace: str, pod: str) -> str:
    at = f'namespace="{namespace}",pod="{pod}"'

    def line(name: str, value: str = "%.6g", **labels: str) -> str:
        more = "".join(f',{label}="{content}"' for label, content in labels.items())
        return f"{name}{{{at}{more}}} {value}\n"

    def histogram(name: str, **labels: str) -> str:
        bounds = [*(f"{bound:g}" for bound in BUCKETS_SECONDS), "+Inf"]
        buckets = "".join(line(f"{name}_bucket", "%.10g", **labels, le=bound) for bound in bounds)
        return buckets + line(f"{name}_count", "%.10g", **labels) + line(f"{name}_sum", "%.10g", **labels)

    return "".join(
        (
            line("up", "1"),
            histogram("agent_request_duration_seconds", status="success"),
            histogram("agent_request_duration_seconds", status="error"),
            histogram("agent_queue_wait_seconds"),
            line("agent_requests_total", "%.10g", status="success"),
            line("agent_requests_total", "%.10g", status="error"),
            line("agent_inflight_requests"),
            line("agent_queue_depth"),
            line("agent_worker_limit", "%d"),
            *(line("agent_rejected_total", "0", reason=reason) for reason in ("queue_full", "memory", "breaker")),
            line("agent_rejected_total", "0", reason="draining"),
            line("agent_cache_hits_total", "%.10g"),
            line("agent_cache_misses_total", "%.10g"),
            line("agent_cache_evictions_total", "0"),
            line("agent_cache_expired_total", "0"),
            line("agent_cache_bytes", "%d"),
            line("agent_cache_limit_bytes", "%d"),
            line("agent_breaker_state", "0"),
            line("agent_upstream_calls_total", "%.10g", outcome="success"),
            line("agent_upstream_calls_total", "%.10g", outcome="failure"),
            line("agent_upstream_errors_total", "0", kind="429"),
            line("agent_upstream_errors_total", "%.10g", kind="5xx"),
            line("agent_upstream_errors_total", "0", kind="timeout"),
            line("agent_tuning_applied_generation", "%d"),
            line("agent_tuning_errors_total", "0"),
            line("process_resident_memory_bytes", "%d"),
            line("process_cpu_seconds_total", "%.10g"),
        )
    )
