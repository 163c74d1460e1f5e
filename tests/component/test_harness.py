"""The harness itself: what the other component tests, the demo and the benchmarks stand on."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from e2e.harness import tools
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import Process, free_port, wait_until
from e2e.harness.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


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
    wait_until(lambda: ready(cluster, namespace, "agent") == 20, SECONDS, "20 ready pods")
    items = pods(cluster, namespace)
    assert len({pod["status"]["podIP"] for pod in items}) == 20
    assert {pod["status"]["phase"] for pod in items} == {"Running"}


def test_scale_in_removes_plain_pods_at_once(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, deployment("agent", 5))
    wait_until(lambda: ready(cluster, namespace, "agent") == 5, SECONDS, "5 ready pods")
    scale(cluster, namespace, "agent", 2)
    # far below the grace period of 30 s
    wait_until(lambda: len(pods(cluster, namespace)) == 2, 10, "2 pods left")


def test_start_up_time_comes_from_the_annotation_and_survives_a_touch(cluster: ControlPlane, namespace: str) -> None:
    annotations = {"agentscaler.dev/start-up-seconds": "3"}
    create(cluster, namespace, deployment("agent", 1, annotations=annotations))
    pod = wait_until(lambda: pods(cluster, namespace), SECONDS, "the pod")[0]["metadata"]["name"]
    started = time.monotonic()
    touches = 0
    while ready(cluster, namespace, "agent") == 0:
        touches += 1
        patch(
            cluster,
            f"/api/v1/namespaces/{namespace}/pods/{pod}",
            {"metadata": {"annotations": {"touched": str(touches)}}},
        )
        assert time.monotonic() - started < 10, "touching the pod puts its readiness off"
    assert time.monotonic() - started > 1.5, "the annotation has no effect"


def test_a_pod_with_a_process_is_removed_when_it_is_drained(cluster: ControlPlane, namespace: str) -> None:
    create(cluster, namespace, deployment("agent", 1, {"agentscaler.dev/process": "true"}, grace_seconds=600))
    wait_until(lambda: ready(cluster, namespace, "agent") == 1, SECONDS, "the pod")
    scale(cluster, namespace, "agent", 0)
    pod = wait_until(
        lambda: [pod for pod in pods(cluster, namespace) if "deletionTimestamp" in pod["metadata"]], SECONDS, "deletion"
    )[0]
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 600
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
    patch(cluster, path, {"metadata": {"annotations": {"agentscaler.dev/drained": "true"}}})
    wait_until(lambda: not pods(cluster, namespace), 10, "the removal of the drained pod")


def test_a_pod_that_never_drains_is_removed_at_the_end_of_its_grace_period(
    cluster: ControlPlane, namespace: str
) -> None:
    create(cluster, namespace, deployment("agent", 1, {"agentscaler.dev/process": "true"}, grace_seconds=4))
    wait_until(lambda: ready(cluster, namespace, "agent") == 1, SECONDS, "the pod")
    scale(cluster, namespace, "agent", 0)
    started = time.monotonic()
    wait_until(lambda: not pods(cluster, namespace), 15, "the removal of the expired pod")
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


def test_two_control_planes_run_side_by_side(cluster: ControlPlane, namespace: str) -> None:
    with ControlPlane(nodes=2) as other:
        other.install_crds()
        assert other.get("/apis/agentscaler.dev/v1alpha1/agentdeployments")["items"] == []
        other.kubectl("create", "configmap", "only-here")
        assert len(other.get("/api/v1/nodes")["items"]) == 2
        assert cluster.request("GET", "/api/v1/namespaces/default/configmaps/only-here").status_code == 404
        assert other.request("GET", f"/api/v1/namespaces/{namespace}").status_code == 404
        directory = other.directory
    assert not directory.exists()
    assert not any(process.alive for process in other.processes)


def test_the_parts_come_back_with_their_objects_after_being_killed() -> None:
    with ControlPlane() as plane:
        create(plane, "default", deployment("agent", 3))
        wait_until(lambda: ready(plane, "default", "agent") == 3, SECONDS, "3 ready pods")
        before = {pod["metadata"]["uid"] for pod in pods(plane, "default")}
        plane.apiserver.kill()
        with pytest.raises(requests.ConnectionError):
            plane.get("/api/v1/nodes")
        plane.etcd.kill()
        plane.etcd.start()
        plane.apiserver.start()
        plane.wait_ready()
        assert {pod["metadata"]["uid"] for pod in pods(plane, "default")} == before
        for process in (plane.controller_manager, plane.scheduler, plane.kwok):
            process.kill()
            process.start()
        scale(plane, "default", "agent", 5)
        wait_until(lambda: ready(plane, "default", "agent") == 5, 2 * SECONDS, "5 ready pods")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_parent_ends(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "e2e.harness", "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            directory = Path(parent.stdout.readline().partition("=")[2].strip()).parent
            children = psutil.Process(parent.pid).children(recursive=True)
            names = {child.name() for child in children}
            assert {"etcd", "kube-apiserver", "kube-scheduler", "kwok", "prometheus"} <= names
            assert directory.exists()
            directories = [Path(child.cmdline()[-1]) for child in children if child.name() == "sh"]
            assert directory in directories
            assert len(directories) == 2
            parent.send_signal(number)
            parent.wait(SECONDS)
        finally:
            parent.kill()
    wait_until(lambda: not any(child.is_running() for child in children), SECONDS, "the end of all children")
    assert not any(path.exists() for path in directories)


def test_a_child_dies_with_its_parent_whatever_thread_started_it(tmp_path: Path) -> None:
    script = """
