"""Reads the pods of Deployments that are changing: a LIST each for a few, one LIST for many."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import KubeError
from agentscaler.kube.facts import is_finished, pod_facts
from agentscaler.kube.live import DeploymentFacts, PodFacts
from agentscaler.kube.paths import PODS, REPLICA_SETS
from agentscaler.kube.workload import NAME_LABEL, fingerprint

_FEW = 3
_HASH = "pod-template-hash"
_Key = tuple[str, str]
_Scope = tuple[str, str]
"""Namespace (empty: all) and label selector of one LIST."""


class Pods:
    """Pods by Deployment."""

    def __init__(self, api: KubeApi, *, clusterwide: bool) -> None:
        self._api = api
        self._clusterwide = clusterwide

    async def of(self, deployments: Sequence[DeploymentFacts]) -> dict[str, tuple[PodFacts, ...]]:
        """The pods of each Deployment, oldest first, by its uid. One whose pods cannot be read is missing.

        Args:
            deployments: Those whose pods are wanted now.
        """
        scopes = self._scopes(deployments)
        rolling = {scope for d, scope in scopes if d.rolling_out}
        pods, replica_sets = await asyncio.gather(
            self._read(PODS.path, {scope for _, scope in scopes}, pod_of),
            self._read(REPLICA_SETS.path, rolling, _replica_set),
        )
        result: dict[str, tuple[PodFacts, ...]] = {}
        for deployment, scope in scopes:
            key = (deployment.namespace, deployment.name)
            if scope not in pods or (deployment.rolling_out and scope not in replica_sets):
                continue
            found: list[PodFacts] = sorted(pods[scope].get(key, ()), key=lambda pod: (pod.created_at, pod.name))
            if deployment.rolling_out:
                known = dict(replica_sets[scope].get(key, ()))
                current = known.get((deployment.uid, deployment.template_fingerprint))
                found = [replace(pod, current=pod.template_hash == current) for pod in found]
            result[deployment.uid] = tuple(found)
        return result

    def _scopes(self, deployments: Sequence[DeploymentFacts]) -> list[tuple[DeploymentFacts, _Scope]]:
        """Which LIST serves which Deployment."""
        places = [d.namespace for d in deployments if d.owned and d.instance]
        everywhere = self._clusterwide and len(set(places)) > _FEW
        return [
            (d, ("" if everywhere else d.namespace, NAME_LABEL))
            if len(places) > _FEW and d.owned and d.instance
            else (d, (d.namespace, d.selector))
            for d in deployments
        ]

    async def _read(self, path: Any, scopes: Collection[_Scope], keep: Any) -> dict[_Scope, dict[_Key, list[Any]]]:
        async def read(namespace: str, selector: str) -> dict[_Key, list[Any]] | None:
            by_deployment: defaultdict[_Key, list[Any]] = defaultdict(list)
            try:
                for key, value in await self._api.list(path(namespace), label_selector=selector, keep=keep):
                    by_deployment[key].append(value)
            except KubeError:
                return None
            return by_deployment

        ordered = sorted(scopes)
        answers = await asyncio.gather(*(read(*scope) for scope in ordered))
        return {scope: answer for scope, answer in zip(ordered, answers, strict=True) if answer is not None}


def pod_of(body: Mapping[str, Any]) -> tuple[tuple[str, str], PodFacts] | None:
    """A pod under namespace and name of the Deployment that it is of: selectors may overlap, owners do not.

    None for one that has ended for good, or is of no Deployment.
    """
    metadata = body["metadata"]
    owner = _controller(metadata)
    suffix = f"-{(metadata.get('labels') or {}).get(_HASH, '')}"
    if is_finished(body) or owner.get("kind") != "ReplicaSet" or not owner["name"].endswith(suffix):
        return None
    return (metadata["namespace"], owner["name"].removesuffix(suffix)), pod_facts(body)


def _replica_set(body: Mapping[str, Any]) -> tuple[_Key, tuple[tuple[str, str], str]] | None:
    """Deployment, and which hash stands for its uid and a template: the current one is the Deployment's own template.

    The Deployment's revision would name the wrong ReplicaSet until the controller has seen a new template.
    """
    metadata = body["metadata"]
    owner = _controller(metadata)
    if owner.get("kind") != "Deployment":
        return None
    template = body["spec"]["template"]
    labels = dict(template["metadata"].get("labels") or {})
    template_hash = str(labels.pop(_HASH, ""))
    original = {**template, "metadata": {**template["metadata"], "labels": labels}}
    return (metadata["namespace"], owner["name"]), ((owner["uid"], fingerprint(original)), template_hash)


def _controller(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")), {})
