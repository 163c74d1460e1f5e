"""One service in virtual time, under one workload: what a policy orders happens here."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from agentscaler.core.settings import Breaker
from agentscaler.simulate import state as c
from agentscaler.simulate.fleet import IDLE_FIRST, NEWEST_FIRST, RANDOM, begin, resize
from agentscaler.simulate.kernel import advance
from agentscaler.simulate.model import MEGABYTE, Queue, Variant
from agentscaler.simulate.scrape import View
from agentscaler.simulate.state import Floats
from agentscaler.simulate.workload import Workload

SCALE_IN = {"idle": IDLE_FIRST, "newest": NEWEST_FIRST, "random": RANDOM}
"""Which pods go first: by deletion cost, as Kubernetes does without it, or any."""
DECISION_SECONDS = 15.0
"""The phase of scrapes and decisions is drawn within so long."""


class TooManyPodsError(ValueError):
    """A policy orders more pods than there is room for."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a policy wants. None leaves a knob as it is."""

    replicas: int
    workers: int | None = None
    cache_bytes: int | None = None
    breaker: Breaker | None = None


class World:
    """The service. It starts with `workload.first_replicas` ready pods."""

    def __init__(
        self,
        workload: Workload,
        variant: Variant,
        *,
        breaker: Breaker | None = None,
        scale_in: str = "newest",
        live: bool = False,
        replicas: int | None = None,
    ) -> None:
        """Set up the service.

        Args:
            workload: what comes in.
            variant: the service's laws.
            breaker: of all pods at the start; None: no breaker.
            scale_in: a key of `SCALE_IN`.
            live: keep one-second statistics.
            replicas: ready pods at the start; None: as the benchmark says.
        """
        self.workload, self.variant = workload, variant
        phase = workload.phase * DECISION_SECONDS
        self.decision_phase = phase
        scrape_phase = phase % variant.scrape_seconds
        outages = workload.outages
        self.state = c.empty(
            workload.requests, _constants(variant), workload.start_up, (outages.begin, outages.end, outages.share)
        )
        self._scale_in = SCALE_IN[scale_in]
        ints, world = self.state.ints, self.state.world
        ints[c.WORKERS] = ints[c.NEW_WORKERS] = variant.model.workers
        self.breaker = breaker
        world[c.CACHE_LIMIT_MB] = world[c.NEW_CACHE_MB] = variant.cache_bytes / MEGABYTE
        if breaker is not None:
            self.state.breaker[:] = self.state.new_breaker[:] = _breaker(breaker)
        if live:
            world[c.NEXT_SECOND] = 1.0
        self.first_replicas = workload.first_replicas(variant.model) if replicas is None else replicas
        begin(self.state, self.first_replicas, scrape_phase)
        self._view = View(self.state, scrape_phase, live=live)

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return float(self.state.world[c.NOW])

    def advance(self, until: float) -> None:
        """Let virtual time pass."""
        advance(self.state, until)

    def view(self) -> View:
        """What a policy may see now. The same object each time, moved on."""
        return self._view.at(self.now)

    def order(self, orders: Orders) -> None:
        """Replicas are ordered at once; the other knobs are in force after the delivery."""
        s = self.state
        if orders.replicas != s.ints[c.WANTED]:
            resize(s, orders.replicas, self._scale_in)
            there = s.pod_ints[s.live[: s.ints[c.LIVE]], c.STATUS]
            if int((there != c.DRAINING).sum()) != orders.replicas:
                raise TooManyPodsError(f"{orders.replicas} replicas: at most {c.MOST_PODS} pods are simulated")
        new = (
            int(s.ints[c.NEW_WORKERS]) if orders.workers is None else orders.workers,
            self.breaker if orders.breaker is None else orders.breaker,
            float(s.world[c.NEW_CACHE_MB]) if orders.cache_bytes is None else orders.cache_bytes / MEGABYTE,
        )
        if new != (int(s.ints[c.NEW_WORKERS]), self.breaker, float(s.world[c.NEW_CACHE_MB])):
            s.ints[c.NEW_WORKERS] = min(new[0], c.MOST_WORKERS)
            s.world[c.NEW_CACHE_MB] = new[2]
            self.breaker = new[1]
            if self.breaker is not None:
                s.new_breaker[:] = _breaker(self.breaker)
            if not isfinite(s.world[c.SETTINGS_AT]):
                s.world[c.SETTINGS_AT] = self.now + self.variant.model.delivery_seconds

    def billed_seconds(self) -> float:
        """Pod-seconds so far: each pod from its creation to its end."""
        s = self.state
        alive = s.live[: s.ints[c.LIVE]]
        return float(s.world[c.BILLED] + (self.now - s.pods[alive, c.CREATED]).sum())


def _breaker(breaker: Breaker) -> Floats:
    return np.array(
        [
            breaker.failure_rate_threshold_percent or 0,
            breaker.wait_duration_in_open_state_seconds or 60,
            breaker.sliding_window_seconds or 0,
            breaker.minimum_number_of_calls or 100,
            breaker.permitted_calls_in_half_open_state or 10,
        ],
        dtype=np.float64,
    )


def _constants(variant: Variant) -> Floats:
    model, values = variant.model, np.zeros(c.CONSTANTS)
    values[c.MEM_BASE], values[c.MEM_RUN] = model.base_mb, model.run_mb
    values[c.MEM_LIMIT] = variant.memory_limit_bytes / MEGABYTE
    values[c.CPU_LIMIT] = model.cpu_limit_cores
    values[c.LATE_AFTER], values[c.GIVE_UP_AFTER] = model.late_after_seconds, model.give_up_after_seconds
    values[c.PEAK_SHARE] = model.peak_share
    values[c.ITEM_MB] = variant.cache_item_mb if variant.cache_bytes else 0.0
    values[c.SECONDS_PER_TOKEN] = (model.call_per_1000_new_tokens - model.call_per_1000_cached_tokens) / 1000
    values[c.STICKY] = float(variant.sticky)
    values[c.GRACE] = model.grace_seconds
    values[c.SCRAPE_EVERY] = variant.scrape_seconds
    values[c.DELIVERY] = model.delivery_seconds
    values[c.ERROR_AFTER], values[c.HANG_AFTER] = model.error_after_seconds, model.hang_after_seconds
    values[c.THROTTLED_AFTER] = model.throttled_after_seconds
    values[c.QUEUE_PER_POD] = float(variant.queue is Queue.POD)
    values[c.CALLS_PER_MINUTE], values[c.TOKENS_PER_MINUTE] = variant.calls_per_minute, variant.tokens_per_minute
    return values
