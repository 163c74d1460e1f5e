"""What one tick decided for one object, with the chain of reasons that led there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentscaler.api.conditions import Condition, Reason
from agentscaler.core.demand import Demand
from agentscaler.core.memory import Memory
from agentscaler.core.settings import Knob, Settings


class Diagnosis(StrEnum):
    """What limits the service now."""

    STEADY = "Steady"
    IDLE = "Idle"
    UNKNOWN = "Unknown"
    DEAD = "Dead"
    WORKER_BOUND = "WorkerBound"
    REPLICA_BOUND = "ReplicaBound"
    DEPENDENCY_BOUND = "DependencyBound"
    MEMORY_BOUND = "MemoryBound"
    OVERSIZED = "Oversized"


@dataclass(frozen=True, slots=True)
class Step:
    """One link of the chain: what one rule made of one knob. `before` equals `after` where it only spoke."""

    rule: str
    knob: Knob
    before: int | str | None
    after: int | str | None
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of `decide`.

    `settings` is what is to be in force: it differs from `current` only in knobs of mode Auto that are not paused.
    `recommended` is what the same rules would set if every knob not Off were Auto.
    """

    current: Settings
    settings: Settings
    recommended: Settings
    diagnosis: Diagnosis
    steps: tuple[Step, ...]
    conditions: tuple[Condition, ...]
    """ScalingActive, ScalingLimited, MetricsAvailable, ObjectiveUnreachable and, when pods do not come, Stalled."""
    memory: Memory
    """To be given to the next `decide`."""
    reason: Reason
    """The reason that weighed most."""
    summary: str
    """One sentence for a person: what moves from where to where, and why."""
    demand_runs: float | None = None
    """Forecast of work in flight when an order placed now takes effect; None when it is not known."""
    forecast: Demand | None = None
    """Everything that the forecast was made of; None when demand is not known."""
    margin_runs: float | None = None
    """Workers that are kept free above the forecast."""
    hpa_replicas: int | None = None
    """What the HPA's rule on in-flight runs per worker (target 70 %) would ask for; for comparison only."""

    @property
    def changed(self) -> bool:
        """Whether any knob moves."""
        return self.settings != self.current
