"""Every right that the chart gives is one that the operator asks for: without it, it names what is missing."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.permissions import LEASE_RULE, RULES, missing
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.helm import RELEASE, Helm, Json, kinds

AGENTS = "rbac-agents"
SYSTEM = "rbac-system"
EMPTY = "rbac-empty"
API = "rbac.authorization.k8s.io"
LEASE = (SYSTEM, RELEASE)
WHOLE = "whole"
OPTIONAL = {(rule.group, rule.resource) for rule in RULES if not rule.required}


class Right(NamedTuple):
    """One verb on one resource."""

    group: str
    resource: str
    verb: str

    @property
    def account(self) -> str:
        """The ServiceAccount that has every right but this one."""
        return f"no-{self.verb}-{self.resource}".replace("/", "-")


RIGHTS = [Right(rule.group, rule.resource, verb) for rule in (*RULES, LEASE_RULE) for verb in rule.verbs]


def without(role: Json, right: Right) -> Json:
    """The role, less one right."""
    less = copy.deepcopy(role)
    for rule in less["rules"]:
        if (rule["apiGroups"], rule["resources"]) == ([right.group], [right.resource]):
            rule["verbs"] = [verb for verb in rule["verbs"] if verb != right.verb]
    less["rules"] = [rule for rule in less["rules"] if rule["verbs"]]
    return less


def bound(roles: list[Json], account: str) -> Iterator[Json]:
    """A ServiceAccount with these roles."""
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": SYSTEM}}
    for role in roles:
        metadata = {"name": account, "namespace": role["metadata"]["namespace"]}
        yield role | {"metadata": metadata}
        yield {
            "apiVersion": f"{API}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": API, "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}],
        }


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    helm = Helm("helm", tmp_path_factory.mktemp("helm"))
    objects = helm.template({"namespaces": [AGENTS]}, namespace=SYSTEM)
    assert "ClusterRole" not in kinds(objects)
    return [each for each in objects if each["kind"] == "Role"]


@pytest.fixture(scope="module")
def accounts(cluster: ControlPlane, roles: list[Json]) -> ControlPlane:
    """A cluster with an operator's ServiceAccount for each right that is taken away, and one with all of them."""
    spaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in (AGENTS, SYSTEM, EMPTY)]
    cluster.apply(spaces)
    given = list(bound(roles, WHOLE))
    for right in RIGHTS:
        given += bound([without(role, right) for role in roles], right.account)
    cluster.apply(given)
    return cluster


async def told(
    cluster: ControlPlane, account: str, expected: int, namespaces: tuple[str, ...] = (AGENTS,)
) -> list[str]:
    """What the start-up check says, as soon as the API server knows of all roles."""
    api = KubeApi(load_configuration(str(cluster.user_kubeconfig(SYSTEM, account))))
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            said = await missing(api, namespaces, LEASE)
            if len(said) == expected or time.monotonic() > deadline:
                return said
    finally:
        api.close()


async def test_the_rights_of_the_chart_are_enough(accounts: ControlPlane, caplog: pytest.LogCaptureFixture) -> None:
    await told(accounts, WHOLE, 0)
    caplog.clear()  # of what was said before the API server knew of all roles
    assert await told(accounts, WHOLE, 0) == []
    assert "an optional permission is missing" not in caplog.messages


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: right.account)
async def test_a_right_that_is_taken_away_is_named(
    accounts: ControlPlane, right: Right, caplog: pytest.LogCaptureFixture
) -> None:
    optional = (right.group, right.resource) in OPTIONAL
    await told(accounts, right.account, 0 if optional else 1)
    caplog.clear()  # of what was said before the API server knew of its roles
    said = await told(accounts, right.account, 0 if optional else 1)
    if optional:
        assert said == []
        said = [str(vars(record)["mend"]) for record in caplog.records if record.levelno == logging.WARNING]
    where = SYSTEM if right.resource == LEASE_RULE.resource else AGENTS
    (sentence,) = set(said)
    assert f"namespace {where}" in sentence
    rule = f'apiGroups ["{right.group}"], resources ["{right.resource}"], verbs ["{right.verb}"]'
    assert rule in sentence


async def test_a_namespace_without_rights_is_named(accounts: ControlPlane) -> None:
    required = sum(len(rule.verbs) for rule in RULES if rule.required)
    said = await told(accounts, WHOLE, required, (AGENTS, EMPTY))
    assert len(said) == required
    assert all(f"namespace {EMPTY}" in sentence for sentence in said)


async def test_the_cluster_wide_role_is_enough_everywhere(accounts: ControlPlane, tmp_path: Path) -> None:
    objects = Helm("helm", tmp_path).template(namespace=SYSTEM)
    wanted = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    given = [each for each in objects if each["kind"] in wanted]
    accounts.apply(given)
    try:
        assert await told(accounts, RELEASE, 0, ()) == []
        assert await told(accounts, RELEASE, 0, (EMPTY,)) == []
    finally:
        accounts.kubectl(
            "delete", "clusterroles,clusterrolebindings", "--selector=app.kubernetes.io/part-of=agentscaler"
        )


def test_who_may_edit_deployments_may_edit_agents(accounts: ControlPlane, tmp_path: Path) -> None:
    objects = Helm("helm", tmp_path).template(namespace=SYSTEM)
    accounts.apply([each for each in objects if each["kind"] == "ClusterRole"])
    try:
        for role in ("view", "edit"):
            account = f"may-{role}"
            metadata = {"name": account, "namespace": AGENTS}
            accounts.apply(
                [
                    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
                    {
                        "apiVersion": f"{API}/v1",
                        "kind": "RoleBinding",
                        "metadata": metadata,
                        "roleRef": {"apiGroup": API, "kind": "ClusterRole", "name": role},
                        "subjects": [{"kind": "ServiceAccount", **metadata}],
                    },
                ]
            )

        def may(account: str, verb: str, resource: str = "agentdeployments.agentscaler.dev") -> bool:
            as_who = f"--as=system:serviceaccount:{AGENTS}:{account}"
            where = ("--namespace", AGENTS)
            asked = accounts.kubectl("auth", "can-i", verb, resource, as_who, *where, check=False)
            return asked.stdout.strip() == "yes"

        def allowed() -> bool:
            edits = [may("may-edit", verb) for verb in ("create", "patch", "delete", "get")]
            views = [may("may-view", verb) for verb in ("get", "list", "watch")]
            return all(edits + views)

        wait_until(allowed, PATIENCE_SECONDS, "the controller that aggregates roles")
        assert not may("may-view", "create")
    finally:
        accounts.kubectl("delete", "clusterroles", "--selector=app.kubernetes.io/part-of=agentscaler")
