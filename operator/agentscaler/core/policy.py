"""The effective policy of one object: its spec with every default filled in, in the core's units.

Units: seconds, bytes, ratios 0..1, percent as integers where resilience4j and autoscaling/v2 use percent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """What the operator may do with one knob."""

    AUTO = "Auto"
    RECOMMEND = "Recommend"
    OFF = "Off"


class PolicyType(StrEnum):
    """Unit of a scaling policy's value, as in autoscaling/v2."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several scaling policies counts, as in autoscaling/v2."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """At most `value` pods or percent within any `period_seconds`."""

    type: PolicyType
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Limits of one direction, with the HPA's meaning. No policies: no rate limit."""

    stabilization_window_seconds: int = 0
    select_policy: SelectPolicy = SelectPolicy.MAX
    policies: tuple[ScalingPolicy, ...] = ()
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Behavior:
    """`behavior` of autoscaling/v2."""

    scale_up: ScalingRules
    scale_down: ScalingRules


@dataclass(frozen=True, slots=True)
class QuantileObjective:
    """The `quantile` of a duration stays at or below `target_seconds`."""

    quantile: float
    target_seconds: float


@dataclass(frozen=True, slots=True)
class Objectives:
    """What the user promised. None: not promised, so no rule acts for it."""

    queue_wait: QuantileObjective | None = None
    latency: QuantileObjective | None = None
    error_ratio: float | None = None
    memory_ratio: float | None = None
    """Worst pod: working set over its memory limit."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Other bounds of replicas between two times of a day; where `end` is not later, until that of the next day."""

    name: str
    """What messages call it."""
    days: tuple[int, ...]
    """Days on which it begins, Monday is 0."""
    start_minute: int
    """First minute of the day, 0 to 1439."""
    end_minute: int
    """First minute after it, 0 to 1440."""
    time_zone: str
    min: int | None = None
    """None: the ordinary bound."""
    max: int | None = None


@dataclass(frozen=True, slots=True)
class Fallback:
    """At least `replicas` after `failure_threshold` observations in a row without a known demand."""

    failure_threshold: int
    replicas: int


@dataclass(frozen=True)
class ReplicaPolicy:
    """Replicas. `manual` is `spec.replicas`: the law when the mode is not Auto, a restart size when it changes."""

    mode: Mode = Mode.AUTO
    min: int = 1
    max: int = 10
    manual: int = 1
    behavior: Behavior | None = None
    schedules: tuple[Schedule, ...] = ()
    fallback: Fallback | None = None
    external_target: float | None = None
    """External demand that one replica is there for. None: there is no external demand."""


@dataclass(frozen=True)
class WorkerPolicy:
    """Concurrent runs in one pod."""

    mode: Mode = Mode.AUTO
    min: int = 1
    max: int = 64
    initial: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """A knob value's bounds, and where it starts. `initial` is also what mode Off renders."""

    min: int
    max: int
    initial: int | None = None


@dataclass(frozen=True)
class CachePolicy:
    """Cache of one pod: size in bytes and lifetime in seconds. None: that value is never rendered."""

    mode: Mode = Mode.AUTO
    max_bytes: Range | None = None
    ttl_seconds: Range | None = None


@dataclass(frozen=True)
class BreakerPolicy:
    """Circuit breaker. None: that value is never rendered."""

    mode: Mode = Mode.AUTO
    failure_rate_threshold_percent: Range | None = None
    wait_duration_in_open_state_seconds: Range | None = None


@dataclass(frozen=True)
class Policy:
    """Everything `decide` may use of the resource."""

    interval_seconds: int = 15
    window_seconds: int = 120
    objectives: Objectives = Objectives()
    replicas: ReplicaPolicy = ReplicaPolicy()
    workers: WorkerPolicy = WorkerPolicy()
    cache: CachePolicy = CachePolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    state_in_memory: bool = False
    """Pods keep state that goes with them: replicas never shrink by themselves."""
    paused_scale_in: bool = False
    """No knob is moved in the direction of less capacity (memory safety excepted)."""
    paused_scale_out: bool = False
    """No knob is moved in the direction of more capacity. `paused: true` sets both."""
