"""What the operator may do with each of the four knobs, and within which bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentscaler.api.external import ExternalDemand
from agentscaler.api.quantity import parse_tolerance
from agentscaler.api.rules import Checked, Model, Rule, ordered
from agentscaler.api.schedules import MAX_SCHEDULES, Schedule
from agentscaler.api.values import INT_OR_STRING, Mode, Size

_TOLERANCE_PATTERN = r"^[0-9]{1,6}([.][0-9]{1,6})?m?$"


def _is_tolerance(value: int | str) -> bool:
    try:
        parse_tolerance(value)
    except ValueError:
        return False
    return True


class ScalingPolicy(Model):
    """One rate limit, as in autoscaling/v2."""

    type: Literal["Pods", "Percent"]
    """Unit of value."""
    value: Annotated[int, Field(ge=1, le=10_000)]
    """Largest change within the period, in pods or percent."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """Length of the period, in seconds."""


class ScalingRules(Model):
    """Limits of one direction, as in autoscaling/v2."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None
    """Seconds of past recommendations of which the safest counts. Effective default: 0 up, 300 down."""
    select_policy: Literal["Max", "Min", "Disabled"] | None = None
    """Which policy counts when there are several; Disabled forbids the direction. Effective default: Max."""
    policies: Annotated[tuple[ScalingPolicy, ...], Field(strict=False, min_length=1, max_length=10)] | None = None
    """Rate limits. Effective default: up 100 percent or 4 pods in 15 s, down 100 percent in 15 s."""
    tolerance: (
        Annotated[
            int | str,
            Checked(
                schema=INT_OR_STRING,
                rules=(
                    Rule(
                        f"string(self).matches('{_TOLERANCE_PATTERN}')",
                        'tolerance must be a ratio: write it as a string such as "0.05" or "50m"',
                        _is_tolerance,
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """Relative change that is ignored, such as "0.05". Effective default: 0.1."""


class Behavior(Model):
    """Limits of both directions, with the meaning that they have for the HPA."""

    scale_up: ScalingRules | None = None
    """Limits of adding pods."""
    scale_down: ScalingRules | None = None
    """Limits of removing pods."""


class Fallback(Model):
    """The size while nobody knows the demand."""

    failure_threshold: Annotated[int, Field(ge=1, le=1000)]
    """So many observations in a row do not tell the demand: there are no metrics, or they are not to be trusted. They
    come at the pace of intervalSeconds."""
    replicas: Annotated[int, Field(ge=1, le=1000)]
    """Fewest pods from then on until demand is known, within the bounds; never fewer than there are."""


class Replicas(Model):
    """The number of pods."""

    rules = ordered(initial=False)

    mode: Mode | None = None
    """Auto decides; Recommend only reports; with it and with Off spec.replicas is law. Effective default: Auto."""
    min: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Fewest pods that Auto may choose. Effective default: 1."""
    max: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most pods that Auto may choose. Effective default: 10, or min where that is higher."""
    behavior: Behavior | None = None
    """Rate limits and stabilization with the HPA's meaning. Absent: the operator's own shaping."""
    schedules: Annotated[tuple[Schedule, ...], Field(strict=False, max_length=MAX_SCHEDULES)] | None = None
    """Other bounds at certain times, with mode Auto. Of several that hold, the highest min and the lowest max count;
    where these cross, min wins. Both are reached at once."""
    fallback: Fallback | None = None
    """Size while demand is not known, as of KEDA. Absent: the size is held."""
    external_demand: ExternalDemand | None = None
    """Demand beside that of the agent's own signals. The larger need counts; while it is not known no pod goes."""


class Workers(Model):
    """Concurrent runs in one pod."""

    rules = ordered()

    mode: Mode | None = None
    """Auto decides; Recommend reports; both it and Off deliver initial, if given. Effective default: Auto."""
    min: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Fewest concurrent runs. Effective default: 1."""
    max: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Most concurrent runs; memory may allow fewer. Effective default: 64, or what min and initial need."""
    initial: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Where to start. Effective default: the limit that the agent reports."""


class TtlRange(Model):
    """Bounds of the lifetime of cache entries, in seconds."""

    rules = ordered()

    min: Annotated[int, Field(ge=1, le=604_800)] | None = None
    """Shortest lifetime, in seconds. Effective default: 60."""
    max: Annotated[int, Field(ge=1, le=604_800)] | None = None
    """Longest lifetime, in seconds. Effective default: 3600."""
    initial: Annotated[int, Field(ge=1, le=604_800)] | None = None
    """Where to start, in seconds. Effective default: with mode Auto the geometric middle of the bounds."""


class Cache(Model):
    """The cache of one pod."""

    rules = ordered(size=True)

    mode: Mode | None = None
    """Auto decides; Recommend reports; both it and Off deliver initial, if given. Effective default: Auto."""
    min: Size | None = None
    """Smallest cache, a quantity such as 64Mi. Effective default: 64Mi."""
    max: Size | None = None
    """Largest cache, a quantity such as 1Gi. Effective default: 1Gi."""
    initial: Size | None = None
    """Where to start, a quantity. Effective default: with mode Auto the geometric middle of the bounds."""
    ttl_seconds: TtlRange | None = None
    """Lifetime of entries."""


class ThresholdRange(Model):
    """Bounds of the failure rate at which the breaker opens, in percent."""

    rules = ordered()

    min: Annotated[int, Field(ge=1, le=100)] | None = None
    """Lowest threshold, in percent. Effective default: 20."""
    max: Annotated[int, Field(ge=1, le=100)] | None = None
    """Highest threshold, in percent. Effective default: 80."""
    initial: Annotated[int, Field(ge=1, le=100)] | None = None
    """Where to start, in percent. Effective default: with mode Auto 50, or the nearest bound."""


class WaitRange(Model):
    """Bounds of the time for which an open breaker refuses, in seconds."""

    rules = ordered()

    min: Annotated[int, Field(ge=1, le=3600)] | None = None
    """Shortest wait, in seconds. Effective default: 5."""
    max: Annotated[int, Field(ge=1, le=3600)] | None = None
    """Longest wait, in seconds. Effective default: 300."""
    initial: Annotated[int, Field(ge=1, le=3600)] | None = None
    """Where to start, in seconds. Effective default: with mode Auto 30, or the nearest bound."""


class CircuitBreaker(Model):
    """The circuit breaker of one pod, under resilience4j's names."""

    mode: Mode | None = None
    """Auto decides; Recommend reports; both it and Off deliver initial, if given. Effective default: Auto."""
    failure_rate_threshold_percent: ThresholdRange | None = None
    """Failure rate at which the breaker opens."""
    wait_duration_in_open_state_seconds: WaitRange | None = None
    """How long an open breaker refuses before it tries again."""


class Tuning(Model):
    """The knobs. One that is left out is in mode Auto with the bounds of the framework preset."""

    interval_seconds: Annotated[int, Field(ge=5, le=300)] | None = None
    """Seconds between two decisions. Effective default: 15."""
    replicas: Replicas | None = None
    """Number of pods."""
    workers: Workers | None = None
    """Concurrent runs in one pod."""
    cache: Cache | None = None
    """Size and lifetime of the cache of one pod."""
    circuit_breaker: CircuitBreaker | None = None
    """Circuit breaker of one pod."""
