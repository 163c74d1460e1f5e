"""KEDA as a baseline: between 1 and n it is the HPA on an external metric; its own part is 0 to 1 and what fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from agentscaler.core.hpa import average_value_replicas
from agentscaler.core.memory import Sample
from agentscaler.core.shape import HPA_SCALE_DOWN
from agentscaler.simulate.hpa import IN_FLIGHT_TARGET, MAX_REPLICAS, RATE_SECONDS, SYNC_SECONDS, Controller
from agentscaler.simulate.model import Variant
from agentscaler.simulate.scrape import View
from agentscaler.simulate.world import Orders

POLLING_SECONDS = 30.0
COOLDOWN_SECONDS = 300.0


class FallbackBehavior(StrEnum):
    """How many replicas a failed trigger stands for."""

    STATIC = "static"
    CURRENT = "currentReplicas"
    CURRENT_IF_HIGHER = "currentReplicasIfHigher"
    CURRENT_IF_LOWER = "currentReplicasIfLower"


def is_active(value: float, activation_threshold: float = 0.0) -> bool:
    """Whether a trigger wants the target awake: strictly above its threshold."""
    return value > activation_threshold


def trigger_value(samples: Sequence[float], *, ignore_null: bool = True) -> float:
    """The metric that KEDA makes of a query's answer. By default no sample, NaN and infinity all become 0.

    Raises:
        ValueError: several series, or nothing usable where `ignoreNullValues` is off.
    """
    if len(samples) > 1:
        raise ValueError("the query gives several series")
    if not samples or not isfinite(samples[0]):
        if not ignore_null:
            raise ValueError("the query gives no value")
        return 0.0
    return samples[0]


def falls_back(failures: int, threshold: int) -> bool:
    """Whether so many failures in a row, this one included, make KEDA invent a metric."""
    return failures > threshold


def fallback_replicas(behavior: FallbackBehavior, replicas: int, current: int) -> int:
    """Replicas that a failed trigger stands for."""
    if behavior is FallbackBehavior.CURRENT:
        return current
    if behavior is FallbackBehavior.CURRENT_IF_HIGHER:
        return max(current, replicas)
    if behavior is FallbackBehavior.CURRENT_IF_LOWER:
        return min(current, replicas)
    return replicas


def fallback_value(replicas: int, target: float, *, ready: int | None = None) -> float | None:
    """The metric that KEDA makes up so that the HPA lands on `replicas`.

    Args:
        replicas: of `fallback_replicas`.
        target: the trigger's threshold for one replica; of type Value where `ready` is given.
        ready: ready replicas, for a target of type Value. None comes back where there are none.
    """
    if ready is None:
        return target * replicas
    return target * replicas / ready if ready > 0 else None


@dataclass
class Keda:
    """A ScaledObject on the sum of running work, `metricType` AverageValue.

    Attributes:
        target: the trigger's threshold as a share of a pod's workers.
        stabilization_seconds: of the HPA that KEDA makes.
        workers: a fixed worker limit; None: as the service has it.
        minimum: at least 1 here, as every policy has; polling and cooldown decide between 0 and 1 only.
    """

    target: float = IN_FLIGHT_TARGET
    stabilization_seconds: float = 300.0
    workers: int | None = None
    minimum: int = 1
    maximum: int = MAX_REPLICAS
    name: str = "keda"
    interval_seconds: float = SYNC_SECONDS

    def begin(self, variant: Variant, replicas: int) -> None:
        """The size that runs is the first recommendation."""
        self.fixed_pair = self.workers is not None
        down = replace(HPA_SCALE_DOWN, stabilization_window_seconds=int(self.stabilization_seconds))
        self._controller = Controller(self.minimum, self.maximum, down=down)
        self._controller.recommendations.append(Sample(0.0, float(replicas)))
        full = variant.model.workers if self.workers is None else self.workers
        self._threshold = round(1000 * self.target * full)

    def act(self, view: View, now: float) -> Orders:
        """One pass of the HPA that KEDA made. It asks the trigger live each time."""
        current = view.replicas
        if not view.seen:
            return Orders(self._controller.step(current, None, now), self.workers)
        total = view.mean("in_flight", RATE_SECONDS) if view.gauge("in_flight") is not None else None
        value = trigger_value(() if total is None else (total,))
        recommended, _ = average_value_replicas(len(view.pods), round(1000 * value), self._threshold)
        return Orders(self._controller.step(current, recommended, now), self.workers)


def keda(target: float = IN_FLIGHT_TARGET, stabilization_seconds: float = 300.0, workers: float | None = None) -> Keda:
    """KEDA with its defaults."""
    return Keda(target, stabilization_seconds, None if workers is None else int(workers))
