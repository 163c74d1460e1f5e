"""The objects that we make, as plain dicts: the Deployment of a template, and the ConfigMap with the settings.

Pure. What is hashed is the user's part alone (template, container, restarts): a new operator version that injects
something else reaches a workload only together with its next change by the user, and so rolls nothing by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from agentscaler.kube.store import Record

MANAGER: Final = "agentscaler"
"""Field manager of templates and settings."""
SCALE_MANAGER: Final = "agentscaler-scale"
"""Field manager of replicas: a template applied without them must not take them away."""
STATUS_MANAGER: Final = "agentscaler-status"

MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "agentscaler"}
NAME_LABEL: Final = "agentscaler.dev/name"
TEMPLATE_HASH: Final = "agentscaler.dev/template-hash"
SETTINGS_GENERATION: Final = "agentscaler.dev/settings-generation"
RESTARTED_AT: Final = "agentscaler.dev/restarted-at"
TOUCHED: Final = "agentscaler.dev/touched"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

SETTINGS_FILE: Final = "tuning.json"
SETTINGS_PATH: Final = "/etc/agentscaler"
SETTINGS_VOLUME: Final = "agentscaler-settings"

Body = dict[str, Any]


def fingerprint(value: object) -> str:
    """16 hex digits that stand for a JSON value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def template_hash(record: Record, restart_generation: int | None) -> str:
    """Stands for everything of a Deployment that is the user's, replicas excepted.

    Args:
        record: An AgentDeployment with a template.
        restart_generation: Settings generation that the pods were last restarted for; None with Hot delivery.
    """
    return fingerprint([record.spec_raw.get("template"), record.spec_raw.get("container"), restart_generation])


def settings_name(record: Record) -> str:
    """Name of the ConfigMap with the settings."""
    return f"{record.name}-settings"


def owner_of(record: Record) -> Body:
    """The reference that makes the AgentDeployment the controller of what it owns."""
    return {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "name": record.name,
        "uid": record.uid,
        "controller": True,
    }


def adopted_owner(name: str, uid: str) -> Body:
    """The reference that ties the settings of an adopted Deployment to it: they live as long as it does."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid}


def deployment(
    record: Record,
    *,
    replicas: int | None = None,
    restart_generation: int | None = None,
    restarted_at: int | None = None,
) -> Body:
    """The Deployment of a template.

    Args:
        record: An AgentDeployment with a template.
        replicas: Its first size; None for every later apply, which leaves the size to `/scale`.
        restart_generation: Settings generation that pods are (re)started for, with Restart delivery.
        restarted_at: Unix seconds of the last such restart.
    """
    annotations = {TEMPLATE_HASH: template_hash(record, restart_generation)}
    if restarted_at is not None:
        annotations[RESTARTED_AT] = str(restarted_at)
    spec: Body = {
        "selector": {"matchLabels": {NAME_LABEL: record.name}},
        "template": _template(record, restart_generation),
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": record.name,
            "namespace": record.namespace,
            "labels": {**MANAGED_BY, NAME_LABEL: record.name},
            "annotations": annotations,
            "ownerReferences": [owner_of(record)],
        },
        "spec": spec,
    }


def config_map(record: Record, owner: Body, data: Mapping[str, str]) -> Body:
    """The ConfigMap with the settings.

    Args:
        record: The AgentDeployment.
        owner: From `owner_of` or `adopted_owner`.
        data: Its files by name.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": settings_name(record),
            "namespace": record.namespace,
            "labels": {**MANAGED_BY, NAME_LABEL: record.name},
            "ownerReferences": [owner],
        },
        "data": dict(data),
    }


def mount_advice(record: Record, container: str) -> str:
    """What the owner of an adopted Deployment has to add to its template, as YAML in one line."""
    return (
        f"add to the pod template's spec: volumes: [{{name: {SETTINGS_VOLUME}, "
        f"configMap: {{name: {settings_name(record)}, optional: true}}}}] and to container {container}: "
        f"volumeMounts: [{{name: {SETTINGS_VOLUME}, mountPath: {SETTINGS_PATH}}}]"
    )


def _template(record: Record, restart_generation: int | None) -> Body:
    """The user's template with our label, the settings volume and its mount."""
    template: Body = deepcopy(dict(record.spec_raw["template"]))
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: record.name}
    if restart_generation is not None:
        generation = {SETTINGS_GENERATION: str(restart_generation)}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **generation}
    containers = template["spec"]["containers"]
    wanted = record.spec_raw.get("container") or containers[0]["name"]
    for container in containers:
        if container["name"] == wanted:
            _mount(template["spec"], container, settings_name(record))
    return template


def _mount(pod: Body, container: Body, name: str) -> None:
    """Mount the settings, unless the user's template has something at that path already."""
    mounts = list(container.get("volumeMounts") or ())
    if any(str(mount.get("mountPath", "")).rstrip("/") == SETTINGS_PATH for mount in mounts):
        return
    container["volumeMounts"] = [*mounts, {"name": SETTINGS_VOLUME, "mountPath": SETTINGS_PATH}]
    volumes: list[Mapping[str, Any]] = list(pod.get("volumes") or ())
    if not any(volume.get("name") == SETTINGS_VOLUME for volume in volumes):
        pod["volumes"] = [*volumes, {"name": SETTINGS_VOLUME, "configMap": {"name": name, "optional": True}}]
