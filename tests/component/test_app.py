"""The operator as a process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until
from tests.component.operator_process import SLOW_SECONDS, agent, allow, as_rbac, exists, running


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


def is_discovered(cluster: ControlPlane) -> bool:
    groups = cluster.request("GET", "/apis").text
    kinds = cluster.request("GET", "/apis/agentscaler.dev/v1alpha1").text
    return '"agentscaler.dev"' in groups and '"agentdeployments"' in kinds


def test_it_waits_for_an_api_server_that_is_away_and_survives_its_loss(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    cluster.apiserver.kill()
    try:
        with running(tmp_path, cluster.kubeconfig, "-n", namespace) as operator:
            operator.said("the API server does not answer; trying again")
            assert operator.get("/livez").ok
            assert operator.get("/readyz").status_code == 503
            # kopf looks for kinds only once: before discovery is whole again the operator would have to be restarted.
            operator.process.send_signal(signal.SIGSTOP)
            cluster.apiserver.start()
            cluster.wait_ready()
            wait_until(lambda: is_discovered(cluster), SLOW_SECONDS, "the kind in discovery")
            operator.process.send_signal(signal.SIGCONT)
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
