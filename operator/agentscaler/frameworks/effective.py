"""The effective policy of an object: its spec, with every default filled in by the framework preset.

Only values that the user did not give are ever adjusted: a default bound moves out to what the user asked for, a
default start moves into the bounds. So min <= initial <= max holds for every spec that the API server accepts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol, TypeVar

from agentscaler.api import objectives as api_objectives
from agentscaler.api.quantity import parse_size, parse_tolerance, percent_to_ratio
from agentscaler.api.schedules import DAYS
from agentscaler.api.schedules import Schedule as ScheduleSpec
from agentscaler.api.spec import AgentDeploymentSpec
from agentscaler.api.tuning import Behavior as BehaviorSpec
from agentscaler.api.tuning import Cache, CircuitBreaker, Replicas, Tuning, Workers
from agentscaler.api.tuning import ScalingRules as ScalingRulesSpec
from agentscaler.core.policy import (
    Behavior,
    BreakerPolicy,
    CachePolicy,
    Fallback,
    Mode,
    Objectives,
    Policy,
    PolicyType,
    QuantileObjective,
    Range,
    ReplicaPolicy,
    ScalingPolicy,
    ScalingRules,
    Schedule,
    SelectPolicy,
    WorkerPolicy,
)
from agentscaler.core.shape import HPA_SCALE_DOWN, HPA_SCALE_UP, HPA_TOLERANCE
from agentscaler.frameworks.describe import describe

__all__ = ["DEFAULTS", "WINDOWS_SECONDS", "describe", "effective"]

WINDOWS_SECONDS: Final = (60, 120, 300, 600)

DEFAULTS: Final = Policy(
    interval_seconds=15,
    window_seconds=120,
    objectives=Objectives(
        queue_wait=QuantileObjective(quantile=0.99, target_seconds=5.0),
        latency=None,
        error_ratio=0.01,
        memory_ratio=0.8,
    ),
    replicas=ReplicaPolicy(mode=Mode.AUTO, min=1, max=10),
    workers=WorkerPolicy(mode=Mode.AUTO, min=1, max=64, initial=None),
    cache=CachePolicy(
        mode=Mode.AUTO,
        max_bytes=Range(min=64 * 2**20, max=2**30),
        ttl_seconds=Range(min=60, max=3600),
    ),
    breaker=BreakerPolicy(
        mode=Mode.AUTO,
        failure_rate_threshold_percent=Range(min=20, max=80),
        wait_duration_in_open_state_seconds=Range(min=5, max=300),
    ),
)
"""What holds for a framework that says nothing else, and for a user who says nothing at all."""


def effective(spec: AgentDeploymentSpec, preset_defaults: Policy = DEFAULTS) -> Policy:
    """The policy that `decide` gets for a spec.

    Args:
        spec: what the user wrote.
        preset_defaults: what the framework preset says where the user said nothing.
    """
    tuning = spec.tuning or Tuning()
    interval, window = _pace(spec, tuning, preset_defaults)
    paused = bool(spec.paused)
    return Policy(
        interval_seconds=interval,
        window_seconds=window,
        objectives=_objectives(spec.objectives, preset_defaults.objectives),
        replicas=_replicas(tuning.replicas, preset_defaults.replicas, spec.replicas),
        workers=_workers(tuning.workers, preset_defaults.workers),
        cache=_cache(tuning.cache, preset_defaults.cache),
        breaker=_breaker(tuning.circuit_breaker, preset_defaults.breaker),
        state_in_memory=spec.statefulness == "inMemory",
        paused_scale_in=paused or bool(spec.paused_scale_in),
        paused_scale_out=paused or bool(spec.paused_scale_out),
    )


def _pace(spec: AgentDeploymentSpec, tuning: Tuning, default: Policy) -> tuple[int, int]:
    """Interval and window, the window not the shorter one, or what happens between two decisions is never seen."""
    given = spec.signals.window_seconds if spec.signals else None
    if tuning.interval_seconds is None:
        window = default.window_seconds if given is None else given
        return min(default.interval_seconds, window), window
    if given is not None:
        return tuning.interval_seconds, given
    long_enough = max(tuning.interval_seconds, default.window_seconds)
    return tuning.interval_seconds, next(each for each in WINDOWS_SECONDS if each >= long_enough)


T = TypeVar("T")


def _or(given: T | None, default: T) -> T:
    return default if given is None else given


def _quantile(given: api_objectives.QuantileObjective | None) -> QuantileObjective | None:
    if given is None:
        return None
    return QuantileObjective(quantile=float(given.quantile), target_seconds=given.target_milliseconds / 1000)


def _objectives(given: api_objectives.Objectives | None, default: Objectives) -> Objectives:
    if given is None:
        return default
    return Objectives(
        queue_wait=_or(_quantile(given.queue_wait), default.queue_wait),
        latency=_or(_quantile(given.latency), default.latency),
        error_ratio=percent_to_ratio(given.error_rate.target_percent) if given.error_rate else default.error_ratio,
        memory_ratio=percent_to_ratio(given.memory.target_percent) if given.memory else default.memory_ratio,
    )


def _replicas(given: Replicas | None, default: ReplicaPolicy, manual: int) -> ReplicaPolicy:
    if given is None:
        return replace(default, manual=manual)
    low, high, _ = _bounds(given.min, given.max, None, Range(default.min, default.max))
    return ReplicaPolicy(
        mode=_mode(given.mode, default.mode),
        min=low,
        max=high,
        manual=manual,
        behavior=_behavior(given.behavior) if given.behavior else default.behavior,
        fallback=Fallback(given.fallback.failure_threshold, given.fallback.replicas) if given.fallback else None,
        external_target=float(given.external_demand.target_per_replica) if given.external_demand else None,
        schedules=tuple(_schedule(index, each) for index, each in enumerate(given.schedules or ())),
    )


def _schedule(index: int, given: ScheduleSpec) -> Schedule:
    return Schedule(
        name=given.name or f"schedule-{index}",
        days=tuple(day for day, name in enumerate(DAYS) if given.days is None or name in given.days),
        start_minute=_minute(given.start),
        end_minute=_minute(given.end),
        time_zone=given.time_zone or "UTC",
        min=given.min,
        max=given.max,
    )


def _minute(time: str) -> int:
    hours, _, minutes = time.partition(":")
    return 60 * int(hours) + int(minutes)


def _workers(given: Workers | None, default: WorkerPolicy) -> WorkerPolicy:
    if given is None:
        return default
    mode = _mode(given.mode, default.mode)
    low, high, start = _bounds(
        given.min, given.max, given.initial, Range(default.min, default.max, default.initial), mode
    )
    return WorkerPolicy(mode=mode, min=low, max=high, initial=start)


def _cache(given: Cache | None, default: CachePolicy) -> CachePolicy:
    if given is None:
        return default
    mode = _mode(given.mode, default.mode)
    return CachePolicy(
        mode=mode,
        max_bytes=_range(_size(given.min), _size(given.max), _size(given.initial), default.max_bytes, mode),
        ttl_seconds=_sub_range(given.ttl_seconds, default.ttl_seconds, mode),
    )


def _breaker(given: CircuitBreaker | None, default: BreakerPolicy) -> BreakerPolicy:
    if given is None:
        return default
    mode = _mode(given.mode, default.mode)
    return BreakerPolicy(
        mode=mode,
        failure_rate_threshold_percent=_sub_range(
            given.failure_rate_threshold_percent, default.failure_rate_threshold_percent, mode
        ),
        wait_duration_in_open_state_seconds=_sub_range(
            given.wait_duration_in_open_state_seconds, default.wait_duration_in_open_state_seconds, mode
        ),
    )


class _Bounds(Protocol):
    """What the ranges of the resource have in common."""

    @property
    def min(self) -> int | None: ...
    @property
    def max(self) -> int | None: ...
    @property
    def initial(self) -> int | None: ...


def _sub_range(given: _Bounds | None, default: Range | None, mode: Mode) -> Range | None:
    if given is None:
        return _range(None, None, None, default, mode)
    return _range(given.min, given.max, given.initial, default, mode)


def _range(low: int | None, high: int | None, start: int | None, default: Range | None, mode: Mode) -> Range | None:
    """A range out of what the user gave. None: neither the user nor the preset says anything about the value."""
    if default is None:
        known = [value for value in (low, start, high) if value is not None]
        if not known:
            return None
        default = Range(known[0], known[-1])
    return Range(*_bounds(low, high, start, default, mode))


def _bounds(
    low: int | None, high: int | None, start: int | None, default: Range, mode: Mode = Mode.AUTO
) -> tuple[int, int, int | None]:
    """Bounds and start: what the user gave stands, defaults give way."""
    given = [value for value in (low, start, high) if value is not None]
    lowest = low if low is not None else min([default.min, *given])
    highest = high if high is not None else max([default.max, *given])
    if start is None and default.initial is not None and mode is Mode.AUTO:
        # The other modes deliver a start, so there it has to be the user's own.
        start = min(max(default.initial, lowest), highest)
    return lowest, highest, start


def _mode(given: str | None, default: Mode) -> Mode:
    return default if given is None else Mode(given)


def _size(given: int | str | None) -> int | None:
    return None if given is None else parse_size(given)


def _behavior(given: BehaviorSpec) -> Behavior:
    """What is left out of a given `behavior` is as the HPA fills it in."""
    return Behavior(
        scale_up=_rules(given.scale_up or ScalingRulesSpec(), HPA_SCALE_UP),
        scale_down=_rules(given.scale_down or ScalingRulesSpec(), HPA_SCALE_DOWN),
    )


def _rules(given: ScalingRulesSpec, default: ScalingRules) -> ScalingRules:
    policies = tuple(
        ScalingPolicy(PolicyType(policy.type), policy.value, policy.period_seconds) for policy in given.policies or ()
    )
    return ScalingRules(
        stabilization_window_seconds=_or(given.stabilization_window_seconds, default.stabilization_window_seconds),
        select_policy=SelectPolicy(given.select_policy) if given.select_policy else default.select_policy,
        policies=policies or default.policies,
        tolerance=HPA_TOLERANCE if given.tolerance is None else parse_tolerance(given.tolerance),
    )
