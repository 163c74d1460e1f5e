"""What `decide` remembers of one object from tick to tick: a plain value that can be written down and read back."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentscaler.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Change:
    """One applied change of the replica count; the HPA's rate policies count these."""

    at: float
    amount: int
    """Positive: pods added; negative: pods removed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value and its time, for windows."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Moments:
    """Exponentially decayed sums of pairs (x, y): enough for a regression line and its spread."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0


@dataclass(frozen=True, slots=True)
class Learned:
    """What holds for the service and not for the moment. Stands in status and survives a restart."""

    start_up_seconds: float = 30.0
    """From a pod's creation to Ready: a slow-moving high estimate."""
    start_up_seen_at: float = 0.0
    """Ready time of the newest pod that has been counted."""
    service_seconds: float = 10.0
    """Mean run duration by Little's law over about an hour."""
    busy_integral: float = 20.0
    completions: float = 2.0
    memory: Moments = Moments()
    """x: runs in flight per pod, y: bytes per pod without its cache."""
    memory_excess_bytes: float = 0.0
    """How far the worst pod stood above the mean law: a slowly decaying maximum (the tail)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Carried from one decision to the next."""

    settings: Settings | None = None
    """What the last decision set; None before the first one."""
    manual_replicas: int | None = None
    """`spec.replicas` as last seen: a change of it restarts from that size once."""
    decided_at: float = 0.0
    known_since: float | None = None
    """Since when the required signals have been known without a break; None while they are not."""
    learned: Learned = field(default_factory=Learned)
    needs: tuple[Sample, ...] = ()
    """Replicas needed, for the hold and stabilization windows. Rebuilt from Prometheus after a restart."""
    capacities: tuple[Sample, ...] = ()
    """Workers needed per pod, likewise."""
    ups: tuple[Sample, ...] = ()
    """Raw recommendations of the scale-up stabilization window."""
    changes: tuple[Change, ...] = ()
    """Applied changes of replicas, for rate policies. Stands in status."""
    ordered_at: float = 0.0
    """When pods were last asked for: the credit for pods on their way runs from here."""
    memory_calm_since: float | None = None
    """Since when memory has been below its objective."""
    upstream_calm_since: float | None = None
    """Since when the upstream has been well."""
    cache_changed_at: float = 0.0
    breaker_changed_at: float = 0.0
    workers_raised_at: float = 0.0
