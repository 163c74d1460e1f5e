"""The operator as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from agentscaler.kube.permissions import RULES
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until

ROOT = Path(__file__).parents[2]
SLOW_SECONDS = 30.0
TEMPLATE = {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}}


class Running:
    """One `agentscaler run`."""

    def __init__(self, directory: Path, kubeconfig: Path, *arguments: str, program: str = "") -> None:
        self.log = directory / "operator.log"
        start = ["-c", program] if program else ["-m", "agentscaler"]
        argv = [sys.executable, *start, "run", "--kubeconfig", str(kubeconfig), "--port", "0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, "--prometheus", "default=http://127.0.0.1:9", "--tick-seconds", "1", *arguments],
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), "AGENTSCALER_HEALTH_ADDRESS": "127.0.0.1"},
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; half a line is not read yet."""
        text = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def said(self, message: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            return next((line for line in self.lines if line["message"] == message), None)

        return wait_until(find, SLOW_SECONDS, f"the log line {message!r}")

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.said('serving')['port']}{path}", timeout=5)

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def exit_code(self) -> int:
        return self.process.wait(SLOW_SECONDS)


@contextmanager
def running(directory: Path, kubeconfig: Path, *arguments: str, program: str = "") -> Iterator[Running]:
    operator = Running(directory, kubeconfig, *arguments, program=program)
    try:
        yield operator
    finally:
        operator.process.kill()
        operator.process.wait()


def agent(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": TEMPLATE},
    }


def allow(cluster: ControlPlane, namespace: str, rules: list[dict[str, Any]]) -> Path:
    """A kubeconfig of a ServiceAccount that may do just this in the namespace."""
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": namespace}
    metadata = {"name": "operator", "namespace": namespace}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{api}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": api, "kind": "Role", "name": "operator"},
                "subjects": [subject],
            },
        ]
    )
    return cluster.user_kubeconfig(namespace, "operator")


