"""The status of an AgentDeployment, v1alpha1: what the operator writes, as models that check it in tests.

Status is small by design: it is written with a decision or a change of health, never for a drifting number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agentscaler.api.rules import Checked, Model

MAX_RECORDS = 10

_OPEN = Checked(schema=(("x-kubernetes-preserve-unknown-fields", True),))
_Time = Annotated[str, Field(max_length=32), Checked(schema=(("format", "date-time"),))]
_Sentence = Annotated[str, Field(max_length=1024)]
_Word = Annotated[str, Field(max_length=64)]


def _list_map(key: str) -> Checked:
    return Checked(schema=(("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", (key,))))


class Condition(Model):
    """A condition as in metav1."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Type of the condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, in one word."""
    message: Annotated[str, Field(max_length=32768)]
    """Why, in a sentence, and what to do."""
    last_transition_time: _Time
    """When status changed last."""
    observed_generation: int | None = None
    """Generation of the spec that this condition is about."""


class CacheSettings(Model):
    """Cache of one pod."""

    size: Annotated[str, Field(max_length=24)] | None = None
    """Size, a quantity."""
    ttl_seconds: int | None = None
    """Lifetime of entries, in seconds."""


class BreakerSettings(Model):
    """Circuit breaker of one pod."""

    failure_rate_threshold_percent: int | None = None
    """Failure rate at which it opens, in percent."""
    wait_duration_in_open_state_seconds: int | None = None
    """How long it refuses, in seconds."""
    sliding_window_seconds: int | None = None
    """Age up to which calls count, in seconds."""
    minimum_number_of_calls: int | None = None
    """Fewer calls never open it."""
    permitted_calls_in_half_open_state: int | None = None
    """Trial calls after the wait."""


class Settings(Model):
    """Values of the knobs. A value that is left to the agent is absent."""

    generation: int | None = None
    """Settings generation under which pods read them."""
    replicas: int | None = None
    """Number of pods."""
    workers: int | None = None
    """Concurrent runs in one pod."""
    cache: CacheSettings | None = None
    """Cache of one pod."""
    circuit_breaker: BreakerSettings | None = None
    """Circuit breaker of one pod."""


class SignalStatus(Model):
    """One signal as it was when status was written last."""

    name: _Word
    """Name of the signal."""
    value: Annotated[str, Field(max_length=32)] | None = None
    """Value in base units, rounded; absent when it is not known."""
    health: Literal["Fresh", "Idle", "Stale", "Empty", "Invalid", "Partial", "Error"]
    """How far it can be trusted."""
    observed_at: _Time | None = None
    """Time of the newest sample."""


class LastDecision(Model):
    """The newest decision that moved something."""

    at: _Time
    """When it was made."""
    reason: _Word
    """The reason that weighed most."""
    summary: _Sentence
    """What moved from where to where, and why."""


class Record(LastDecision):
    """A decision kept for later, compact."""

    before: Annotated[Settings | None, Field(alias="from")] = None
    """Values of the knobs that moved, before."""
    after: Annotated[Settings | None, Field(alias="to")] = None
    """Values of the knobs that moved, after."""


class AgentDeploymentStatus(Model):
    """What the operator sees and did."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    conditions: Annotated[tuple[Condition, ...], Field(strict=False, max_length=16), _list_map("type")] | None = None
    """Conditions: Ready, Reconciling, Stalled and those of scaling."""
    replicas: int | None = None
    """Pods of the target, for the scale subresource."""
    ready_replicas: int | None = None
    """Ready pods of the target."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    settings: Settings | None = None
    """Values of the knobs in force or on their way."""
    recommended: Settings | None = None
    """What the operator would set where a mode is Recommend."""
    effective: Annotated[dict[str, Any], _OPEN] | None = None
    """The spec with every default filled in."""
    applied_generation: int | None = None
    """Lowest settings generation that a pod reports."""
    signals: Annotated[tuple[SignalStatus, ...], Field(strict=False, max_length=64), _list_map("name")] | None = None
    """Signals when status was written last."""
    diagnosis: _Word | None = None
    """What limits the service."""
    last_decision: LastDecision | None = None
    """The newest decision that moved something."""
    records: Annotated[tuple[Record, ...], Field(strict=False, max_length=MAX_RECORDS)] | None = None
    """The last decisions, newest first."""
    memory: Annotated[dict[str, Any], _OPEN] | None = None
    """What the operator has learned and must not forget; not for people."""
    last_restart_time: _Time | None = None
    """When the Deployment was rolled last to deliver settings."""
