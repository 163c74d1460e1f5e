"""The RBAC rules that the operator needs, and whether it has them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import KubeError, missing_rule
from agentscaler.kube.paths import Access

logger = logging.getLogger(__name__)

_PACE_SECONDS: Final = 5.0
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
    denied = await _denied(api, _wanted(namespaces, lease))
    for rule, access in denied:
        if not rule.required:
            logger.warning(
                "an optional permission is missing", extra={"effect": rule.why, "mend": missing_rule(access)}
            )
    return _sentences(denied)


class Permissions:
    """What we may do, compared with what we need: at the start, and again whenever a request was denied.

    Attributes:
        lacking: The required permissions that are missing, a line each; empty when there are none.
    """

    def __init__(self, api: KubeApi, namespaces: Collection[str] = (), lease: tuple[str, str] | None = None) -> None:
        """Ask nothing yet.

        Args:
            api: The API server.
            namespaces: As for `missing`.
            lease: As for `missing`.
        """
        self._api = api
        self._namespaces = namespaces
        self._lease = lease
        self.lacking = ""

    async def check(self) -> str:
        """Find out what is missing.

        Returns:
            `lacking`. It stays as it was when nobody can tell.
        """
        try:
            self.lacking = "\n".join(await missing(self._api, self._namespaces, self._lease))
        except KubeError as error:
            logger.warning("permissions could not be checked", extra={"error": str(error)})
        return self.lacking

    async def run(self) -> None:
        """Follow what happens to them while the operator runs; changes are logged."""
        required = [(rule, access) for rule, access in _wanted(self._namespaces, self._lease) if rule.required]
        kinds = {access.kind for _, access in required}
        while True:
            await asyncio.sleep(_PACE_SECONDS)
            suspicious = any(access.kind in kinds for access in self._api.denied)
            self._api.denied.clear()
            if not suspicious and not self.lacking:
                continue
            before = self.lacking
            try:
                self.lacking = "\n".join(_sentences(await _denied(self._api, required)))
            except KubeError:
                continue  # nobody can tell now
            if self.lacking and self.lacking != before:
                logger.error("permissions are missing", extra={"mend": self.lacking})
            elif before and not self.lacking:
                logger.info("the permissions are complete again")


def _wanted(namespaces: Collection[str], lease: tuple[str, str] | None) -> list[tuple[Rule, Access]]:
    wanted = [
        (rule, Access(verb, rule.group, rule.resource, namespace))
        for namespace in namespaces or ("",)
        for rule in RULES
        for verb in rule.verbs
    ]
    if lease is not None:
        wanted += [(LEASE_RULE, _lease_access(verb, *lease)) for verb in LEASE_RULE.verbs]
    return wanted


def _sentences(denied: Sequence[tuple[Rule, Access]]) -> list[str]:
    return [f"may not {access}; {missing_rule(access)}" for rule, access in denied if rule.required]


async def _denied(api: KubeApi, wanted: Sequence[tuple[Rule, Access]]) -> list[tuple[Rule, Access]]:
    allowed = await asyncio.gather(*(_is_allowed(api, access) for _, access in wanted))
    return [asked for asked, is_allowed in zip(wanted, allowed, strict=True) if not is_allowed]


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
