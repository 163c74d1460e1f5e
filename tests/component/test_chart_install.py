"""The chart on a real API server, by both versions of Helm: it comes, changes, goes back and goes; or nothing is."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import yaml

from agentscaler.api import crd
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, DEPLOYMENTS, PODS
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.chart_world import CRD, agent, config, knows_paused, made_in, older, restarts
from tests.component.helm import CHART, RELEASE, VERSIONS, Helm, HelmError
from tests.component.operator_process import running

WAIT = ("--wait", "--timeout", "300s")
_numbers = itertools.count(1)


@pytest.fixture(params=VERSIONS)
def helm(request: pytest.FixtureRequest, bare: ControlPlane, tmp_path: Path) -> Helm:
    return Helm(request.param, tmp_path, bare.kubeconfig)


@pytest.fixture
def helm4(bare: ControlPlane, tmp_path: Path) -> Helm:
    """For what the chart's own templates refuse, and what Helm has no part in."""
    return Helm("helm", tmp_path, bare.kubeconfig)


@pytest.fixture
def space(bare: ControlPlane) -> Callable[[], str]:
    """Makes namespaces that take pods of the standard `restricted` only."""

    def make() -> str:
        name = f"space-{next(_numbers)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        bare.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until(lambda: bare.request("GET", account).ok, PATIENCE_SECONDS, "the default ServiceAccount")
        return name

    return make


def test_it_comes_changes_goes_back_and_goes(helm: Helm, bare: ControlPlane, space: Callable[[], str]) -> None:
    namespace, at = space(), ("--namespace",)
    said = helm.install(*WAIT, namespace=namespace)
    assert f"helm test {RELEASE}" in said
    assert "No Prometheus server" not in said
    assert bare.get(DEPLOYMENTS.path(namespace, RELEASE))["status"]["readyReplicas"] == 1
    bare.apply(agent(namespace))
    before = bare.get(AGENT_DEPLOYMENTS.path(namespace, "researcher"))["metadata"]

    upgrade = ("upgrade", RELEASE, str(CHART), *at, namespace, *WAIT)
    helm(*upgrade, "--reuse-values", "--set", "podMonitor.enabled=false")
    assert restarts(bare, namespace) == 0
    said = helm(*upgrade, values={"settings": {"tickSeconds": 2}})
    assert "No Prometheus server is configured" in said
    assert "tickSeconds: 2" in config(bare, namespace)
    assert restarts(bare, namespace) == 1
    helm("rollback", RELEASE, "1", *at, namespace, *WAIT)
    assert "tickSeconds: 5" in config(bare, namespace)
    assert "http://prometheus:9090" in config(bare, namespace)
    assert restarts(bare, namespace) == 2

    helm("uninstall", RELEASE, *at, namespace, *WAIT)
    wait_until(lambda: made_in(bare, namespace) == [], PATIENCE_SECONDS, "the end of the release")
    assert bare.get(AGENT_DEPLOYMENTS.path(namespace, "researcher"))["metadata"] == before
    helm.install(*WAIT, namespace=namespace)
    assert bare.get(AGENT_DEPLOYMENTS.path(namespace, "researcher"))["metadata"] == before
    helm("uninstall", RELEASE, *at, namespace)


