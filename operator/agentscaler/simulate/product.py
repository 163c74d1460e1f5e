"""The product as a policy: the very `decide` that the operator runs, on what the operator would see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isnan
from time import perf_counter

import numpy as np

from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Learned, Memory, Sample
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.policy import (
    BreakerPolicy,
    CachePolicy,
    Mode,
    Objectives,
    Policy,
    QuantileObjective,
    Range,
    ReplicaPolicy,
    WorkerPolicy,
)
from agentscaler.core.settings import Breaker
from agentscaler.core.target import Pod, Target
from agentscaler.simulate import state as c
from agentscaler.simulate.model import MEGABYTE, RESILIENCE4J, Variant, Workers
from agentscaler.simulate.scrape import View
from agentscaler.simulate.world import Orders

EPOCH = 1_000_000.0
"""Unix seconds of virtual time 0: the core takes 0 for never."""
BUCKETS_SECONDS = 60.0
"""Pace at which the operator reads distributions."""
RATES = (
    (SignalName.REQUEST_RATE_60, "completed", 60),
    (SignalName.REQUEST_RATE_120, "completed", 120),
    (SignalName.REQUEST_RATE_300, "completed", 300),
    (SignalName.REQUEST_RATE_600, "completed", 600),
    (SignalName.REJECTED_BREAKER_RATE, "rejected_breaker", 60),
    (SignalName.REJECTED_RATE, "rejected", 60),
    (SignalName.UPSTREAM_429_RATE, "upstream_429", 60),
    (SignalName.UPSTREAM_5XX_RATE, "upstream_5xx", 60),
    (SignalName.UPSTREAM_TIMEOUT_RATE, "upstream_timeout", 60),
    (SignalName.UPSTREAM_CALL_RATE, "upstream_calls", 60),
    (SignalName.CPU_CORES, "cpu_seconds", 60),
)
GAUGES = (
    (SignalName.IN_FLIGHT, "in_flight", 1.0),
    (SignalName.IN_FLIGHT_MAX, "in_flight_max", 1.0),
    (SignalName.QUEUE_DEPTH, "queue", 1.0),
    (SignalName.WORKER_LIMIT, "worker_limit", 1.0),
    (SignalName.BREAKER_STATE, "breaker_state", 1.0),
    (SignalName.MEMORY_MAX_BYTES, "memory_max", MEGABYTE),
    (SignalName.MEMORY_MEAN_BYTES, "memory_mean", MEGABYTE),
    (SignalName.PODS_REPORTING, "pods", 1.0),
    (SignalName.TARGETS, "targets", 1.0),
    (SignalName.TARGETS_UP, "pods", 1.0),
)
WINDOW_SECONDS = 120
CACHE = Range(64 * 2**20, 2**30)
IDLE = Signal(None, Health.IDLE)
EMPTY = Signal(None, Health.EMPTY)


def product_policy(workers: Workers, maximum: int = 1000, *, cache: bool = False) -> Policy:
    """The one configuration that the product runs with on every trace."""
    frozen = workers is Workers.FROZEN
    return Policy(
        interval_seconds=15,
        window_seconds=WINDOW_SECONDS,
        objectives=Objectives(queue_wait=QuantileObjective(0.99, 5.0), error_ratio=0.01, memory_ratio=0.8),
        replicas=ReplicaPolicy(min=1, max=maximum),
        workers=WorkerPolicy(mode=Mode.OFF) if frozen else WorkerPolicy(min=1, max=64, initial=8),
        cache=CachePolicy(max_bytes=CACHE) if cache else CachePolicy(mode=Mode.OFF),
        breaker=BreakerPolicy(
            failure_rate_threshold_percent=Range(20, 80), wait_duration_in_open_state_seconds=Range(5, 300)
        ),
    )


@dataclass
class Agentscaler:
    """The product. `decisions` are kept when asked for."""

    policy: Policy | None = None
    """None: `product_policy` of the run's variant."""
    keep: bool = False
    tune_breaker: bool = True
    name: str = "agentscaler"
    epoch: float = EPOCH
    """Unix seconds of the trace's start: schedules go by the clock."""
    interval_seconds: float = 15.0
    scale_in: str = "idle"
    breaker: Breaker = field(
        default_factory=lambda: Breaker(
            failure_rate_threshold_percent=50,
            wait_duration_in_open_state_seconds=30,
            sliding_window_seconds=60,
            minimum_number_of_calls=10,
            permitted_calls_in_half_open_state=1,
        )
    )
    decisions: list[Decision] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    decide_seconds: float = 0.0
    """Real time that `decide` took in all; no part of any result."""
    decided: int = 0

    def begin(self, variant: Variant, replicas: int) -> None:
        """Start from the size that runs, which the stabilisation memory holds."""
        if self.policy is None:
            self.policy = product_policy(variant.workers, cache=variant.cache_bytes > 0)
        if not self.tune_breaker:
            self.policy = replace(self.policy, breaker=BreakerPolicy(mode=Mode.OFF))
        self.interval_seconds = float(self.policy.interval_seconds)
        self._target = Target(
            replicas=replicas,
            ready_replicas=replicas,
            memory_limit_bytes=variant.memory_limit_bytes,
            cpu_limit_cores=variant.model.cpu_limit_cores,
            grace_seconds=variant.model.grace_seconds,
        )
        self.memory = replace(
            self.memory,
            learned=replace(Learned(), start_up_seen_at=self.epoch),
            needs=(Sample(self.epoch, float(replicas)),),
        )
        self._buckets: tuple[tuple[float, float], ...] = ()
        self._buckets_at = -BUCKETS_SECONDS
        self._changing = True

    def act(self, view: View, now: float) -> Orders:
        """One tick of the operator."""
        assert self.policy is not None
        target = self._look(view)
        observation = self._observe(view, now)
        begun = perf_counter()
        decision = decide(self.policy, target, observation, self.memory, self.epoch + now)
        self.decide_seconds += perf_counter() - begun
        self.decided += 1
        self.memory = decision.memory
        if self.keep:
            self.decisions.append(decision)
        settings = decision.settings
        breaker = settings.breaker if settings.breaker != Breaker() else None
        return Orders(settings.replicas, settings.workers, settings.cache.max_bytes, breaker)

    def _look(self, view: View) -> Target:
        """Pods are listed only while the target is changing."""
        ready = view.ready_replicas
        changing = view.changed or ready != view.replicas
        pods: tuple[Pod, ...] = ()
        if changing or self._changing:
            pods = tuple(
                replace(
                    pod,
                    created_at=self.epoch + pod.created_at,
                    ready_at=None if pod.ready_at is None else self.epoch + pod.ready_at,
                    killed_at=None if pod.killed_at is None else self.epoch + pod.killed_at,
                )
                for pod in view.pods
            )
        self._changing = changing
        return replace(self._target, replicas=view.replicas, ready_replicas=ready, pods=pods)

    def _observe(self, view: View, now: float) -> Observation:
        at = self.epoch + view.observed_at
        signals: dict[SignalName, Signal] = {}

        def fresh(name: SignalName, value: float | None) -> None:
            signals[name] = EMPTY if value is None else Signal(value, Health.FRESH, at)

        for name, gauge, unit in GAUGES:
            value = view.gauge(gauge)
            fresh(name, None if value is None else value * unit)
        for name, counter, window in RATES:
            fresh(name, view.rate(counter, window))
        if self.policy is not None and self.policy.cache.mode is not Mode.OFF:
            signals |= _cache_signals(view, at)
        busy = view.gauge("in_flight")
        if not signals[SignalName.REQUEST_RATE_60].value and busy == 0.0:
            signals[SignalName.REQUEST_RATE_60] = IDLE
        signals[SignalName.ERROR_RATIO] = self._errors(view, at)
        signals[SignalName.QUEUE_WAIT] = self._quantile(view, at)
        signals[SignalName.LATE_RATIO] = self._late(view, at)
        signals[SignalName.SERVICE_TIME] = self._service(view, at)
        if now - self._buckets_at >= BUCKETS_SECONDS:
            self._buckets, self._buckets_at = _distribution(view), now
        return Observation(self.epoch + now, signals, self._buckets)

    def _errors(self, view: View, at: float) -> Signal:
        assert self.policy is not None
        window = self.policy.window_seconds
        ended = view.rate("completed", window)
        if ended is None:
            return EMPTY
        if not ended:
            return IDLE
        return Signal(min((view.rate("errors", window) or 0.0) / ended, 1.0), Health.FRESH, at)

    def _quantile(self, view: View, at: float) -> Signal:
        assert self.policy is not None
        objective = self.policy.objectives.queue_wait
        if objective is None:
            return EMPTY
        wait = view.quantile("queue_wait", objective.quantile, self.policy.window_seconds)
        if wait is None:
            return EMPTY
        return IDLE if isnan(wait) else Signal(wait, Health.FRESH, at)

    def _late(self, view: View, at: float) -> Signal:
        assert self.policy is not None
        objective = self.policy.objectives.queue_wait
        if objective is None or objective.target_seconds not in c.BUCKETS:
            return EMPTY
        counts = view.increases("queue_wait", self.policy.window_seconds)
        if counts is None:
            return EMPTY
        within = c.BUCKETS.index(objective.target_seconds) + 1
        started = counts.sum()
        return Signal(float(counts[within:].sum() / started), Health.FRESH, at) if started > 0 else IDLE

    @staticmethod
    def _service(view: View, at: float) -> Signal:
        ended, total, waits = (view.rate(name, 600) for name in ("completed", "duration_sum", "wait_sum"))
        if ended is None or total is None or waits is None:
            return EMPTY
        if not ended:
            return IDLE
        seconds = (total - waits) / ended
        return Signal(seconds, Health.FRESH, at) if seconds > 0 else Signal(None, Health.INVALID)