def as_rbac(without: str = "") -> list[dict[str, Any]]:
    return [
        {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
        for rule in RULES
        if rule.resource != without
    ]


def exists(cluster: ControlPlane, path: str) -> bool:
    return cluster.request("GET", path).ok


def test_it_serves_an_object_and_ends_cleanly(cluster: ControlPlane, namespace: str, tmp_path: Path) -> None:
    with running(tmp_path, cluster.kubeconfig, "-n", namespace) as operator:
        wait_until(lambda: operator.get("/readyz").ok, SLOW_SECONDS, "readiness")
        cluster.apply(agent(namespace, "one"))
        wait_until(
            lambda: (
                exists(cluster, DEPLOYMENTS.path(namespace, "one"))
                and exists(cluster, CONFIG_MAPS.path(namespace, "one-settings"))
            ),
            SLOW_SECONDS,
            "the Deployment and its settings",
        )
        wait_until(
            lambda: cluster.get(AGENT_DEPLOYMENTS.path(namespace, "one")).get("status", {}).get("conditions"),
            SLOW_SECONDS,
            "a status",
        )
        assert operator.get("/livez").text == "ok"
        assert operator.metric("agentscaler_tick_duration_seconds_count") >= 1
        assert operator.metric("agentscaler_last_tick_timestamp_seconds") == pytest.approx(time.time(), abs=30)
        assert operator.metric('agentscaler_kube_requests_total{resource="deployments.apps",verb="list"}') >= 1
        records = operator.get(f"/records?namespace={namespace}&name=one").json()["records"]
        assert records[-1]["name"] == "one"
        assert operator.get("/records").status_code == 400
        operator.process.send_signal(signal.SIGTERM)
        assert operator.exit_code() == 0
        assert operator.lines[-1]["message"] == "stopped"
        assert [line for line in operator.lines if line["level"] == "error"] == []


def test_the_written_rules_are_enough(cluster: ControlPlane, namespace: str, tmp_path: Path) -> None:
    kubeconfig = allow(cluster, namespace, as_rbac())
    with running(tmp_path, kubeconfig, "-n", namespace) as operator:
        wait_until(lambda: operator.get("/readyz").ok, SLOW_SECONDS, "readiness")
        cluster.apply(agent(namespace, "one"))

        def served() -> bool:
            status = cluster.get(AGENT_DEPLOYMENTS.path(namespace, "one")).get("status", {})
            return bool(status.get("readyReplicas") == 1 and status.get("settings"))

        wait_until(served, SLOW_SECONDS, "a ready pod in status")
        agd = AGENT_DEPLOYMENTS.path(namespace, "one")
        cluster.request("PATCH", agd, {"spec": {"replicas": 3}}, "application/merge-patch+json").raise_for_status()
        deployment = DEPLOYMENTS.path(namespace, "one")
        wait_until(lambda: cluster.get(deployment)["spec"]["replicas"] == 3, SLOW_SECONDS, "three replicas")
        assert operator.metric('agentscaler_kube_request_failures_total{error="Forbidden"}') == 0


def test_a_missing_permission_ends_it_with_the_rule_to_add(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = allow(cluster, namespace, as_rbac(without="deployments/scale"))
    with running(tmp_path, kubeconfig, "-n", namespace) as operator:
        assert operator.exit_code() == 1
        error = operator.said("cannot start")["error"]
    assert f"may not patch deployments/scale.apps in namespace {namespace}" in error
    assert 'apiGroups ["apps"], resources ["deployments/scale"], verbs ["patch"]' in error


def test_an_operator_that_may_not_list_its_objects_says_so(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    with running(tmp_path, allow(cluster, namespace, [])) as operator:
        assert operator.exit_code() == 1
        error = operator.said("cannot start")["error"]
    assert "may not list agentdeployments.agentscaler.dev in the whole cluster" in error


def test_without_the_crd_it_says_how_to_install_it(tmp_path: Path) -> None:
    with ControlPlane(nodes=0) as bare, running(tmp_path, bare.kubeconfig) as operator:
        assert operator.exit_code() == 1
        assert "agentscaler crds | kubectl apply" in operator.said("cannot start")["error"]


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with running(tmp_path, tmp_path / "absent") as operator:
        assert operator.exit_code() == 1
        assert "cannot start" in [line["message"] for line in operator.lines]


def test_a_wrong_setting_ends_it_with_code_2(cluster: ControlPlane, tmp_path: Path) -> None:
    with running(tmp_path, cluster.kubeconfig, "--tick-seconds", "0.1") as operator:
        assert operator.exit_code() == 2
        assert "tickSeconds" in operator.log.read_text()


@pytest.mark.parametrize("part", ["agentscaler.loop.Loop.run", "agentscaler.kube.resync.Resync.run"])
def test_when_a_part_dies_the_process_ends(cluster: ControlPlane, namespace: str, tmp_path: Path, part: str) -> None:
    module, owner, method = part.rsplit(".", 2)
    program = (
        "import asyncio, sys\n"
        f"import {module} as module\n"
        "async def die(*_):\n"
        "    await asyncio.sleep(1)\n"
        "    raise ZeroDivisionError\n"
        f"module.{owner}.{method} = die\n"
        "from agentscaler.cli import app\n"
        "app()\n"
    )
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, program=program) as operator:
        assert operator.exit_code() == 1
        assert "ZeroDivisionError" in operator.said("a part has died; the process ends")["exception"]


def test_it_waits_for_an_api_server_that_is_away_and_survives_its_loss(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    cluster.apiserver.kill()
    try:
        with running(tmp_path, cluster.kubeconfig, "-n", namespace) as operator:
            operator.said("the API server does not answer; trying again")
            assert operator.get("/livez").ok
            assert operator.get("/readyz").status_code == 503
            cluster.apiserver.start()
            cluster.wait_ready()
            wait_until(lambda: operator.get("/readyz").ok, SLOW_SECONDS, "readiness")
            cluster.apiserver.kill()
            ticks = operator.metric("agentscaler_tick_duration_seconds_count")
            wait_until(
                lambda: operator.metric("agentscaler_tick_duration_seconds_count") > ticks, SLOW_SECONDS, "a tick"
            )
            assert operator.get("/livez").ok
            cluster.apiserver.start()
            cluster.wait_ready()
            cluster.apply(agent(namespace, "late"))
            wait_until(
                lambda: exists(cluster, DEPLOYMENTS.path(namespace, "late")), 2 * SLOW_SECONDS, "the late Deployment"
            )
            operator.process.send_signal(signal.SIGINT)
            assert operator.exit_code() == 0
    finally:
        cluster.apiserver.start()
        cluster.wait_ready()
