"""The harness itself: what the other component tests, the demo and the benchmarks stand on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from e2e.harness import tools
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]


def deployment(
    name: str,
    replicas: int,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    grace_seconds: int = 30,
) -> dict[str, Any]:
    labels = {"app": name, **(labels or {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": {
                    "terminationGracePeriodSeconds": grace_seconds,
                    "containers": [{"name": "agent", "image": "agent"}],
                },
            },
        },
    }


def create(cluster: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
    cluster.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body).raise_for_status()


def pods(cluster: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return items


def ready(cluster: ControlPlane, namespace: str, name: str) -> int:
    status = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")["status"]
    return int(status.get("readyReplicas", 0))


def patch(cluster: ControlPlane, path: str, body: dict[str, Any]) -> None:
    cluster.request("PATCH", path, body, "application/merge-patch+json").raise_for_status()


def scale(cluster: ControlPlane, namespace: str, name: str, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    patch(cluster, path, {"spec": {"replicas": replicas}})


def test_a_deployment_of_twenty_gets_ready_pods_with_addresses(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, deployment("agent", 20))
    wait_until(lambda: ready(cluster, namespace, "agent") == 20, PATIENCE_SECONDS, "20 ready pods")
    items = pods(cluster, namespace)
    assert len({pod["status"]["podIP"] for pod in items}) == 20
    assert {pod["status"]["phase"] for pod in items} == {"Running"}


def test_scale_in_removes_plain_pods_at_once(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, deployment("agent", 5, grace_seconds=600))
    wait_until(lambda: ready(cluster, namespace, "agent") == 5, PATIENCE_SECONDS, "5 ready pods")
    scale(cluster, namespace, "agent", 2)
    # far below the grace period
    wait_until(lambda: len(pods(cluster, namespace)) == 2, PATIENCE_SECONDS, "2 pods left")


def test_start_up_time_comes_from_the_annotation_and_survives_a_touch(cluster: ControlPlane, namespace: str) -> None:
    annotations = {"agentscaler.dev/start-up-seconds": "3"}
    create(cluster, namespace, deployment("agent", 1, annotations=annotations))
    pod = wait_until(lambda: pods(cluster, namespace), PATIENCE_SECONDS, "the pod")[0]["metadata"]["name"]
    started = time.monotonic()
    touches = 0
    while ready(cluster, namespace, "agent") == 0:
        touches += 1
        patch(
            cluster,
            f"/api/v1/namespaces/{namespace}/pods/{pod}",
            {"metadata": {"annotations": {"touched": str(touches)}}},
        )
        assert time.monotonic() - started < PATIENCE_SECONDS, "touching the pod puts its readiness off"
    (seen,) = pods(cluster, namespace)
    at = next(each["lastTransitionTime"] for each in seen["status"]["conditions"] if each["type"] == "Ready")
    took = datetime.fromisoformat(at) - datetime.fromisoformat(seen["metadata"]["creationTimestamp"])
    assert took.total_seconds() >= 3, "the annotation has no effect"


def test_a_pod_with_a_process_is_removed_when_it_is_drained(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, deployment("agent", 1, {"agentscaler.dev/process": "true"}, grace_seconds=600))
    wait_until(lambda: ready(cluster, namespace, "agent") == 1, PATIENCE_SECONDS, "the pod")
    scale(cluster, namespace, "agent", 0)
    pod = wait_until(
        lambda: [pod for pod in pods(cluster, namespace) if "deletionTimestamp" in pod["metadata"]],
        PATIENCE_SECONDS,
        "deletion",
    )[0]
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 600
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    patch(cluster, path, {"metadata": {"annotations": {"agentscaler.dev/drained": "true"}}})
    wait_until(lambda: not pods(cluster, namespace), PATIENCE_SECONDS, "the removal of the drained pod")


def test_a_pod_that_never_drains_is_removed_at_the_end_of_its_grace_period(
    cluster: ControlPlane, namespace: str
) -> None:
    create(cluster, namespace, deployment("agent", 1, {"agentscaler.dev/process": "true"}, grace_seconds=4))
    wait_until(lambda: ready(cluster, namespace, "agent") == 1, PATIENCE_SECONDS, "the pod")
    started = time.monotonic()
    scale(cluster, namespace, "agent", 0)
    wait_until(lambda: not pods(cluster, namespace), PATIENCE_SECONDS, "the removal of the expired pod")
    assert time.monotonic() - started > 2  # the API keeps whole seconds


def test_a_service_account_has_no_rights_of_its_own(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "stranger", "-n", namespace)
    kubeconfig = cluster.user_kubeconfig(namespace, "stranger")
    assert stat_mode(kubeconfig) == 0o600
    answer = cluster.kubectl(f"--kubeconfig={kubeconfig}", "get", "pods", check=False)
    assert f"system:serviceaccount:{namespace}:stranger" in answer.stderr
    assert "forbidden" in answer.stderr


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_failing_kubectl_says_why(cluster: ControlPlane) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        cluster.kubectl("get", "nothing-of-the-kind")
    assert any("nothing-of-the-kind" in note for note in raised.value.__notes__)


@pytest.fixture(scope="module")
def other() -> Iterator[ControlPlane]:
    """One more control plane; it must leave nothing."""
    with ControlPlane(nodes=2) as plane:
        yield plane
    assert not plane.directory.exists()
    assert not any(process.alive for process in plane.processes)


def test_two_control_planes_run_side_by_side(cluster: ControlPlane, other: ControlPlane, namespace: str) -> None:
    other.install_crds()
    assert other.get("/apis/agentscaler.dev/v1alpha1/agentdeployments")["items"] == []
    other.kubectl("create", "configmap", "only-here")
    assert len(other.get("/api/v1/nodes")["items"]) == 2
    assert cluster.request("GET", "/api/v1/namespaces/default/configmaps/only-here").status_code == 404
    assert other.request("GET", f"/api/v1/namespaces/{namespace}").status_code == 404


def test_the_parts_come_back_with_their_objects_after_being_killed(other: ControlPlane) -> None:
    create(other, "default", deployment("agent", 3))
    wait_until(lambda: ready(other, "default", "agent") == 3, PATIENCE_SECONDS, "3 ready pods")
    before = {pod["metadata"]["uid"] for pod in pods(other, "default")}
    other.apiserver.kill()
    with pytest.raises(requests.ConnectionError):
        other.get("/api/v1/nodes")
    other.etcd.kill()
    other.etcd.start()
    other.apiserver.start()
    other.wait_ready()
    assert {pod["metadata"]["uid"] for pod in pods(other, "default")} == before
    for process in (other.controller_manager, other.scheduler, other.kwok):
        process.kill()
        process.start()
    scale(other, "default", "agent", 5)
    wait_until(lambda: ready(other, "default", "agent") == 5, 2 * PATIENCE_SECONDS, "5 ready pods")


def test_cached_tools_are_not_built_again(capfd: pytest.CaptureFixture[str]) -> None:
    first = tools.ensure()
    capfd.readouterr()
    assert tools.ensure() == first
    assert capfd.readouterr().err == ""
    assert set(first) == set(tools.ALL)
    assert all(os.access(path, os.X_OK) for path in first.values())
    assert ROOT not in first["etcd"].parents


def test_of_two_that_need_a_tool_at_once_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    compiler = Path(tools.go()).parent
    environment = {**os.environ, "AGENTSCALER_CACHE": str(tmp_path), "PATH": f"{compiler}:{os.environ['PATH']}"}
    script = "from e2e.harness import tools; print(tools.ensure('etcd')['etcd'])"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len({path for path, _ in answers}) == 1
    assert sum("etcd: done" in said for _, said in answers) == 1
    assert sum("waiting for it" in said for _, said in answers) <= 1
    binary = Path(answers[0][0].strip())
    assert tmp_path in binary.parents
    assert "etcd Version" in subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout


def test_an_unknown_tool_is_refused() -> None:
    with pytest.raises(KeyError, match="helmet"):
        tools.ensure("helmet")
