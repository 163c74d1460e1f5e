"""Values that many tests of the core start from, and a small closed loop that runs `decide` tick by tick."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from agentscaler.api.conditions import Condition, ConditionType
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Learned, Memory, Moments
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.policy import (
    Behavior,
    BreakerPolicy,
    CachePolicy,
    Objectives,
    Policy,
    QuantileObjective,
    Range,
    ReplicaPolicy,
    ScalingRules,
    WorkerPolicy,
)
from agentscaler.core.target import Target

MEBIBYTE = 2**20
START = 1_000_000.0

POLICY = Policy(
    interval_seconds=5,
    window_seconds=60,
    objectives=Objectives(queue_wait=QuantileObjective(0.99, 1.0), error_ratio=0.01, memory_ratio=0.8),
    replicas=ReplicaPolicy(min=1, max=10),
    workers=WorkerPolicy(min=2, max=32, initial=4),
    cache=CachePolicy(max_bytes=Range(64 * MEBIBYTE, 512 * MEBIBYTE), ttl_seconds=Range(60, 3600, 600)),
    breaker=BreakerPolicy(
        failure_rate_threshold_percent=Range(20, 80, 50), wait_duration_in_open_state_seconds=Range(5, 300, 30)
    ),
)
NO_HOLD = Behavior(scale_up=ScalingRules(), scale_down=ScalingRules(stabilization_window_seconds=0))
TARGET = Target(replicas=2, ready_replicas=2, memory_limit_bytes=1024 * MEBIBYTE)
SPIKE: dict[str, Any] = {"in_flight": 8.0, "in_flight_max": 4.0, "queue_depth": 16.0, "request_rate_60": 8.0}
FLOOD: dict[str, Any] = SPIKE | {"queue_depth": 200.0}
"""More than hot workers pass alone: it takes more pods too."""
BUSY: dict[str, Any] = {"in_flight": 20.0, "in_flight_max": 5.0, "request_rate_60": 40.0, "request_rate_300": 40.0}
LEARNED = Learned(
    # 150 MiB base and 20 MiB a run, exactly: pairs (0, 150), (2, 190), (4, 230) MiB, ten of each.
    memory=Moments(
        n=30,
        x=60,
        y=(150 + 190 + 230) * 10 * MEBIBYTE,
        xx=200,
        xy=(2 * 190 + 4 * 230) * 10 * MEBIBYTE,
        yy=(150**2 + 190**2 + 230**2) * 10 * MEBIBYTE**2,
    )
)


def without_hold(policy: Policy = POLICY) -> Policy:
    """The policy with nothing that delays a smaller size."""
    return replace(policy, replicas=replace(policy.replicas, behavior=NO_HOLD))


def observe(now: float = START, **values: float | Health) -> Observation:
    """Signals by their field name in lower case; a number is Fresh, a Health stands without a value."""
    plain: dict[str, float | Health] = {
        "in_flight": 2.0,
        "in_flight_max": 1.0,
        "queue_depth": 0.0,
        "request_rate_60": 4.0,
        "request_rate_300": 4.0,
        "service_time": 0.5,
        "worker_limit": 4.0,
        "error_ratio": 0.0,
        "memory_max_bytes": 200.0 * MEBIBYTE,
        "memory_mean_bytes": 190.0 * MEBIBYTE,
        "cache_bytes": 32.0 * MEBIBYTE,
        "pods_reporting": 2.0,
        "targets": 2.0,
        "targets_up": 2.0,
        "upstream_call_rate": 4.0,
        "upstream_5xx_rate": 0.0,
        "upstream_timeout_rate": 0.0,
        "upstream_429_rate": 0.0,
        "breaker_state": 0.0,
    }
    signals = {}
    for name, value in (plain | values).items():
        signals[SignalName[name.upper()]] = (
            Signal(None, value) if isinstance(value, Health) else Signal(float(value), Health.FRESH, now)
        )
    return Observation(now, signals)


def blind(now: float = START, health: Health = Health.EMPTY) -> Observation:
    """Every signal lost in the same way."""
    return Observation(now, {name: Signal(None, health) for name in SignalName})


@dataclass
class Loop:
    """A target that obeys every decision at once."""

    policy: Policy = POLICY
    target: Target = TARGET
    memory: Memory = field(default_factory=Memory)
    now: float = START
    decisions: list[Decision] = field(default_factory=list)

    def tick(self, observation: Observation | None = None, *, seconds: float = 5.0, **values: Any) -> Decision:
        """One decision; values as in `observe`."""
        self.now += seconds
        pods = float(self.target.ready_replicas)
        seen = (
            observe(self.now, **({"pods_reporting": pods, "targets": pods, "targets_up": pods} | values))
            if observation is None
            else replace(observation, evaluated_at=self.now)
        )
        decision = decide(self.policy, self.target, seen, self.memory, self.now)
        self.memory = decision.memory
        replicas = decision.settings.replicas
        self.target = replace(self.target, replicas=replicas, ready_replicas=replicas)
        self.decisions.append(decision)
        return decision

    def ticks(self, count: int, **values: Any) -> Decision:
        """Several equal ticks; the last decision."""
        for _ in range(count):
            decision = self.tick(**values)
        return decision


def workers(decision: Decision) -> int:
    assert decision.settings.workers is not None
    return decision.settings.workers


def cache_bytes(decision: Decision) -> int:
    assert decision.settings.cache.max_bytes is not None
    return decision.settings.cache.max_bytes


def condition(decision: Decision, kind: ConditionType) -> Condition:
    return next(c for c in decision.conditions if c.type is kind)
