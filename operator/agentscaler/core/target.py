"""The Deployment being scaled, as the core needs to know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of the target's current ReplicaSet. Listed only while the target is changing."""

    name: str
    created_at: float
    ready_at: float | None = None
    problem: str = ""
    """Why it does not come (`Unschedulable: ...`, `ImagePullBackOff: ...`); empty when nothing is known to be wrong."""
    restarted: bool = False
    """A container of it has been restarted: `ready_at` is not that of its start."""
    killed_at: float | None = None
    """When a container of it was last killed for memory; None where its last end was another one."""


@dataclass(frozen=True, slots=True)
class Target:
    """Live facts of the target. Times are Unix seconds."""

    replicas: int
    """What its spec asks for now."""
    ready_replicas: int
    """Ready pods of the current ReplicaSet; those of an older one do not count."""
    rolling_out: bool = False
    memory_limit_bytes: int | None = None
    cpu_limit_cores: float | None = None
    grace_seconds: float = 30.0
    """What a pod that is told to go has to finish its runs."""
    pods: tuple[Pod, ...] = ()
    restart_delivery: bool = False
    """Settings reach the pods by a restart only."""
    adopted: bool = False
    """The Deployment is not ours: it came with a size of its own."""
    conflict: bool = False
    """Somebody else drives the replicas: decide, but leave them alone."""
