"""The RBAC rules that the operator needs, and whether it has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import KubeError, missing_rule
from agentscaler.kube.paths import Access

logger = logging.getLogger(__name__)

_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done with one resource."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    required: bool = True
    """Without it nothing works; else only what `why` says is missing."""
    why: str = ""


RULES: Final = (
    Rule("agentscaler.dev", "agentdeployments", ("list", "watch")),
    Rule("agentscaler.dev", "agentdeployments/status", ("patch",)),
    Rule("apps", "deployments", ("get", "list", "create", "patch")),
    Rule("apps", "deployments/scale", ("get", "patch")),
    Rule("apps", "replicasets", ("list",)),
    Rule("", "configmaps", ("get", "list", "create", "patch")),
    Rule("", "pods", ("list", "patch")),
    Rule("events.k8s.io", "events", ("create",), required=False, why="nothing is told by events"),
    Rule("autoscaling", "horizontalpodautoscalers", ("list",), required=False, why="HPAs on a target are not seen"),
    Rule("keda.sh", "scaledobjects", ("list",), required=False, why="ScaledObjects on a target are not seen"),
)

LEASE_RULE: Final = Rule("coordination.k8s.io", "leases", ("get", "create", "update"))
"""Needed for leader election only, and in the namespace of the Lease only. `get` and `update` may be limited to its
name; `create` cannot be."""


async def missing(api: KubeApi, namespaces: Collection[str] = (), lease: tuple[str, str] | None = None) -> list[str]:
    """What RBAC lacks for the operator to work, a sentence each; what it could do without is logged.

    Args:
        api: The API server.
        namespaces: Where the operator works; empty: everywhere.
        lease: Namespace and name of the Lease of leader election; None: there is none.

    Raises:
        KubeError: The API server does not answer.
    """
    wanted = [
        (rule, Access(verb, rule.group, rule.resource, namespace))
        for namespace in namespaces or ("",)
        for rule in RULES
        for verb in rule.verbs
    ]
    if lease is not None:
        wanted += [(LEASE_RULE, _lease_access(verb, *lease)) for verb in LEASE_RULE.verbs]
    allowed = await asyncio.gather(*(_is_allowed(api, access) for _, access in wanted))
    denied = [(rule, access) for (rule, access), is_allowed in zip(wanted, allowed, strict=True) if not is_allowed]
    for rule, access in denied:
        if not rule.required:
            logger.warning(
                "an optional permission is missing", extra={"effect": rule.why, "mend": missing_rule(access)}
            )
    return [f"may not {access}; {missing_rule(access)}" for rule, access in denied if rule.required]


def _lease_access(verb: str, namespace: str, name: str) -> Access:
    return Access(verb, LEASE_RULE.group, LEASE_RULE.resource, namespace, "" if verb == "create" else name)


async def _is_allowed(api: KubeApi, access: Access) -> bool:
    resource, _, subresource = access.resource.partition("/")
    attributes = {
        "namespace": access.namespace,
        "verb": access.verb,
        "group": access.group,
        "resource": resource,
        "subresource": subresource,
        "name": access.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.ask(_REVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))


async def require(api: KubeApi, namespaces: Collection[str] = (), lease: tuple[str, str] | None = None) -> str:
    """All missing required permissions in one text; empty when there are none, or when nobody can tell.

    Args:
        api: The API server.
        namespaces: Where the operator works; empty: everywhere.
        lease: As for `missing`.
    """
    try:
        return "\n".join(await missing(api, namespaces, lease))
    except KubeError as error:
        logger.warning("permissions could not be checked", extra={"error": str(error)})
        return ""
