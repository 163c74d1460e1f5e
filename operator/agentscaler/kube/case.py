"""One object in one tick, as the act side gets it, and what comes out of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentscaler.api.conditions import Condition, Reason
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Policy
from agentscaler.core.settings import Settings
from agentscaler.core.values import replace
from agentscaler.kube.live import Live
from agentscaler.kube.memo import Problem
from agentscaler.kube.store import Record

InFlight = Callable[[], Awaitable[Mapping[str, float]]]
"""Runs in flight by pod name; a pod without a fresh number is absent."""


@dataclass(frozen=True, slots=True)
class Case:
    """One object in one tick. `policy` and `decision` are None where nothing could be decided."""

    record: Record
    live: Live
    policy: Policy | None
    effective: Mapping[str, Any]
    """The spec with every default filled in, for `status.effective`; empty while the spec does not parse."""
    observation: Observation
    decision: Decision | None
    """Of this tick, or the last one in a tick that only follows what is under way."""
    fresh: bool
    """Whether `decision` was made in this tick."""
    before: Memory
    """What `decide` started from."""
    now: float
    in_flight: InFlight
    failure: Problem | None = None
    """Why nothing could be decided where that is the operator's own fault."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where the settings stand."""

    condition: Condition
    generation: int | None = None
    """Of the settings in the ConfigMap; None while there are none."""
    text: str | None = None
    """`tuning.json` as it stands."""
    applied: int | None = None
    """Lowest generation that pods report, as far as that is known."""
    waiting: bool = False
    """Pods owe a report."""
    overdue: bool = False
    """They have owed it for so long that the service does not count as Ready."""
    restart_generation: int | None = None
    """Generation that the pod template is to carry, with Restart delivery."""
    restarts: bool = False
    """Whether that rolls the pods now."""
    written: bool = False
    restored: str = ""
    """What was put back after somebody else's hand, for an event; empty when nothing was."""
    problem: Problem | None = None
    missed: bool = False
    """It has changed since it was read: look again at once."""
    native: Condition | None = None
    """Of the framework's own settings file; None: nothing was looked at."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell on the object."""

    reason: Reason
    note: str
    warning: bool = False
    action: str = "Tune"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done and what stands."""

    delivered: Delivered
    memory: Memory
    """For the next `decide`: the decision's, corrected by what could not be carried out."""
    problem: Problem | None = None
    hold: Problem | None = None
    """Why pods are not removed."""
    missed: bool = False
    """Something has changed since it was read, so that an order was not carried out: look again at once."""
    replicas: int | None = None
    """What the target's spec asks for now."""
    events: tuple[Event, ...] = ()
    writes: tuple[str, ...] = ()
    """Kinds of what was written."""

    def applied(self, decision: Decision) -> Settings:
        """What of a decision holds now: replicas that are held, or could not be written, have not moved."""
        if self.replicas is None:
            return decision.settings
        return replace(decision.settings, replicas=self.replicas)

    def moved(self, decision: Decision) -> bool:
        """Whether any knob of a decision moved."""
        return self.applied(decision) != decision.current
