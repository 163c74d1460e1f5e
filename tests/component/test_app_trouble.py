"""The operator as a process while rights, credentials or its own sanity are taken away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentscaler.kube.paths import AGENT_DEPLOYMENTS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until
from tests.component.operator_process import (
    SLOW_SECONDS,
    Running,
    agent,
    allow,
    as_rbac,
    exists,
    running,
    until_in_force,
)

MERGE = "application/merge-patch+json"
SECRET = "s3cret"
FAULTY_INTERVAL_SECONDS = 7
FAULTY = f"""
from agentscaler.core import decide

def break_down(situation, draft):
    if situation.policy.interval_seconds == {FAULTY_INTERVAL_SECONDS}:
        raise ZeroDivisionError("a bug")
    return draft

decide.RULES = (*decide.RULES, break_down)
from agentscaler.cli import app
app()
"""
"""A rule with a bug that shows with one policy."""
FORGETFUL = f"""
from agentscaler import objects

recalled = objects.recalled

def break_down(watched, *rest):
    if watched.policy.interval_seconds == {FAULTY_INTERVAL_SECONDS}:
        raise ZeroDivisionError("a bug")
    return recalled(watched, *rest)

objects.recalled = break_down
from agentscaler.cli import app
app()
"""
"""The same where an object is seen for the first time."""


def condition(cluster: ControlPlane, namespace: str, name: str, kind: str) -> dict[str, Any]:
    status = cluster.get(AGENT_DEPLOYMENTS.path(namespace, name)).get("status", {})
    found = [each for each in status.get("conditions", []) if each["type"] == kind]
    return found[0] if found else {"status": "", "reason": "", "message": ""}


def edit(cluster: ControlPlane, namespace: str, name: str, **spec: Any) -> None:
    path = AGENT_DEPLOYMENTS.path(namespace, name)
    cluster.request("PATCH", path, {"spec": spec}, MERGE).raise_for_status()


def until_condition(cluster: ControlPlane, namespace: str, name: str, kind: str, reason: str) -> dict[str, Any]:
    def seen() -> dict[str, Any] | None:
        found = condition(cluster, namespace, name, kind)
        return found if found["reason"] == reason else None

    return wait_until(seen, SLOW_SECONDS, f"{kind} with reason {reason}")


def until_size(cluster: ControlPlane, namespace: str, name: str, size: int) -> None:
    path = DEPLOYMENTS.path(namespace, name)
    wait_until(
        lambda: exists(cluster, path) and cluster.get(path)["spec"]["replicas"] == size, SLOW_SECONDS, f"{size} pods"
    )


def until_ready(operator: Running) -> None:
    wait_until(lambda: operator.get("/readyz").ok, SLOW_SECONDS, "readiness")


def until_unready(operator: Running, mend: str) -> None:
    """Wait until it says what to set; before that it may tell that its watch has not begun yet."""

    def told() -> bool:
        answer = operator.get("/readyz")
        return answer.status_code == 503 and mend in answer.text

    wait_until(told, SLOW_SECONDS, f"{mend!r} in /readyz")


def grant(cluster: ControlPlane, namespace: str, rules: list[dict[str, Any]]) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/operator"
    cluster.request("PUT", path, {**cluster.get(path), "rules": rules}).raise_for_status()
    until_in_force(cluster, namespace, rules)


def test_a_bug_in_a_decision_stalls_its_object_only_and_is_over_when_it_no_longer_shows(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, program=FAULTY) as operator:
        for name in ("unlucky", "other"):
            cluster.apply(agent(namespace, name))
            until_size(cluster, namespace, name, 1)
        edit(cluster, namespace, "unlucky", replicas=3, tuning={"intervalSeconds": FAULTY_INTERVAL_SECONDS})
        stalled = until_condition(cluster, namespace, "unlucky", "Stalled", "InternalError")
        assert stalled["status"] == "True"
        assert "please report the line 'object failed'" in stalled["message"]
        assert condition(cluster, namespace, "unlucky", "Ready")["status"] == "False"
        line = operator.said("object failed")
        assert (line["object"], line["namespace"]) == ("unlucky", namespace)
        assert "ZeroDivisionError" in line["exception"]
        assert operator.metric("agentscaler_object_failures_total") >= 1

        edit(cluster, namespace, "other", replicas=2)
        until_size(cluster, namespace, "other", 2)
        assert condition(cluster, namespace, "other", "Stalled")["status"] == "False"
        assert cluster.get(DEPLOYMENTS.path(namespace, "unlucky"))["spec"]["replicas"] == 1
        assert operator.get("/readyz").ok

        edit(cluster, namespace, "unlucky", tuning={"intervalSeconds": 5})
        until_size(cluster, namespace, "unlucky", 3)
        wait_until(
            lambda: condition(cluster, namespace, "unlucky", "Stalled")["status"] == "False", SLOW_SECONDS, "recovery"
        )


def test_an_object_that_cannot_be_recalled_stalls_alone_too(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    unlucky = agent(namespace, "unlucky")
    unlucky["spec"]["tuning"] = {"intervalSeconds": FAULTY_INTERVAL_SECONDS}
    cluster.apply([unlucky, agent(namespace, "other")])
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, program=FORGETFUL):
        until_condition(cluster, namespace, "unlucky", "Stalled", "InternalError")
        until_size(cluster, namespace, "other", 1)
        assert not exists(cluster, DEPLOYMENTS.path(namespace, "unlucky"))
        edit(cluster, namespace, "unlucky", tuning={"intervalSeconds": 5})
        until_size(cluster, namespace, "unlucky", 1)


def test_a_right_that_is_taken_away_is_named_and_given_back_without_a_restart(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = allow(cluster, namespace, as_rbac())
    with running(tmp_path, kubeconfig, "-n", namespace) as operator:
        cluster.apply(agent(namespace, "one"))
        until_size(cluster, namespace, "one", 1)
        until_ready(operator)
        grant(cluster, namespace, as_rbac(without="deployments/scale"))
        edit(cluster, namespace, "one", replicas=3)
        stalled = until_condition(cluster, namespace, "one", "Stalled", "Forbidden")
        assert f"may not patch deployments/scale.apps in namespace {namespace}" in stalled["message"]
        wait_until(lambda: "deployments/scale" in operator.get("/readyz").text, SLOW_SECONDS, "what is lacking")
        assert "deployments/scale.apps" in operator.said("permissions are missing")["mend"]
        grant(cluster, namespace, as_rbac())
        until_ready(operator)
        until_size(cluster, namespace, "one", 3)
        wait_until(
            lambda: condition(cluster, namespace, "one", "Stalled")["status"] == "False", SLOW_SECONDS, "recovery"
        )


def test_when_nothing_may_be_read_or_said_any_more_readiness_says_it(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = allow(cluster, namespace, as_rbac())
    with running(tmp_path, kubeconfig, "-n", namespace) as operator:
        cluster.apply(agent(namespace, "one"))
        until_size(cluster, namespace, "one", 1)
        until_ready(operator)
        grant(cluster, namespace, [])

        def lacking() -> bool:
            answer = operator.get("/readyz")
            words = ("may not list deployments.apps", "may not patch agentdeployments/status.agentscaler.dev")
            return answer.status_code == 503 and all(each in answer.text for each in words)

        wait_until(lacking, SLOW_SECONDS, "what is lacking")
        grant(cluster, namespace, as_rbac())
        until_ready(operator)
        edit(cluster, namespace, "one", replicas=2)
        until_size(cluster, namespace, "one", 2)


@pytest.mark.parametrize(
    ("text", "reason", "mend"),
    [
        ("prometheus: {}", "UnknownPrometheus", "set prometheus.default.url"),
        ("prometheus: {default: {}}", "ServerNotConfigured", "prometheus.default.url is not set"),
    ],
)
def test_without_a_server_it_stays_up_and_says_what_to_set(  # noqa: PLR0917 (fixtures)
    cluster: ControlPlane, namespace: str, tmp_path: Path, text: str, reason: str, mend: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, "--config", str(config), prometheus="") as operator:
        assert mend in operator.said("not ready")["mend"]
        cluster.apply(agent(namespace, "one"))
        assert mend in until_condition(cluster, namespace, "one", "MetricsAvailable", reason)["message"]
        until_unready(operator, mend)
        assert operator.get("/livez").ok


def test_a_missing_secret_is_named_everywhere_and_its_value_nowhere(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    token, config = tmp_path / "token", tmp_path / "config.yaml"
    server = {"url": "http://127.0.0.1:9", "bearerTokenFile": str(token), "headers": {"X-Key": f"{SECRET}-header"}}
    config.write_text(yaml.safe_dump({"prometheus": {"main": server}, "logLevel": "debug"}))
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, "--config", str(config), prometheus="") as operator:
        mend = f"prometheus.main.bearerTokenFile: file {token} cannot be read"
        assert mend in operator.said("not ready")["mend"]
        cluster.apply(agent(namespace, "one"))
        lacking = until_condition(cluster, namespace, "one", "MetricsAvailable", "ServerNotConfigured")
        assert (lacking["status"], mend in lacking["message"]) == ("False", True)
        until_unready(operator, mend)
        token.write_text(f"{SECRET}-token\n")
        until_ready(operator)
        until_condition(cluster, namespace, "one", "MetricsAvailable", "QueryFailed")
        told = [
            operator.log.read_text(),
            operator.get("/metrics").text,
            operator.get(f"/records?namespace={namespace}&name=one").text,
            json.dumps(cluster.get(AGENT_DEPLOYMENTS.path(namespace, "one"))),
        ]
    assert [text for text in told if SECRET in text] == []
