"""The fleet: real agent processes for the pods of a real API server, and the load on them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from e2e.harness.cluster import ControlPlane
from e2e.harness.fleet import Fleet
from e2e.harness.load import Load
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, wait_until
from e2e.harness.prometheus import Prometheus
from e2e.harness.upstream import Upstream

SCALE = ["--time-scale", "0.05", "--memory-scale", "0.05"]
SETTINGS = {"name": "settings", "configMap": {"name": "settings"}}
OPTIONAL_SETTINGS = {"name": "settings", "configMap": {"name": "settings", "optional": True}}

Deploy = Callable[..., None]


@pytest.fixture(scope="module")
def upstream_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Upstream(tmp_path_factory.mktemp("upstream")) as upstream:
        yield upstream.url


@pytest.fixture
def fleet(cluster: ControlPlane, namespace: str, upstream_url: str) -> Iterator[Fleet]:
    with Fleet(cluster.kubeconfig, upstream_url, namespace=namespace) as running:
        yield running


@pytest.fixture
def deploy(cluster: ControlPlane, namespace: str) -> Deploy:
    def apply(name: str, replicas: int, *, volumes: tuple[dict[str, Any], ...] = (), **container: Any) -> None:
        labels = {"app": name, "agentscaler.dev/process": "true"}
        container = {
            "name": "agent",
            "image": "agent",
            "args": SCALE,
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
            "volumeMounts": [{"name": v["name"], "mountPath": "/etc/agentscaler"} for v in volumes],
            **container,
        }
        cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [container], "volumes": list(volumes)},
                    },
                },
            }
        )

    return apply


def settings(namespace: str, generation: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": namespace},
        "data": {"tuning.json": f'{{"generation": {generation}}}'},
    }


def endpoints(fleet: Fleet, namespace: str, name: str, count: int) -> dict[str, str]:
    def ready() -> dict[str, str] | None:
        found = fleet.endpoints(namespace, name)
        return dict(found) if len(found) == count else None

    return wait_until(ready, PATIENCE_SECONDS, f"{count} ready endpoints of {name}")


def scale(cluster: ControlPlane, namespace: str, name: str, replicas: int) -> None:
    cluster.kubectl("scale", "-n", namespace, f"deployment/{name}", f"--replicas={replicas}")


def ready_replicas(cluster: ControlPlane, namespace: str, name: str) -> int:
    status = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")["status"]
    return int(status.get("readyReplicas", 0))


def mounted(cluster: ControlPlane, fleet: Fleet, namespace: str, pod: str) -> Path:
    uid: str = cluster.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")["metadata"]["uid"]
    return fleet.directory / "pods" / uid / "settings" / "tuning.json"


def test_each_pod_of_a_deployment_is_a_process_that_answers(
    cluster: ControlPlane, namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    deploy("researcher", 3)
    ready = endpoints(fleet, namespace, "researcher", 3)
    for url in ready.values():
        assert requests.get(f"{url}/readyz", timeout=REQUEST_SECONDS).ok
    pids = {pod["pid"] for pod in fleet.stats()["pods"].values()}
    assert len(pids) == 3
    assert all(psutil.pid_exists(pid) for pid in pids)
    pods = cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    assert ready.keys() == {pod["metadata"]["name"] for pod in pods}


def test_scale_in_drains_without_losing_a_request(
    cluster: ControlPlane, namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    deploy("researcher", 3)
    endpoints(fleet, namespace, "researcher", 3)
    with Load(fleet.url, namespace, "researcher", rate_per_second=8, max_duration_seconds=60) as load:
        wait_until(lambda: len(load.stats()["by_pod"]) == 3, PATIENCE_SECONDS, "requests on all three")
        scale(cluster, namespace, "researcher", 1)
        wait_until(lambda: fleet.stats()["totals"]["pods"] == 1, PATIENCE_SECONDS, "two pods to go")
        after = time.time()
        wait_until(
            lambda: load.stats(since=after)["counts"]["ok"] > 5, PATIENCE_SECONDS, "requests on the one that stays"
        )
        load.set_rate(0)
        wait_until(lambda: load.stats()["in_flight"] == 0, PATIENCE_SECONDS, "the last answers")
        assert {record.status for record in load.records()} == {"ok"}
    totals = fleet.stats()["totals"]
    assert (totals["drained"], totals["drain_kills"], totals["lost_runs"]) == (2, 0, 0)
    assert len(cluster.get(f"/api/v1/namespaces/{namespace}/pods")["items"]) == 1


def test_a_touch_refreshes_the_mount_and_a_change_alone_does_not(
    cluster: ControlPlane, namespace: str, upstream_url: str, deploy: Deploy
) -> None:
    never = 100 * PATIENCE_SECONDS
    with Fleet(cluster.kubeconfig, upstream_url, namespace=namespace, refresh_seconds=never) as fleet:
        cluster.apply(settings(namespace, 1))
        deploy("researcher", 2, volumes=(SETTINGS,))
        touched, untouched = endpoints(fleet, namespace, "researcher", 2)
        files = {pod: mounted(cluster, fleet, namespace, pod) for pod in (touched, untouched)}
        assert all(file.read_text() == '{"generation": 1}' for file in files.values())

        cluster.apply(settings(namespace, 2))
        cluster.kubectl("annotate", "-n", namespace, f"pod/{touched}", "agentscaler.dev/touched=2")
        wait_until(lambda: files[touched].read_text() == '{"generation": 2}', PATIENCE_SECONDS, "the touched mount")
        assert files[untouched].read_text() == '{"generation": 1}'


def test_a_mount_is_refreshed_now_and_then_without_a_touch(
    cluster: ControlPlane, namespace: str, upstream_url: str, deploy: Deploy
) -> None:
    with Fleet(cluster.kubeconfig, upstream_url, namespace=namespace, refresh_seconds=1) as fleet:
        cluster.apply(settings(namespace, 1))
        deploy("researcher", 1, volumes=(SETTINGS,))
        (pod,) = endpoints(fleet, namespace, "researcher", 1)
        file = mounted(cluster, fleet, namespace, pod)
        cluster.apply(settings(namespace, 2))
        wait_until(lambda: file.read_text() == '{"generation": 2}', PATIENCE_SECONDS, "the refreshed mount")


def test_a_pod_waits_for_a_config_map_that_is_not_optional(
    cluster: ControlPlane, namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    deploy("researcher", 1, volumes=(OPTIONAL_SETTINGS,))
    deploy("writer", 1, volumes=(SETTINGS,))
    endpoints(fleet, namespace, "researcher", 1)

    def waiting() -> list[Any]:
        pods = fleet.stats()["pods"]
        return [pod for key, pod in pods.items() if key.startswith(f"{namespace}/writer-") and pod["waiting"]]

    (writer,) = wait_until(waiting, PATIENCE_SECONDS, "the pod without its ConfigMap")
    assert writer["waiting"] == 'configmap "settings" not found'
    assert writer["pid"] is None
    wait_until(
        lambda: ready_replicas(cluster, namespace, "researcher") == 1, PATIENCE_SECONDS, "the one that may start"
    )
    wait_until(lambda: ready_replicas(cluster, namespace, "writer") == 0, PATIENCE_SECONDS, "the one that may not")

    cluster.apply(settings(namespace, 1))
    endpoints(fleet, namespace, "writer", 1)
    wait_until(lambda: ready_replicas(cluster, namespace, "writer") == 1, PATIENCE_SECONDS, "both")


def test_a_process_above_its_memory_limit_is_killed_restarted_and_counted(
    cluster: ControlPlane, namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    slow = ["--time-scale", "1", "--memory-scale", "0.05"]  # a peak between two samples would go unseen
    deploy("researcher", 1, args=slow, resources={"limits": {"memory": "120Mi"}})
    ((name, url),) = endpoints(fleet, namespace, "researcher", 1).items()
    before = fleet.stats()["pods"][f"{namespace}/{name}"]
    assert before["memory_limit_bytes"] == 120 * 2**20
    assert 0 < before["rss_bytes"] < before["memory_limit_bytes"]

    with pytest.raises(requests.ConnectionError):
        requests.post(f"{url}/run", json={"memory_factor": 40}, timeout=PATIENCE_SECONDS)

    def again() -> dict[str, Any] | None:  # the connection breaks before the fleet has seen the end
        pod: dict[str, Any] = fleet.stats()["pods"][f"{namespace}/{name}"]
        return pod if pod["ready"] and pod["pid"] != before["pid"] else None

    after = wait_until(again, PATIENCE_SECONDS, "the next process")
    assert (after["restarts"], after["oom_kills"]) == (1, 1)
    assert fleet.stats()["totals"]["oom_kills"] == 1

    def told() -> bool:
        (status,) = cluster.get(f"/api/v1/namespaces/{namespace}/pods/{name}")["status"]["containerStatuses"]
        last = status.get("lastState", {}).get("terminated", {})
        return bool(status["restartCount"] == 1 and status["ready"] and last["reason"] == "OOMKilled")

    wait_until(told, PATIENCE_SECONDS, "the pod's status")


def test_a_run_that_outlives_the_grace_period_is_cut_and_counted(
    cluster: ControlPlane, namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    deploy("researcher", 1, args=["--time-scale", "100"])
    ((name, _),) = endpoints(fleet, namespace, "researcher", 1).items()
    pid = fleet.stats()["pods"][f"{namespace}/{name}"]["pid"]
    with Load(fleet.url, namespace, "researcher", rate_per_second=20, max_duration_seconds=0.5) as load:
        wait_until(lambda: load.stats()["in_flight"] > 0, PATIENCE_SECONDS, "a run")
        cluster.kubectl("delete", "pod", "-n", namespace, name, "--grace-period=3", "--wait=false")
        wait_until(lambda: load.stats()["counts"]["lost"] > 0, PATIENCE_SECONDS, "the cut run")
        wait_until(lambda: not psutil.pid_exists(pid), PATIENCE_SECONDS, "the end of the process")
    wait_until(lambda: f"{namespace}/{name}" not in fleet.stats()["pods"], PATIENCE_SECONDS, "the end of the pod")
    totals = fleet.stats()["totals"]
    assert (totals["drained"], totals["drain_kills"]) == (0, 1)
    assert totals["lost_runs"] > 0


def test_hidden_targets_vanish_from_prometheus_and_come_back(namespace: str, fleet: Fleet, deploy: Deploy) -> None:
    deploy("researcher", 1)
    deploy("writer", 1)
    endpoints(fleet, namespace, "researcher", 1)
    endpoints(fleet, namespace, "writer", 1)
    with Prometheus(scrape_interval_seconds=1, http_sd_urls=[fleet.sd_url]) as prometheus:

        def up() -> set[str]:
            found = prometheus.query(f'up{{job="agents", namespace="{namespace}", container="agent"}} == 1')
            return {sample["metric"]["pod"].split("-")[0] for sample in found}

        wait_until(lambda: up() == {"researcher", "writer"}, PATIENCE_SECONDS, "the series of both")
        fleet.hide(namespace, "researcher-")
        assert all(target["labels"]["pod"].startswith("writer-") for target in fleet.targets())
        wait_until(lambda: up() == {"writer"}, PATIENCE_SECONDS, "stale series")
        fleet.show()
        wait_until(lambda: up() == {"researcher", "writer"}, PATIENCE_SECONDS, "the series of both again")


def test_an_api_server_that_goes_away_ends_no_process_and_is_followed_again(
    cluster: ControlPlane, namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    deploy("researcher", 1)
    endpoints(fleet, namespace, "researcher", 1)
    pids = [pod["pid"] for pod in fleet.stats()["pods"].values()]
    cluster.apiserver.kill()
    try:
        assert [pod["pid"] for pod in fleet.stats()["pods"].values()] == pids
    finally:
        cluster.apiserver.start()
        cluster.wait_ready()
    scale(cluster, namespace, "researcher", 2)
    endpoints(fleet, namespace, "researcher", 2)
    assert set(pids) < {pod["pid"] for pod in fleet.stats()["pods"].values()}


def test_a_killed_fleet_leaves_no_agent_and_a_new_one_runs_the_pods_again(
    namespace: str, fleet: Fleet, deploy: Deploy
) -> None:
    deploy("researcher", 2)
    endpoints(fleet, namespace, "researcher", 2)
    pids = [pod["pid"] for pod in fleet.stats()["pods"].values()]
    fleet.process.kill()
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids), PATIENCE_SECONDS, "the end of the agents")
    fleet.start()
    endpoints(fleet, namespace, "researcher", 2)