def fixed_breaker() -> Agentscaler:
    """The product with resilience4j's defaults in place of its own breaker: what the breaker alone is worth."""
    return Agentscaler(name="agentscaler-fixed-breaker", tune_breaker=False, breaker=RESILIENCE4J)


def _cache_signals(view: View, at: float) -> dict[SignalName, Signal]:
    held = view.gauge("cache_bytes")
    hits, misses, evictions = (view.rate(f"cache_{name}", 300) for name in ("hits", "misses", "evictions"))
    ratio = hits / (hits + misses) if hits is not None and misses is not None and hits + misses > 0 else None
    found = {
        SignalName.CACHE_BYTES: None if held is None else held * MEGABYTE,
        SignalName.CACHE_HIT_RATIO: ratio,
        SignalName.CACHE_MISS_RATE: misses,
        SignalName.CACHE_EVICTION_RATE: evictions,
        SignalName.CACHE_EXPIRED_RATE: 0.0,
    }
    return {name: EMPTY if value is None else Signal(value, Health.FRESH, at) for name, value in found.items()}


def _distribution(view: View) -> tuple[tuple[float, float], ...]:
    counts = view.increases("duration", 600)
    if counts is None or counts.sum() <= 0:
        return ()
    shares = np.cumsum(counts) / counts.sum()
    return tuple(zip(c.BUCKETS, (float(share) for share in shares[:-1]), strict=True))
