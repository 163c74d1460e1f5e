"""Who else drives the replicas of a target: other autoscalers, other writers, other AgentDeployments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentscaler.api.conditions import Reason
from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import Forbidden, KubeError, NotFound
from agentscaler.kube.live import ConflictFacts, DeploymentFacts
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS, SCALED_OBJECTS, Resource
from agentscaler.kube.store import Record
from agentscaler.kube.workload import MANAGER, SCALE_MANAGER, STATUS_MANAGER

OUR_MANAGERS = frozenset({MANAGER, SCALE_MANAGER, STATUS_MANAGER})
FOREIGN_WINDOW_SECONDS = 600.0
AUTOSCALERS_EVERY_SECONDS = 30.0
_ABSENT_FOR_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """What an autoscaler names as its target."""

    namespace: str
    group: str
    kind: str
    name: str


class Autoscalers:
    """HPAs and ScaledObjects of the cluster, read at a slow pace, one kind at a time."""

    def __init__(self, api: KubeApi, namespaces: Collection[str] = ()) -> None:
        self._api = api
        self._namespaces = tuple(namespaces) or ("",)
        # ScaledObjects come last and win: KEDA makes an HPA for each, and the person knows the ScaledObject.
        self._kinds = {"HorizontalPodAutoscaler": HORIZONTAL_POD_AUTOSCALERS, "ScaledObject": SCALED_OBJECTS}
        self._due_at = dict.fromkeys(self._kinds, 0.0)
        self._found: dict[str, dict[ScaleTarget, str]] = {kind: {} for kind in self._kinds}
        self._blind: dict[str, str] = {}

    @property
    def blind(self) -> str:
        """Why some of them cannot be seen (RBAC); empty when all can."""
        return "; ".join(self._blind.values())

    async def refresh(self, now: float) -> None:
        """Read the kind that is due, if one is; on failure what was known stays.

        Args:
            now: Monotonic seconds.
        """
        kind = min(self._due_at, key=self._due_at.__getitem__)  # the most overdue, so that none starves
        if self._due_at[kind] > now:
            return
        self._due_at[kind] = now + AUTOSCALERS_EVERY_SECONDS
        try:
            self._found[kind] = await self._read(kind, self._kinds[kind])
            self._blind.pop(kind, None)
        except NotFound:
            self._found[kind] = {}
            self._due_at[kind] = now + _ABSENT_FOR_SECONDS
        except Forbidden as error:
            self._blind[kind] = str(error)
        except KubeError:
            self._due_at[kind] = now

    def of(self, target: ScaleTarget) -> str:
        """`ScaledObject agents/x`, or empty when no autoscaler names the target."""
        return next((found[target] for found in reversed(self._found.values()) if target in found), "")

    async def _read(self, kind: str, resource: Resource) -> dict[ScaleTarget, str]:
        found: dict[ScaleTarget, str] = {}
        for namespace in self._namespaces:
            for target, name in await self._api.list(resource.path(namespace), keep=_scale_target):
                found[target] = f"{kind} {target.namespace}/{name}"
        return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stood at the last look."""

    deployment: str
    generation: int
    replicas: int
    writes: tuple[tuple[str, float], ...] = ()
    """(manager, time) of foreign writes within the window."""


