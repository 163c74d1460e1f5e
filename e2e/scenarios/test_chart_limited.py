"""An operator for one namespace, beside others that it must not touch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from e2e.harness.administrator import is_true
from e2e.kind import operator, workload
from e2e.scenarios.release import PART_OF, alone, refused
from e2e.scenarios.steps import condition, wait_ready
from e2e.scenarios.targets import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from e2e.kind.cluster import KindCluster

SMALL = {"template": workload.agent_pod(), "tuning": {"replicas": {"min": 2, "max": 3}}}


@pytest.fixture(scope="module")
def bare(cluster: KindCluster) -> Iterator[KindCluster]:
    """A cluster that scenarios install on."""
    with alone(cluster):
        yield cluster


class Limited:
    """An operator for one namespace beside another one, asked for a token that nobody made."""

    RELEASE = "limited"

    def __init__(self, cluster: KindCluster, home: str, inside: str, outside: str) -> None:
        self.cluster = cluster
        self.home = home
        self.inside = inside
        self.outside = outside

    def pod(self) -> dict[str, Any]:
        (name,) = operator.operator_pods(self.cluster, self.home, self.RELEASE)
        return self.cluster.get(f"/api/v1/namespaces/{self.home}/pods/{name}")

    def readiness(self) -> requests.Response:
        return self.cluster.http(self.home, f"pods/{self.pod()['metadata']['name']}:8080", "readyz")

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        who = f"--as=system:serviceaccount:{self.home}:{self.RELEASE}-agentscaler"
        return (
            self.cluster.kubectl("auth", "can-i", verb, resource, f"-n={namespace}", who, check=False).returncode == 0
        )


@pytest.fixture(scope="module")
def limited(bare: KindCluster) -> Iterator[Limited]:
    with ExitStack() as stack:
        home, inside, outside = (stack.enter_context(bare.namespace(name)) for name in ("home", "inside", "outside"))
        for namespace in (inside, outside):
            agd = workload.agent_deployment("researcher", **SMALL)
            bare.apply(workload.in_namespace(namespace, agd))
        token = {"bearerToken": {"secret": "prometheus", "key": "token"}}
        over = {"namespaces": [inside], "crds": {"install": False}, "prometheus": {"main": token}}
        operator.install(bare, release=Limited.RELEASE, namespace=home, over=over, wait=False)
        yield Limited(bare, home, inside, outside)
        operator.uninstall(bare, release=Limited.RELEASE, namespace=home)


def test_a_missing_secret_leaves_the_operator_up_and_not_ready_until_it_comes(limited: Limited) -> None:
    cluster, home = limited.cluster, limited.home
    wait(lambda: cluster.pods(home, PART_OF), "the operator's pod")
    wait(lambda: limited.pod()["status"]["phase"] == "Running", "it runs")

    def refuses() -> bool:
        answer = limited.readiness()  # 503 is also what the API server says of a pod that does not listen yet
        return answer.status_code == 503 and "token" in answer.text

    def said() -> dict[str, Any]:
        found = condition(cluster, limited.inside, "researcher", "MetricsAvailable")
        return found if (found.get("status"), found.get("reason")) == ("False", "ServerNotConfigured") else {}

    def log() -> str:
        return cluster.kubectl("logs", f"--namespace={home}", limited.pod()["metadata"]["name"]).stdout

    wait(refuses, "it says that it is not ready for want of the token")
    assert "token" in wait(said, "a condition")["message"]
    wait(lambda: "token" in log(), "a word in its log")
    assert not is_true(limited.pod(), "Ready")
    uid = limited.pod()["metadata"]["uid"]

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "prometheus"}, "stringData": {"token": "any"}}
    cluster.apply(workload.in_namespace(home, secret))
    # A change of the pod makes the kubelet look at its volumes at once, not in a minute.
    cluster.kubectl("annotate", "pod", f"--namespace={home}", limited.pod()["metadata"]["name"], "look=now")
    wait(lambda: is_true(limited.pod(), "Ready"), "the operator ready")
    assert limited.pod()["metadata"]["uid"] == uid
    assert [each["restartCount"] for each in limited.pod()["status"]["containerStatuses"]] == [0]


def test_an_operator_for_one_namespace_touches_nothing_outside(limited: Limited) -> None:
    cluster, outside = limited.cluster, limited.outside
    wait_ready(cluster, limited.inside, "researcher", 2)
    other = cluster.agent_deployment(outside, "researcher")
    assert "status" not in other
    assert {entry["manager"] for entry in other["metadata"]["managedFields"]} == {"kubectl-client-side-apply"}
    kinds = "deployments,replicasets,pods,configmaps,roles,rolebindings,leases"
    found = cluster.kubectl("get", kinds, f"--namespace={outside}", "--output=name").stdout.split()
    assert found == ["configmap/kube-root-ca.crt"]
    for kind in ("clusterroles", "clusterrolebindings"):
        assert cluster.kubectl("get", kind, f"--selector={PART_OF}", "--output=name").stdout == ""
    assert limited.may("patch", "deployments/scale", limited.inside)
    for verb, resource in (("list", "pods"), ("list", "agentdeployments"), ("create", "configmaps")):
        assert not limited.may(verb, resource, outside)
    assert not limited.may("get", "secrets", limited.inside)


def test_a_second_release_and_a_person_without_rights_are_refused(limited: Limited) -> None:
    cluster, home = limited.cluster, limited.home
    values = {"namespaces": [limited.inside], "crds": {"install": False}}
    install = ("install", "second", operator.CHART, "--namespace", limited.outside)
    said = refused(cluster, *install, values=values)
    assert "agentscaler-operator" in said
    assert limited.inside in said

    nobody = cluster.user_kubeconfig(home, "default")
    said = refused(cluster, "--kubeconfig", nobody, *install, values={"namespaces": [limited.outside]})
    assert "forbidden" in said
    found = cluster.kubectl("get", "deployments,roles,configmaps", f"--namespace={limited.outside}", "--output=name")
    assert found.stdout.split() == ["configmap/kube-root-ca.crt"]
