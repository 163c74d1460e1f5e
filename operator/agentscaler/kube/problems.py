"""What is wrong with what is live, as conditions that say what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.kube.errors import Forbidden, KubeError
from agentscaler.kube.live import ConfigMapFacts, DeploymentFacts
from agentscaler.kube.store import Record
from agentscaler.kube.workload import settings_name


def unreadable(errors: Sequence[KubeError]) -> Condition:
    """The target cannot be read: nothing is known of it."""
    forbidden = any(isinstance(error, Forbidden) for error in errors)
    reason = Reason.FORBIDDEN if forbidden else Reason.TARGET_UNAVAILABLE
    return Condition(ConditionType.ABLE_TO_SCALE, None, reason, "; ".join(dict.fromkeys(map(str, errors))))


def blind(message: str) -> Condition:
    """Other autoscalers cannot be seen, so that nobody knows of a conflict."""
    return Condition(ConditionType.CONFLICT, None, Reason.FORBIDDEN, message)


def problems(
    record: Record, deployment: DeploymentFacts | None, config_map: ConfigMapFacts | None, container: str
) -> Iterator[Condition]:
    """Everything that a person has to mend at the target.

    Args:
        record: The AgentDeployment.
        deployment: Its target; None: there is none.
        config_map: Of the name of its settings; None: there is none.
        container: The container that counts.
    """
    if config_map is not None and not config_map.ours:
        yield Condition(
            ConditionType.DELIVERED,
            False,
            Reason.NAME_TAKEN,
            f"ConfigMap {settings_name(record)} is not ours: delete or rename it",
        )
    if deployment is None:
        if record.adopts:
            yield _not_able(
                Reason.TARGET_NOT_FOUND,
                f"Deployment {record.target_name} does not exist: create it, or correct scaleTargetRef.name",
            )
        return
    if not record.adopts and not deployment.owned:
        yield _not_able(
            Reason.NAME_TAKEN,
            f"Deployment {deployment.name} is not ours: rename one of the two, or adopt it by scaleTargetRef",
        )
    if container not in deployment.containers:
        yield _not_able(
            Reason.CONTAINER_NOT_FOUND,
            f"Deployment {deployment.name} has no container {container}, only {', '.join(deployment.containers)}: "
            "correct spec.container",
        )
    if deployment.failure:
        yield Condition(ConditionType.STALLED, True, Reason.PODS_NOT_COMING, deployment.failure)


def _not_able(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.ABLE_TO_SCALE, False, reason, message)