def test_several_replicas_and_every_volume_come_up(helm4: Helm, bare: ControlPlane, space: Callable[[], str]) -> None:
    namespace = space()
    secret = {"secret": "absent", "key": "token"}
    server = {"url": "https://prometheus", "bearerToken": secret, "secretHeaders": {"X-Api-Key": secret}}
    values = {
        "replicas": 2,
        "prometheus": {"main": server},
        "dashboard": {"enabled": True},
        "networkPolicy": {"enabled": True},
    }
    helm4.install(*WAIT, namespace=namespace, values=values)
    assert bare.get(DEPLOYMENTS.path(namespace, RELEASE))["status"]["readyReplicas"] == 2
    budget = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{RELEASE}"
    wait_until(lambda: bare.get(budget)["status"].get("disruptionsAllowed") == 1, PATIENCE_SECONDS, "the budget")
    assert bare.request("GET", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{RELEASE}").ok


def test_helm_test_asks_the_operator(helm4: Helm, bare: ControlPlane, space: Callable[[], str]) -> None:
    namespace = space()
    helm4.install(*WAIT, namespace=namespace)
    path = PODS.path(namespace, f"{RELEASE}-test")

    def runs() -> bool:
        """Whether the pod of the test runs: it is not that of the test before, and kwok writes its status no more."""
        answer = bare.request("GET", path)
        return answer.ok and answer.json()["status"]["phase"] == "Running"

    def end(phase: str) -> None:
        """What a kubelet would do; kwok ends no pods but those of Jobs."""
        wait_until(runs, PATIENCE_SECONDS, "the pod of the test")
        body = {"status": {"phase": phase}}
        bare.request("PATCH", f"{path}/status", body, "application/merge-patch+json").raise_for_status()

    with ThreadPoolExecutor(1) as thread:
        ask = partial(helm4, "test", RELEASE, "--namespace", namespace, "--timeout", "300s")
        asking = thread.submit(ask)
        end("Succeeded")
        assert "Succeeded" in asking.result()
        asking = thread.submit(ask)
        end("Failed")
        with pytest.raises(HelmError, match="failed"):
            asking.result()


def test_a_crd_that_was_kept_is_taken_over_by_another_release_on_demand_only(
    helm: Helm, bare: ControlPlane, space: Callable[[], str]
) -> None:
    first, second = space(), space()
    helm.install(namespace=first)
    helm("uninstall", RELEASE, "--namespace", first)
    with pytest.raises(HelmError) as refused:
        helm.install(namespace=second, release="second")
    for words in ("CustomResourceDefinition", crd.NAME, "ownership", RELEASE):
        assert words in str(refused.value)
    assert made_in(bare, second) == []
    helm.install("--take-ownership", namespace=second, release="second")
    assert bare.get(CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"] == "second"


def test_a_second_operator_of_the_same_scope_is_refused(
    helm4: Helm, bare: ControlPlane, space: Callable[[], str]
) -> None:
    first, second, agents, others = space(), space(), space(), space()
    helm4.install(namespace=first)
    with pytest.raises(HelmError) as refused:
        helm4.install(namespace=second, release="second", values={"crds": {"install": False}})
    for words in ("ClusterRole", "agentscaler-operator", "ownership"):
        assert words in str(refused.value)
    assert made_in(bare, second) == []
    helm4("uninstall", RELEASE, "--namespace", first)

    helm4.install(namespace=first, values={"namespaces": [agents]})
    install = partial(helm4.install, namespace=second, release="second")
    with pytest.raises(HelmError) as refused:
        install(values={"namespaces": [others, agents], "crds": {"install": False}})
    for words in ("Role", "agentscaler-operator", agents, "ownership"):
        assert words in str(refused.value)
    assert made_in(bare, second) + made_in(bare, others) == []
    install(values={"namespaces": [others], "crds": {"install": False}})


def test_a_crd_of_an_older_version_is_named_and_upgraded_on_demand(
    helm: Helm, bare: ControlPlane, space: Callable[[], str]
) -> None:
    namespace = space()
    bare.apply(json.dumps(older()))  # by kubectl, as a person does it: Helm asks whose fields they are
    with pytest.raises(HelmError) as refused:
        helm.install(namespace=namespace)
    for words in ("CustomResourceDefinition", crd.NAME, "app.kubernetes.io/managed-by"):
        assert words in str(refused.value)
    assert made_in(bare, namespace) == []
    assert not knows_paused(bare)
    # Helm 4 applies as kubectl does, and so asks once more before it takes fields from kubectl.
    force = ("--force-conflicts",) if helm.version == "helm" else ()
    helm.install("--take-ownership", *force, namespace=namespace)
    assert knows_paused(bare)


def test_an_upgrade_upgrades_the_crd_and_leaves_the_objects(
    helm: Helm, bare: ControlPlane, space: Callable[[], str], tmp_path: Path
) -> None:
    namespace, old = space(), tmp_path / "old"
    shutil.copytree(CHART, old)
    (old / "files" / "crd.yaml").write_text(yaml.safe_dump(older()))
    helm("install", RELEASE, str(old), "--namespace", namespace, *WAIT)
    assert not knows_paused(bare)
    bare.apply(agent(namespace))
    before = bare.get(AGENT_DEPLOYMENTS.path(namespace, "researcher"))["metadata"]
    helm("upgrade", RELEASE, str(CHART), "--namespace", namespace, *WAIT)
    assert knows_paused(bare)
    helm("rollback", RELEASE, "1", "--namespace", namespace, *WAIT)
    assert not knows_paused(bare)
    assert bare.get(AGENT_DEPLOYMENTS.path(namespace, "researcher"))["metadata"] == before


def test_what_does_not_come_up_is_taken_back_on_demand(
    helm: Helm, bare: ControlPlane, space: Callable[[], str]
) -> None:
    namespace = space()
    flag = "--rollback-on-failure" if helm.version == "helm" else "--atomic"
    with pytest.raises(HelmError):
        helm.install(flag, "--timeout", "3s", namespace=namespace, values={"nodeSelector": {"no": "such"}})
    wait_until(lambda: made_in(bare, namespace) == [], PATIENCE_SECONDS, "the end of the release")


def test_an_operator_on_a_crd_of_an_older_version_names_what_it_lacks(bare: ControlPlane, tmp_path: Path) -> None:
    def published(*, paused: bool) -> bool:
        """Whether OpenAPI, which follows a CRD after a while, tells of the new one and not of the one before."""
        if not bare.request("GET", AGENT_DEPLOYMENTS.path("default")).ok:
            return False
        answer = bare.request("GET", "/openapi/v3/apis/agentscaler.dev/v1alpha1")
        return answer.ok and ('"paused"' in answer.text) is paused

    bare.apply(older())
    wait_until(lambda: published(paused=False), PATIENCE_SECONDS, "the older CRD in OpenAPI")
    with running(tmp_path, bare.kubeconfig) as operator:
        assert operator.exit_code() == 1
        error = operator.said("cannot start")["error"]
    assert "lacks spec.paused, status.settings.cache." in error
    assert "helm upgrade" in error
    bare.apply(crd.render())
    wait_until(lambda: published(paused=True), PATIENCE_SECONDS, "the CRD of now in OpenAPI")
    with running(tmp_path, bare.kubeconfig) as operator:
        wait_until(lambda: operator.get("/livez").ok, PATIENCE_SECONDS, "the operator")
        operator.said("synced")
        wait_until(lambda: operator.metric("agentscaler_tick_duration_seconds_count") > 0, PATIENCE_SECONDS, "a tick")


def test_a_namespace_that_is_not_there_is_named_before_anything_is_made(
    helm4: Helm, bare: ControlPlane, space: Callable[[], str]
) -> None:
    namespace, agents = space(), space()
    with pytest.raises(HelmError, match="there is no namespace nowhere: create it, or take it out of the list"):
        helm4.install(namespace=namespace, values={"namespaces": [agents, "nowhere"]})
    assert made_in(bare, namespace) + made_in(bare, agents) == []
    assert bare.request("GET", CRD).status_code == 404


def test_who_has_no_rights_in_a_namespace_installs_nothing_there(
    helm4: Helm, bare: ControlPlane, space: Callable[[], str], tmp_path: Path
) -> None:
    namespace, foreign = space(), space()
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "installer", "namespace": namespace},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "admin"},
        "subjects": [subject],
    }
    bare.apply(binding)
    may = ("auth", "can-i", "create", "secrets", "--namespace", namespace)
    who = f"--as=system:serviceaccount:{namespace}:default"
    wait_until(
        lambda: bare.kubectl(*may, who, check=False).returncode == 0,
        PATIENCE_SECONDS,
        "the rights in its own namespace",
    )
    before = made_in(bare, namespace)
    limited = Helm(helm4.version, tmp_path, bare.user_kubeconfig(namespace, "default"))
    with pytest.raises(HelmError) as refused:
        limited.install(namespace=namespace, values={"namespaces": [namespace, foreign], "crds": {"install": False}})
    for words in (foreign, "forbidden"):
        assert words in str(refused.value)
    assert made_in(bare, namespace) == before
    assert made_in(bare, foreign) == []


def test_monitors_without_the_prometheus_operator_are_refused_before_anything_is_made(
    helm4: Helm, bare: ControlPlane, space: Callable[[], str]
) -> None:
    namespace = space()
    with pytest.raises(HelmError, match='no matches for kind "PodMonitor"'):
        helm4.install(namespace=namespace, values={"podMonitor": {"enabled": True}})
    assert made_in(bare, namespace) == []
    assert bare.request("GET", CRD).status_code == 404
