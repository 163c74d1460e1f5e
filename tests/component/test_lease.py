"""Several operators, of which one acts: processes on a real API server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agentscaler.kube.lease import LEASE_SECONDS
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, DEPLOYMENTS, LEASES
from agentscaler.kube.permissions import LEASE_RULE
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until
from tests.component.api_recorder import Recorder
from tests.component.operator_process import SLOW_SECONDS, Running, agent, allow, as_rbac, exists, running

MANY = 24
BLIND = "it looks at its Lease no more"
GOES_BLIND = f"""
import asyncio, logging, signal
from agentscaler.kube import lease

async def look_away(election):
    logging.getLogger("test").warning("{BLIND}")
    await asyncio.sleep(600)

def go_blind(*_):
    lease.RENEW_DEADLINE_SECONDS = 600.0
    lease.Election._attempt = look_away

signal.signal(signal.SIGUSR1, go_blind)
from agentscaler.cli import app
app()
"""
"""A leader that neither renews its Lease nor learns of its loss once it has got the signal."""


class Pair:
    """Two operators that share one Lease, each with a recorded way to the API server of its own."""

    def __init__(self, cluster: ControlPlane, namespace: str, directory: Path, stack: ExitStack) -> None:
        self._cluster, self._namespace, self._directory, self._stack = cluster, namespace, directory, stack
        self.recorders: dict[str, Recorder] = {}

    def start(self, name: str, program: str = "") -> Running:
        directory = self._directory / name
        recorder = self._stack.enter_context(Recorder(self._cluster, directory))
        self.recorders[name] = recorder
        return self._stack.enter_context(
            running(
                directory,
                recorder.kubeconfig,
                "-n",
                self._namespace,
                environ=electing(self._namespace),
                program=program,
            )
        )

    @property
    def holder(self) -> str:
        return holder(self._cluster, self._namespace)


def electing(namespace: str) -> dict[str, str]:
    return {"AGENTSCALER_LEADER_ELECTION": "true", "AGENTSCALER_LEASE_NAMESPACE": namespace}


def lease(cluster: ControlPlane, namespace: str) -> dict[str, Any]:
    return cluster.get(LEASES.path(namespace, "agentscaler"))


def holder(cluster: ControlPlane, namespace: str) -> str:
    return str(lease(cluster, namespace)["spec"].get("holderIdentity") or "")


def leads(operator: Running) -> bool:
    return operator.metric("agentscaler_leader") == 1


def has_ticked(operator: Running) -> bool:
    return operator.metric("agentscaler_tick_duration_seconds_count") >= 1


@pytest.fixture
def pair(cluster: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(cluster, namespace, tmp_path, stack)


def test_a_standby_keeps_still_and_takes_over_from_a_leader_that_was_killed(
    cluster: ControlPlane, namespace: str, pair: Pair
) -> None:
    first = pair.start("first")
    wait_until(lambda: leads(first), SLOW_SECONDS, "a leader")
    second = pair.start("second")
    wait_until(lambda: second.get("/readyz").ok, SLOW_SECONDS, "a ready standby")
    assert "standing by" in second.get("/readyz").text
    cluster.apply(agent(namespace, "one"))
    wait_until(lambda: exists(cluster, DEPLOYMENTS.path(namespace, "one")), SLOW_SECONDS, "the leader's Deployment")
    assert not leads(second)
    assert not has_ticked(second)
    assert pair.recorders["second"].writes == []
    assert second.get(f"/records?namespace={namespace}&name=one").status_code == 503
    held = lease(cluster, namespace)["spec"]
    assert held["leaseDurationSeconds"] == LEASE_SECONDS

    first.process.kill()
    # How soon is asserted where the machine is the cluster's own: on kind.
    wait_until(lambda: leads(second) and has_ticked(second), SLOW_SECONDS, "the standby's first tick")
    after = lease(cluster, namespace)["spec"]
    assert after["holderIdentity"] != held["holderIdentity"]
    assert after["leaseTransitions"] == held["leaseTransitions"] + 1
    cluster.apply(agent(namespace, "two"))
    wait_until(lambda: exists(cluster, DEPLOYMENTS.path(namespace, "two")), SLOW_SECONDS, "the new leader's Deployment")


def test_a_leader_that_is_told_to_go_hands_over_at_once(pair: Pair) -> None:
    first = pair.start("first")
    wait_until(lambda: leads(first), SLOW_SECONDS, "a leader")
    second = pair.start("second")
    wait_until(lambda: second.get("/readyz").ok, SLOW_SECONDS, "a ready standby")
    first.process.send_signal(signal.SIGTERM)
    assert first.exit_code() == 0
    assert first.said("the Lease is released")
    wait_until(lambda: leads(second) and has_ticked(second), SLOW_SECONDS, "the standby's first tick")
    second.process.send_signal(signal.SIGTERM)
    assert second.exit_code() == 0
    assert pair.holder == ""


def test_a_standby_that_is_told_to_go_leaves_the_lease_alone(pair: Pair) -> None:
    first = pair.start("first")
    wait_until(lambda: leads(first), SLOW_SECONDS, "a leader")
    second = pair.start("second")
    wait_until(lambda: second.get("/readyz").ok, SLOW_SECONDS, "a ready standby")
    before = pair.holder
    second.process.send_signal(signal.SIGTERM)
    assert second.exit_code() == 0
    assert pair.holder == before
    assert leads(first)


def test_a_leader_that_was_paused_writes_nothing_after_it_wakes_up(
    cluster: ControlPlane, namespace: str, pair: Pair
) -> None:
    first = pair.start("first")
    wait_until(lambda: leads(first), SLOW_SECONDS, "a leader")
    second = pair.start("second")
    wait_until(lambda: second.get("/readyz").ok, SLOW_SECONDS, "a ready standby")
    of_first, of_second = pair.recorders["first"], pair.recorders["second"]
    of_first.delay_seconds = 1.0  # so that many writes wait for their turn when it is paused
    cluster.apply([agent(namespace, f"many-{number}") for number in range(MANY)])
    wait_until(lambda: len(of_first.writes) >= 8, SLOW_SECONDS, "writes under way")

    first.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: leads(second) and of_second.writes, SLOW_SECONDS, "writes of the new leader")
    woken_at = time.monotonic()
    first.process.send_signal(signal.SIGCONT)

    wait_until(lambda: not leads(first), SLOW_SECONDS, "that it stands by")
    wait_until(
        lambda: all(exists(cluster, DEPLOYMENTS.path(namespace, f"many-{number}")) for number in range(MANY)),
        SLOW_SECONDS,
        "all Deployments",
    )
    assert [each for each in of_first.writes if each.at > woken_at] == []
    assert max(each.at for each in of_first.writes) < min(each.at for each in of_second.writes)
    assert first.get("/livez").ok
    wait_until(lambda: first.get("/readyz").ok, SLOW_SECONDS, "readiness as a standby")

    second.process.send_signal(signal.SIGTERM)
    wait_until(lambda: leads(first) and has_ticked(first), SLOW_SECONDS, "its next term")
    path = AGENT_DEPLOYMENTS.path(namespace, "many-0")
    cluster.request("PATCH", path, {"spec": {"replicas": 3}}, "application/merge-patch+json").raise_for_status()
    deployment = DEPLOYMENTS.path(namespace, "many-0")
    wait_until(lambda: cluster.get(deployment)["spec"]["replicas"] == 3, SLOW_SECONDS, "a move in its next term")


def test_a_paused_leader_that_does_not_notice_its_loss_is_stopped_by_its_clock_alone(
    cluster: ControlPlane, namespace: str, pair: Pair
) -> None:
    first = pair.start("first", program=GOES_BLIND)
    wait_until(lambda: leads(first), SLOW_SECONDS, "a leader")
    second = pair.start("second")
    wait_until(lambda: second.get("/readyz").ok, SLOW_SECONDS, "a ready standby")
    of_first, of_second = pair.recorders["first"], pair.recorders["second"]
    of_first.delay_seconds = 1.0
    cluster.apply([agent(namespace, f"many-{number}") for number in range(MANY)])
    wait_until(lambda: len(of_first.writes) >= 8, SLOW_SECONDS, "writes under way")
    first.process.send_signal(signal.SIGUSR1)
    first.said(BLIND)
    first.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: leads(second) and of_second.writes, SLOW_SECONDS, "the standby's first write")
    woken_at = time.monotonic()
    first.process.send_signal(signal.SIGCONT)
    refused = 'agentscaler_kube_request_failures_total{error="NotLeader"}'
    wait_until(lambda: first.metric(refused) > 0, SLOW_SECONDS, "refused writes")
    assert leads(first), "without this the test would prove nothing"
    assert [each for each in of_first.writes if each.at > woken_at] == []
    assert max(each.at for each in of_first.writes) < min(each.at for each in of_second.writes)


def test_a_leader_without_an_api_server_stands_by_and_leads_again_without_a_restart(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, environ=electing(namespace)) as operator:
        # kopf's discovery looks once: a process whose watch has not begun ends with a server that has just started.
        wait_until(lambda: leads(operator) and operator.get("/readyz").ok, SLOW_SECONDS, "a leader that watches")
        cluster.apiserver.kill()
        try:
            wait_until(lambda: not leads(operator), SLOW_SECONDS, "that it gives up")
        finally:
            cluster.apiserver.start()
            cluster.wait_ready()
        wait_until(lambda: leads(operator) and has_ticked(operator), SLOW_SECONDS, "its next term")
        cluster.apply(agent(namespace, "late"))
        wait_until(lambda: exists(cluster, DEPLOYMENTS.path(namespace, "late")), SLOW_SECONDS, "the Deployment")


def test_a_missing_right_on_the_lease_ends_it_with_the_rule_to_add(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    # That each of its rights is missed is seen in test_chart_rbac.
    rule = {"apiGroups": [LEASE_RULE.group], "resources": [LEASE_RULE.resource], "verbs": ["get", "create"]}
    kubeconfig = allow(cluster, namespace, [*as_rbac(), rule])
    with running(tmp_path, kubeconfig, "-n", namespace, environ=electing(namespace)) as operator:
        assert operator.exit_code() == 1
        error = operator.said("cannot start")["error"]
    assert f"may not update leases.coordination.k8s.io in namespace {namespace}" in error


def test_the_written_rules_are_enough_for_a_leader_and_their_loss_is_named(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    rule = {"apiGroups": [LEASE_RULE.group], "resources": [LEASE_RULE.resource]}
    named = {**rule, "verbs": ["get", "update"], "resourceNames": ["agentscaler"]}
    kubeconfig = allow(cluster, namespace, [*as_rbac(), named, {**rule, "verbs": ["create"]}])
    with running(tmp_path, kubeconfig, "-n", namespace, environ=electing(namespace)) as operator:
        wait_until(lambda: leads(operator) and has_ticked(operator), SLOW_SECONDS, "a leader")
        renewed = lease(cluster, namespace)["spec"]["renewTime"]
        wait_until(lambda: lease(cluster, namespace)["spec"]["renewTime"] > renewed, SLOW_SECONDS, "a renewal")
        assert operator.metric('agentscaler_kube_request_failures_total{error="Forbidden"}') == 0
        role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/operator"
        before = cluster.get(role)
        cluster.request("PUT", role, {**before, "rules": as_rbac()}).raise_for_status()
        wait_until(lambda: "may not update leases" in operator.get("/readyz").text, SLOW_SECONDS, "what is lacking")
        before["metadata"].pop("resourceVersion")
        cluster.request("PUT", role, before).raise_for_status()
        wait_until(lambda: leads(operator) and operator.get("/readyz").ok, SLOW_SECONDS, "its next term")


def test_outside_of_a_cluster_the_namespace_of_the_lease_has_to_be_said(
    cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    environ = {"AGENTSCALER_LEADER_ELECTION": "true"}
    with running(tmp_path, cluster.kubeconfig, "-n", namespace, environ=environ) as operator:
        assert operator.exit_code() == 1
        assert "set leaseNamespace" in operator.said("cannot start")["error"]