import sys, threading, time
from pathlib import Path
from e2e.harness.process import Process
child = Process(["sleep", "60"], Path(sys.argv[1]))
thread = threading.Thread(target=child.start)
thread.start()
thread.join()
time.sleep(0.3)  # long enough for a death signal that came with the thread's end
print(child.pid, child.alive, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, alive = parent.stdout.readline().split()
        parent.kill()
    assert alive == "True"
    wait_until(lambda: not psutil.pid_exists(int(pid)), SECONDS, "the child's end")


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"], tmp_path / "log")
    process.start()
    wait_until(lambda: "up" in process.tail(), SECONDS, "the trap")
    process.stop(timeout=0.5)
    assert not process.alive
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_ended_says_how(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo out of luck; exit 3"], tmp_path / "log")
    process.start()
    wait_until(lambda: not process.alive, SECONDS, "the end")
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 3.*out of luck"):
        process.check()


def test_free_ports_differ_and_are_free() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_two_processes_never_get_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    few = range(11_900, 11_940)
    script = f"""
from e2e.harness import process
process.PORTS = {few}
print(*(process.free_port() for _ in range(20)), flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        taken = {int(port) for port in other.stdout.readline().split()}
        monkeypatch.setattr("e2e.harness.process.PORTS", few)
        ours = {free_port() for _ in range(10)}
        other.kill()
    assert len(taken) == 20
    assert not taken & ours


def test_a_process_that_ends_before_it_serves_says_why(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo out of luck; exit 3"], tmp_path / "log")
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 3.*out of luck"):
        process.start_serving(f"http://127.0.0.1:{free_port()}", "luck")


def test_a_process_that_never_serves_shows_its_log(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo still warming up; sleep 60"], tmp_path / "log")
    process.start()
    wait_until(process.tail, SECONDS, "the log")
    with pytest.raises(TimeoutError, match="the warmth") as raised:
        process.start_serving(f"http://127.0.0.1:{free_port()}", "the warmth", 0.2)
    process.kill()
    assert raised.value.__notes__ == ["still warming up"]


def test_waiting_in_vain_names_what_was_awaited() -> None:
    with pytest.raises(TimeoutError, match="a blue moon"):
        wait_until(lambda: None, 0.1, "a blue moon")


def test_prometheus_answers_over_backfilled_samples(prometheus: Prometheus) -> None:
    now = int(time.time())
    lines = [f'agent_queue_depth{{pod="a-1"}} {second // 10} {now - 3600 + second}' for second in range(0, 3000, 10)]
    prometheus.backfill("\n".join(["# TYPE agent_queue_depth gauge", *lines, "# EOF", ""]))
    [series] = prometheus.query("count_over_time(agent_queue_depth[2h])")
    assert series["metric"] == {"pod": "a-1"}
    assert float(series["value"][1]) == 300
    [series] = prometheus.query("agent_queue_depth", time=now - 3600 + 1000)
    assert float(series["value"][1]) == 100


def test_a_bad_backfill_is_refused_with_the_reason(prometheus: Prometheus) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        prometheus.backfill("what is this\n")
    assert raised.value.__notes__ != [""]


def test_a_refused_query_says_why(prometheus: Prometheus) -> None:
    with pytest.raises(requests.HTTPError, match="parse error"):
        prometheus.query("sum(")


class Exporter(http.server.BaseHTTPRequestHandler):
    """A pod's /metrics and the service discovery that names it."""

    metrics = """# TYPE agent_queue_wait_seconds histogram
agent_queue_wait_seconds_bucket{le="0.5"} 3
agent_queue_wait_seconds_bucket{le="1"} 4
agent_queue_wait_seconds_bucket{le="+Inf"} 4
agent_queue_wait_seconds_sum 2
agent_queue_wait_seconds_count 4
"""

    def do_GET(self) -> None:
        address = self.headers["Host"]
        labels = {"job": "agents", "namespace": "ns", "pod": "a-1"}
        body, content_type = self.metrics, "text/plain; version=0.0.4"
        if self.path == "/sd":
            body, content_type = json.dumps([{"targets": [address], "labels": labels}]), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def exporter() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/sd"
        finally:
            server.shutdown()
            thread.join()


def test_discovered_targets_keep_their_labels_and_native_histograms_stand_beside_classic_ones() -> None:
    with exporter() as url, Prometheus(scrape_interval_seconds=1, http_sd_urls=[url], native_histograms=True) as server:
        [native] = wait_until(lambda: server.query("agent_queue_wait_seconds"), SECONDS, "the first scrape")
        assert {key: native["metric"][key] for key in ("job", "namespace", "pod")} == {
            "job": "agents",
            "namespace": "ns",
            "pod": "a-1",
        }
        assert native["histogram"][1]["count"] == "4"
        assert len(server.query("agent_queue_wait_seconds_bucket")) == 3


def test_prometheus_keeps_its_series_over_a_kill() -> None:
    with exporter() as url, Prometheus(scrape_interval_seconds=1, http_sd_urls=[url]) as server:
        assert wait_until(lambda: server.query("up"), SECONDS, "the first scrape")
        before = server.url
        server.process.kill()
        assert not server.ready()
        server.process.start()
        server.wait_ready()
        assert server.url == before
        assert server.query("count_over_time(up[5m])")


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