class ForeignWriters:
    """Who wrote the replicas of which Deployment lately.

    A field belongs to whoever wrote its live value. A size that is neither the one seen before nor the one that we
    ordered, and belongs to somebody else, is a foreign write; its time is when it was seen, since the API server keeps
    none for writes through `/scale`. What stood when a Deployment was first seen counts for nothing.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def scaled(self, uid: str, replicas: int) -> None:
        """We have written a size ourselves: one that differs at the next look is somebody else's."""
        if uid in self._seen:
            self._seen[uid] = replace(self._seen[uid], replicas=replicas)

    def conflict(self, uid: str, facts: DeploymentFacts, now: float) -> ConflictFacts | None:
        """Take in what is live; two foreign writes within the window are a conflict, one is not.

        Args:
            uid: Of the AgentDeployment.
            facts: Its Deployment as it is.
            now: Unix seconds.
        """
        known = self._seen.get(uid)
        if known is None or known.deployment != facts.uid:
            self._seen[uid] = _Seen(facts.uid, facts.generation, facts.replicas)
            return None
        foreign = sorted(set(facts.scale_writers) - OUR_MANAGERS)
        writes = tuple(write for write in known.writes if write[1] > now - FOREIGN_WINDOW_SECONDS)
        if facts.generation <= known.generation:
            # Nothing was written since, or the LIST is older than our own last write.
            known = replace(known, writes=writes)
        else:
            if foreign and facts.replicas != known.replicas:
                writes += ((" and ".join(foreign), now),)
            known = _Seen(facts.uid, facts.generation, facts.replicas, writes)
        self._seen[uid] = known
        if len(writes) < 2:
            return None
        managers = " and ".join(sorted({manager for manager, _ in writes}))
        return ConflictFacts(
            Reason.FOREIGN_WRITER,
            f"{managers} keeps writing spec.replicas of Deployment {facts.namespace}/{facts.name}; replicas are left "
            "alone until it has stopped for 10 minutes: take replicas out of what it applies, or set "
            "tuning.replicas.mode to Off",
        )

    def forget_all_but(self, uids: Collection[str]) -> None:
        """Drop the memory of all AgentDeployments but these."""
        for uid in self._seen.keys() - set(uids):
            del self._seen[uid]


def shared(records: Iterable[Record]) -> dict[str, ConflictFacts]:
    """The AgentDeployments that yield, by uid: on one target the oldest stays."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.spec is not None and not record.deleting:
            groups.setdefault((record.namespace, record.target_name), []).append(record)
    yielding: dict[str, ConflictFacts] = {}
    for (namespace, target), group in groups.items():
        first, *others = sorted(group, key=lambda record: (record.created_at, record.uid))
        for record in others:
            yielding[record.uid] = ConflictFacts(
                Reason.TARGET_SHARED,
                f"AgentDeployment {namespace}/{first.name} came first and scales the same Deployment {target}: "
                "delete one of the two",
            )
    return yielding


def autoscaler_conflict(record: Record, autoscalers: Autoscalers) -> ConflictFacts | None:
    """Another autoscaler on the target, or on the AgentDeployment itself while that decides on its own."""
    deployment = ScaleTarget(record.namespace, "apps", "Deployment", record.target_name)
    if named := autoscalers.of(deployment):
        return ConflictFacts(
            Reason.FOREIGN_AUTOSCALER,
            f"{named} scales Deployment {record.namespace}/{record.target_name} as well; replicas are left alone: "
            "delete it, or point it at this AgentDeployment and set tuning.replicas.mode to Off",
        )
    itself = ScaleTarget(record.namespace, AGENT_DEPLOYMENTS.group, "AgentDeployment", record.name)
    if replicas_are_auto(record) and (named := autoscalers.of(itself)):
        return ConflictFacts(
            Reason.FOREIGN_AUTOSCALER,
            f"{named} scales this AgentDeployment while tuning.replicas.mode is Auto; replicas are left alone: "
            "delete it, or set tuning.replicas.mode to Off",
        )
    return None


def replicas_are_auto(record: Record) -> bool:
    """Whether the operator decides on the replicas; without a word it does."""
    tuning = record.spec.tuning if record.spec is not None else None
    replicas = tuning.replicas if tuning is not None else None
    mode = replicas.mode if replicas is not None else None
    return mode in {None, "Auto"}


def _scale_target(body: Mapping[str, Any]) -> tuple[ScaleTarget, str]:
    metadata = body["metadata"]
    reference = (body.get("spec") or {}).get("scaleTargetRef") or {}
    group = str(reference.get("apiVersion") or "apps/v1").rpartition("/")[0]
    target = ScaleTarget(
        metadata["namespace"], group, reference.get("kind") or "Deployment", str(reference.get("name", ""))
    )
    return target, metadata["name"]
