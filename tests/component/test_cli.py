"""The command line against a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from agentscaler.cli import app
from e2e.harness.cluster import ControlPlane

ROOT = Path(__file__).parents[2]
PATH = "/apis/agentscaler.dev/v1alpha1/namespaces/{}/agentdeployments"


def invoke(cluster: ControlPlane, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--kubeconfig", str(cluster.kubeconfig)])


def create(cluster: ControlPlane, namespace: str, name: str) -> None:
    body = {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "example.com/agent:1"}]}}},
    }
    cluster.request("POST", PATH.format(namespace), body).raise_for_status()


def set_status(cluster: ControlPlane, namespace: str, name: str) -> None:
    status = {
        "replicas": 3,
        "readyReplicas": 2,
        "settings": {"generation": 2, "workers": 7},
        "diagnosis": "WorkerBound",
        "lastDecision": {"at": "2026-01-01T00:00:00Z", "reason": "Burst", "summary": "workers 4 -> 7: all are busy"},
        "signals": [{"name": "inFlight", "value": "12", "health": "Fresh", "observedAt": "2026-01-01T00:00:00Z"}],
    }
    answer = cluster.request(
        "PATCH", f"{PATH.format(namespace)}/{name}/status", {"status": status}, "application/merge-patch+json"
    )
    answer.raise_for_status()


def test_status_lists_the_objects_of_one_namespace(cluster: ControlPlane, namespace: str) -> None:
    assert f"No AgentDeployments found in namespace {namespace}" in invoke(cluster, "status", "-n", namespace).stdout
    create(cluster, namespace, "first")
    create(cluster, namespace, "second")
    set_status(cluster, namespace, "second")
    result = invoke(cluster, "status", "-n", namespace)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "first", "second"]
    assert "2/3" in lines[2]
    assert "workers 4 -> 7: all are busy" in lines[2]


def test_status_of_all_namespaces_names_them(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, "first")
    assert [namespace, "first"] in [line.split()[:2] for line in invoke(cluster, "status", "-A").stdout.splitlines()]


def test_status_for_programs_is_json(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, "first")
    set_status(cluster, namespace, "first")
    found = json.loads(invoke(cluster, "status", "first", "-n", namespace, "-o", "json").stdout)
    assert [(each["name"], each["workers"], each["diagnosis"]) for each in found] == [("first", 7, "WorkerBound")]


def test_explain_falls_back_to_status_and_says_so(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, "first")
    set_status(cluster, namespace, "first")
    result = invoke(cluster, "explain", "first", "-n", namespace)
    assert result.exit_code == 0
    assert "From status only" in result.stdout
    assert "--operator-url" in result.stdout
    assert "workers 4 -> 7: all are busy" in result.stdout


def test_a_wrong_name_gets_the_right_ones(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, "first")
    result = invoke(cluster, "explain", "frist", "-n", namespace)
    assert result.exit_code == 1
    assert f"frist not found in namespace {namespace}; there are: first" in result.stderr


def test_an_operator_url_that_does_not_answer_is_an_error(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, "first")
    result = invoke(cluster, "explain", "first", "-n", namespace, "--operator-url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "check --operator-url" in result.stderr


def test_a_user_without_rights_is_told_which_one_is_missing(cluster: ControlPlane, namespace: str) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account).raise_for_status()
    kubeconfig = cluster.user_kubeconfig(namespace, "nobody")
    result = CliRunner().invoke(app, ["status", "--kubeconfig", str(kubeconfig)])
    assert result.exit_code == 1
    assert f"you may not list agentdeployments.agentscaler.dev in namespace {namespace}" in result.stderr


def test_kubectl_finds_it_as_a_plugin(cluster: ControlPlane, namespace: str, tmp_path: Path) -> None:
    create(cluster, namespace, "first")
    plugin = tmp_path / "kubectl-agentscaler"
    plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m agentscaler "$@"\n')
    plugin.chmod(0o755)
    kubectl = cluster.kubectl("version", "--client", "-o", "json").args[0]
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "KUBECONFIG": str(cluster.kubeconfig),
        "PYTHONPATH": str(ROOT / "operator"),
    }
    finished = subprocess.run(
        [kubectl, "agentscaler", "status", "-n", namespace], env=environment, capture_output=True, text=True, check=True
    )
    assert "first" in finished.stdout
