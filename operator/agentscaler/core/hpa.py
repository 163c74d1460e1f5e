"""What the HPA's rule would ask for, beside every decision of ours: a comparison, never an input.

The rule is that of autoscaling/v2 in Kubernetes 1.36 (`replica_calculator.go`), in its integers: usage in thousandths,
utilization in whole percents. The simulator's HPA uses it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

TARGET_UTILIZATION = 0.7
CPU_INITIALIZATION_SECONDS = 300.0
READINESS_DELAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the ratio of usage to target may be from 1 before anything moves."""

    down: float = 0.1
    up: float = 0.1

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is near enough to 1."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


DEFAULT_TOLERANCE = Tolerance()


class Group(StrEnum):
    """What the rule makes of one pod."""

    READY = "ready"
    UNREADY = "unready"
    MISSING = "missing"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod as the HPA sees it. Times are seconds of any one clock; None: not there."""

    gone: bool = False
    """Being deleted, or failed."""
    pending: bool = False
    started_at: float | None = None
    ready: bool | None = None
    ready_changed_at: float = 0.0
    sampled_at: float | None = None
    sample_window_seconds: float = 60.0


def group(
    pod: PodFacts,
    now: float,
    *,
    cpu: bool,
    initialization_seconds: float = CPU_INITIALIZATION_SECONDS,
    readiness_delay_seconds: float = READINESS_DELAY_SECONDS,
) -> Group:
    """In which group a pod counts. Only for CPU is readiness asked: its usage misleads while a pod starts."""
    if pod.gone:
        return Group.IGNORED
    if pod.pending:
        return Group.UNREADY
    if pod.sampled_at is None:
        return Group.MISSING
    if not cpu:
        return Group.READY
    if pod.ready is None or pod.started_at is None:
        return Group.UNREADY
    if pod.started_at + initialization_seconds > now:
        early = pod.sampled_at < pod.ready_changed_at + pod.sample_window_seconds
        return Group.UNREADY if not pod.ready or early else Group.READY
    never_ready = pod.started_at + readiness_delay_seconds > pod.ready_changed_at
    return Group.UNREADY if not pod.ready and never_ready else Group.READY


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of the pods, by group, in thousandths.

    Attributes:
        ready: usage of each ready pod that has a sample.
        requests: of the same pods, for utilization; empty for a plain metric.
        ready_count: ready pods; more than `ready` where samples belong to no pod.
        unready: requests of unready pods (anything for a plain metric).
        missing: requests of pods without a sample (anything for a plain metric).
    """

    ready: Sequence[int]
    requests: Sequence[int] = ()
    ready_count: int | None = None
    unready: Sequence[int] = ()
    missing: Sequence[int] = ()


def per_pod_replicas(
    current: int, usage: Usage, target: int, *, tolerance: Tolerance = DEFAULT_TOLERANCE
) -> tuple[int, int]:
    """Replicas for a metric of each pod, and the usage compared with the target.

    Args:
        current: what the target's spec asks for.
        usage: of its pods.
        target: of one pod: whole percents of the request where there are requests, else thousandths.
        tolerance: inside of it nothing moves.

    Raises:
        ValueError: no ready pod has a sample, or their requests are zero.
    """
    if not usage.ready:
        raise ValueError("no sample belongs to a ready pod")
    compared = _compared(usage.ready, usage.requests)
    ratio = compared / target
    count = len(usage.ready) if usage.ready_count is None else usage.ready_count
    if not usage.missing and not (usage.unready and ratio > 1.0):
        return (current if tolerance.holds(ratio) else ceil(ratio * count)), compared
    values, requests = list(usage.ready), list(usage.requests)
    if ratio < 1.0:
        full = max(100, target)
        values += [request * full // 100 if usage.requests else target for request in usage.missing]
    elif ratio > 1.0:
        values += [0] * (len(usage.missing) + len(usage.unready))
    added = len(values) - len(usage.ready)
    if usage.requests:
        requests += [*usage.missing, *usage.unready][:added]
    again = _compared(values, requests) / target
    if tolerance.holds(again) or (ratio < 1.0 < again) or (again < 1.0 < ratio):
        return current, compared
    wanted = ceil(again * len(values))
    wrong_way = (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current)
    return (current if wrong_way else wanted), compared


def value_replicas(
    current: int, ready: int, value: int, target: int, *, tolerance: Tolerance = DEFAULT_TOLERANCE
) -> tuple[int, int]:
    """Replicas for one value of an object or an external metric against a target of type Value, and that value."""
    ratio = value / target
    if current == 0:
        return ceil(ratio), value
    return (current if tolerance.holds(ratio) else ceil(ratio * ready)), value


def average_value_replicas(
    status_replicas: int, value: int, target: int, *, tolerance: Tolerance = DEFAULT_TOLERANCE
) -> tuple[int, int]:
    """Replicas for one value against a target of type AverageValue, and the value of one replica. KEDA's kind."""
    if status_replicas == 0:
        return ceil(value / target), 0
    near = tolerance.holds(value / (target * status_replicas))
    return (status_replicas if near else ceil(value / target)), ceil(value / status_replicas)


def combined(current: int, proposals: Iterable[int | None]) -> int:
    """The largest proposal of several metrics; one that failed (None) blocks shrinking only."""
    asked = list(proposals)
    valid = [proposal for proposal in asked if proposal is not None]
    if not valid or (len(valid) < len(asked) and max(valid) < current):
        return current
    return max(valid)


def hpa_replicas(*, replicas: int, ready: int, in_flight: float, workers: int, minimum: int, maximum: int) -> int:
    """Replicas by autoscaling/v2 on a pods metric of running work, target 70 % of the workers, before stabilization.

    `in_flight` counts running work only: the HPA sees no queue unless somebody exports one.
    """
    if ready < 1 or workers < 1:
        return replicas
    share, rest = divmod(round(in_flight * 1000), ready)
    usage = Usage(tuple(share + (pod < rest) for pod in range(ready)))
    wanted, _ = per_pod_replicas(replicas, usage, round(TARGET_UTILIZATION * workers * 1000))
    return min(max(wanted, minimum), maximum)


def _compared(values: Sequence[int], requests: Sequence[int]) -> int:
    if not requests:
        return sum(values) // len(values)
    total = sum(requests)
    if total == 0:
        raise ValueError("the requests are zero")
    return sum(values) * 100 // total
