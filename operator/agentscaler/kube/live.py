"""What is live in the cluster for one object: plain values, read by `Targets`, used by the loop and the actuator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agentscaler.api.conditions import Condition, Reason
from agentscaler.core.target import Pod, Target

DEFAULT_GRACE_SECONDS = 30.0
"""What Kubernetes fills in."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one container. None: it has none."""

    memory_bytes: int | None = None
    cpu_cores: float | None = None


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """The target Deployment, as last read. Counts are those of its status unless they say `replicas`."""

    uid: str
    namespace: str
    name: str
    resource_version: str
    generation: int
    observed_generation: int
    replicas: int
    """`spec.replicas`."""
    status_replicas: int
    """Pods of all its ReplicaSets."""
    updated: int
    """Pods of the current ReplicaSet."""
    ready: int
    """Ready pods of all its ReplicaSets."""
    available: int
    controller: str
    """Uid of the AgentDeployment that controls it; empty without one."""
    owned: bool
    """It carries our label and the AgentDeployment asked about is its controller."""
    applied_hash: str
    """Annotation `agentscaler.dev/template-hash`; empty without one."""
    template_fingerprint: str
    """`workload.fingerprint` of the live pod template."""
    restarted_for: int | None
    """Annotation `agentscaler.dev/settings-generation` of the pod template."""
    restarted_at: float | None
    """Annotation `agentscaler.dev/restarted-at`, Unix seconds."""
    selector: str
    """Label selector as text, ready for a LIST and for `status.selector`."""
    instance: str
    """What the selector demands of the label `agentscaler.dev/name`; empty when it does not."""
    containers: tuple[str, ...]
    container_limits: Mapping[str, Limits]
    mounts: frozenset[tuple[str, str]]
    """(container, ConfigMap that it mounts)."""
    scale_writers: tuple[str, ...]
    """Field managers that own `spec.replicas`: who wrote its live value."""
    failure: str = ""
    """Why the Deployment cannot make pods (quota, admission), or `ProgressDeadlineExceeded`; else empty."""
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    """`terminationGracePeriodSeconds` of the pod template."""

    @property
    def rolling_out(self) -> bool:
        """Whether pods of an older ReplicaSet are left, or the controller has not seen the latest template."""
        return self.observed_generation < self.generation or self.updated < self.status_replicas

    @property
    def changing(self) -> bool:
        """Whether pods are on their way in or out."""
        return self.rolling_out or not self.replicas == self.status_replicas == self.ready


@dataclass(frozen=True, slots=True)
class ConfigMapFacts:
    """The ConfigMap `<name>-settings`."""

    uid: str
    resource_version: str
    ours: bool
    """It carries our labels for this object; else it is somebody else's and is never touched."""
    tuning: str | None
    """`tuning.json` as it stands, to the byte."""
    generation: int | None
    """The generation that `tuning.json` states; None when it is missing or broken."""
    data: Mapping[str, str] = field(default_factory=dict)
    """All files."""
    owner: str = ""
    """Uid of its controller, else of its first owner; empty without one."""


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The user's own settings file, which the framework's is made from."""

    name: str
    """Of its ConfigMap."""
    key: str
    text: str | None
    """None: it is not there."""
    missing: str = ""
    """Why it is not there, and the mend."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of the target. Listed only while the target is changing, or when asked for."""

    uid: str
    name: str
    created_at: float
    ready_at: float | None
    """When it last became Ready; None while it is not."""
    restarted: bool
    """A container of it has been restarted."""
    ready: bool
    terminating: bool
    current: bool
    """It belongs to the current ReplicaSet."""
    problem: str
    """Why it does not come; empty when nothing is known to be wrong."""
    deletion_cost: int | None
    """Annotation `controller.kubernetes.io/pod-deletion-cost`."""
    template_hash: str = ""
    """Label `pod-template-hash`."""
    killed_at: Mapping[str, float] = field(default_factory=dict)
    """When a container was killed for memory, by its name, where that was its last end."""

    def pod(self, container: str) -> Pod:
        """As the core needs it. What happens to other containers than the agent's says nothing of its workers."""
        ready_at = self.ready_at if self.ready else None
        killed_at = self.killed_at.get(container)
        return Pod(self.name, self.created_at, ready_at, self.problem, self.restarted, killed_at)


@dataclass(frozen=True, slots=True)
class ConflictFacts:
    """Somebody else drives the target."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Live:
    """All of it for one object. `known` False: reading failed, `problems` says why, and nothing may be concluded."""

    deployment: DeploymentFacts | None = None
    configmap: ConfigMapFacts | None = None
    base: BaseFacts | None = None
    """None: the object names none."""
    pods: tuple[PodFacts, ...] = ()
    pods_known: bool = False
    """Whether `pods` was read in this tick."""
    conflict: ConflictFacts | None = None
    problems: tuple[Condition, ...] = ()
    container: str = ""
    """The container whose limits and settings volume count."""
    settings_mounted: bool = False
    """Whether that container mounts the ConfigMap with the settings."""
    adopted: bool = False
    """The Deployment is somebody else's by the user's will."""
    known: bool = True

    @property
    def ready_replicas(self) -> int:
        """Ready pods of the current ReplicaSet."""
        if self.deployment is None:
            return 0
        if self.pods_known and self.deployment.rolling_out:
            return sum(pod.ready and pod.current and not pod.terminating for pod in self.pods)
        return min(self.deployment.ready, self.deployment.updated)

    def target(self, *, restart_delivery: bool) -> Target:
        """The target as the core needs it; one of no replicas while there is no Deployment.

        Args:
            restart_delivery: Settings reach the pods by a restart only.
        """
        deployment = self.deployment
        if deployment is None:
            return Target(
                0, 0, restart_delivery=restart_delivery, adopted=self.adopted, conflict=self.conflict is not None
            )
        limits = deployment.container_limits.get(self.container, Limits())
        return Target(
            replicas=deployment.replicas,
            ready_replicas=self.ready_replicas,
            rolling_out=deployment.rolling_out,
            memory_limit_bytes=limits.memory_bytes,
            cpu_limit_cores=limits.cpu_cores,
            grace_seconds=deployment.grace_seconds,
            pods=tuple(pod.pod(self.container) for pod in self.pods if pod.current and not pod.terminating),
            restart_delivery=restart_delivery,
            adopted=self.adopted,
            conflict=self.conflict is not None,
        )
