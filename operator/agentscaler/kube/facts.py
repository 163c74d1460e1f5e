"""From an object as the API server shows it to the few facts that we use. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from agentscaler.kube.live import DEFAULT_GRACE_SECONDS, ConfigMapFacts, DeploymentFacts, Limits, PodFacts
from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from agentscaler.kube.store import unix_seconds
from agentscaler.kube.workload import (
    DELETION_COST,
    MANAGED_BY,
    NAME_LABEL,
    RESTARTED_AT,
    SETTINGS_FILE,
    SETTINGS_GENERATION,
    TEMPLATE_HASH,
    fingerprint,
)

Body = Mapping[str, Any]

_STUCK = {
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}
_LONGEST_PROBLEM = 200


def deployment_facts(body: Body) -> DeploymentFacts:
    """Facts of a Deployment. `owned` says only that some AgentDeployment of our label controls it."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    annotations = metadata.get("annotations") or {}
    template = spec.get("template") or {}
    pod_spec = template.get("spec") or {}
    containers = pod_spec.get("containers") or []
    controller = _controller(metadata)
    owned = bool(controller) and is_ours(metadata)
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    return DeploymentFacts(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        resource_version=metadata["resourceVersion"],
        generation=int(metadata.get("generation") or 0),
        observed_generation=int(status.get("observedGeneration") or 0),
        replicas=int(spec.get("replicas", 1)),
        status_replicas=int(status.get("replicas") or 0),
        updated=int(status.get("updatedReplicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        available=int(status.get("availableReplicas") or 0),
        controller=controller,
        owned=owned,
        applied_hash=annotations.get(TEMPLATE_HASH, ""),
        template_fingerprint=fingerprint(template),
        restarted_for=_integer(((template.get("metadata") or {}).get("annotations") or {}).get(SETTINGS_GENERATION)),
        restarted_at=_integer(annotations.get(RESTARTED_AT)),
        selector=selector_text(spec.get("selector") or {}),
        instance=labels.get(NAME_LABEL, ""),
        containers=tuple(container["name"] for container in containers),
        container_limits=MappingProxyType({container["name"]: limits(container) for container in containers}),
        mounts=frozenset(_mounts(pod_spec)),
        scale_writers=tuple(_scale_writers(metadata.get("managedFields") or ())),
        failure=_deployment_failure(status.get("conditions") or ()),
        grace_seconds=grace_seconds(pod_spec),
    )


def config_map_facts(body: Body) -> ConfigMapFacts:
    """Facts of a ConfigMap with settings."""
    metadata, data = body["metadata"], body.get("data") or {}
    tuning = data.get(SETTINGS_FILE)
    owners = metadata.get("ownerReferences") or ()
    owner: Body = next((owner for owner in owners if owner.get("controller")), next(iter(owners), {}))
    return ConfigMapFacts(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        ours=is_ours(metadata),
        tuning=tuning,
        generation=tuning_generation(tuning),
        data=MappingProxyType(dict(data)),
        owner=owner.get("uid", ""),
    )


def pod_facts(body: Body, current_hash: str | None = None) -> PodFacts:
    """Facts of a pod.

    Args:
        body: The pod.
        current_hash: `pod-template-hash` of the current ReplicaSet; None: there is only one.
    """
    metadata, status = body["metadata"], body.get("status") or {}
    annotations = metadata.get("annotations") or {}
    template_hash = (metadata.get("labels") or {}).get("pod-template-hash", "")
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    ready = conditions.get("Ready") or {}
    is_ready = ready.get("status") == "True"
    return PodFacts(
        uid=metadata["uid"],
        name=metadata["name"],
        created_at=unix_seconds(metadata.get("creationTimestamp")) or 0.0,
        ready_at=unix_seconds(ready.get("lastTransitionTime")) if is_ready else None,
        restarted=any(each.get("restartCount") for each in status.get("containerStatuses") or ()),
        ready=is_ready,
        terminating="deletionTimestamp" in metadata,
        current=current_hash is None or template_hash == current_hash,
        problem="" if is_ready else _pod_problem(conditions, status)[:_LONGEST_PROBLEM],
        deletion_cost=_integer(annotations.get(DELETION_COST)),
        template_hash=template_hash,
        killed_at=MappingProxyType(dict(_killed_at(status))),
    )


def is_ours(metadata: Body) -> bool:
    """Whether an object carries the label of all that we manage."""
    return MANAGED_BY.items() <= (metadata.get("labels") or {}).items()


def is_finished(pod: Body) -> bool:
    """Whether a pod has ended for good (evicted, for one): such pods are listed, and count for nothing."""
    return (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}


def tuning_generation(tuning: str | None) -> int | None:
    """The generation that a `tuning.json` states; None when it is missing or broken."""
    try:
        generation = json.loads(tuning or "")["generation"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return generation if type(generation) is int else None


def limits(container: Body) -> Limits:
    """Limits of a container."""
    stated = (container.get("resources") or {}).get("limits") or {}
    memory, cpu = _quantity(str(stated.get("memory", ""))), _quantity(str(stated.get("cpu", "")))
    return Limits(None if memory is None else int(memory), cpu)


def grace_seconds(pod_spec: Body) -> float:
    """What a pod that is told to go has to finish its runs. 0 is a value of its own: killed at once."""
    stated = _integer(pod_spec.get("terminationGracePeriodSeconds"))
    return DEFAULT_GRACE_SECONDS if stated is None else float(max(stated, 0))


def selector_text(selector: Body) -> str:
    """A label selector as the API takes it in a query: `app=a,tier in (x,y),!z`."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        forms = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        terms.append(forms[expression["operator"]])
    return ",".join(terms)


def _controller(metadata: Body) -> str:
    for owner in metadata.get("ownerReferences") or ():
        group = str(owner.get("apiVersion", "")).partition("/")[0]
        if owner.get("controller") and owner.get("kind") == "AgentDeployment" and group == AGENT_DEPLOYMENTS.group:
            return str(owner["uid"])
    return ""


def _mounts(pod_spec: Body) -> Iterator[tuple[str, str]]:
    config_maps: dict[str, set[str]] = {}
    for volume in pod_spec.get("volumes") or ():
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        config_maps[volume["name"]] = {
            source["configMap"]["name"] for source in sources if (source.get("configMap") or {}).get("name")
        }
    for container in pod_spec.get("containers") or ():
        for mount in container.get("volumeMounts") or ():
            for config_map in config_maps.get(mount["name"], ()):
                yield container["name"], config_map


def _scale_writers(managed_fields: Iterable[Body]) -> Iterator[str]:
    # Entries made through `/scale` carry no time, so that only the value tells of a new write.
    for entry in managed_fields:
        owned = ((entry.get("fieldsV1") or {}).get("f:spec") or {}).keys()
        if entry.get("subresource", "") in {"", "scale"} and "f:replicas" in owned:
            yield str(entry.get("manager", "unknown"))


def _deployment_failure(conditions: Iterable[Body]) -> str:
    for condition in conditions:
        kind, status, reason = condition.get("type"), condition.get("status"), condition.get("reason", "")
        failed = kind == "ReplicaFailure" and status == "True"
        if failed or (kind == "Progressing" and status == "False" and reason == "ProgressDeadlineExceeded"):
            return f"{reason}: {condition.get('message', '')}"[:_LONGEST_PROBLEM]
    return ""


def _pod_problem(conditions: Mapping[str, Body], status: Body) -> str:
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}"
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _STUCK:
                return f"{waiting['reason']}: {waiting.get('message') or container.get('name', '')}"
    return ""


def _killed_at(status: Body) -> Iterator[tuple[str, float]]:
    for container in status.get("containerStatuses") or ():
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            end = state.get("terminated") or {}
            ended_at = unix_seconds(end.get("finishedAt"))
            if end:
                if end.get("reason") == "OOMKilled" and ended_at is not None:
                    yield container.get("name", ""), ended_at
                break


def _integer(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


@lru_cache(maxsize=4096)
def _quantity(text: str) -> float | None:
    try:
        return float(parse_quantity(text)) if text else None  # type: ignore[no-untyped-call]  # theirs
    except ValueError:
        return None
