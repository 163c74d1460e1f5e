"""What people do with kubectl: scale, edit, pause, ask for advice, adopt, mend by hand, delete."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from e2e.harness.administrator import is_true
from e2e.kind import images, operator, workload
from e2e.kind.load import PodLoad
from e2e.scenarios.shell import refusal, type_in
from e2e.scenarios.steps import change, condition, wait_pods, wait_ready
from e2e.scenarios.targets import adopting, foreign, pods_in, revision, settings_path, standing, wait, wait_decided
from e2e.scenarios.together import side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

FIRST_WORKERS = 2
WORKERS = {"min": FIRST_WORKERS, "max": 12, "initial": FIRST_WORKERS}


def wait_size(cluster: KindCluster, namespace: str, name: str, size: int) -> None:
    """Wait until an AgentDeployment has so many pods, and says so."""

    def has() -> bool:
        status = cluster.agent_deployment(namespace, name).get("status") or {}
        return len(cluster.pods_of(namespace, name)) == size and status.get("replicas") == size

    wait(has, f"{name} with {size} pods")


def settings(cluster: KindCluster, namespace: str, name: str) -> dict[str, Any]:
    """What the agents of an AgentDeployment read."""
    found: dict[str, Any] = json.loads(cluster.get(settings_path(namespace, name))["data"]["tuning.json"])
    return found


def gone(cluster: KindCluster, path: str) -> bool:
    return cluster.request("GET", path).status_code == 404


@side_by_side
def test_kubectl_scale_sets_the_size_in_auto_and_in_off_and_zero_means_zero(
    cluster: KindCluster, namespace: str
) -> None:
    modes = ("Auto", "Off")
    for mode in modes:
        tuning = {"replicas": {"mode": mode, "min": 1, "max": 6}}
        agd = workload.agent_deployment(mode.lower(), standing(), tuning=tuning)
        cluster.apply(workload.in_namespace(namespace, agd))
    for mode in modes:
        wait_size(cluster, namespace, mode.lower(), 1)
    for size in (3, 0, 2):
        for mode in modes:
            type_in(cluster, f"kubectl scale agd/{mode.lower()} --namespace {namespace} --replicas={size}")
        for mode in modes:
            wait_size(cluster, namespace, mode.lower(), size)
    for mode in modes:
        assert condition(cluster, namespace, mode.lower(), "Conflict")["status"] == "False"


@side_by_side
def test_an_edited_policy_is_followed_and_a_deleted_object_takes_its_pods_along(
    cluster: KindCluster, namespace: str
) -> None:
    name = "edited"
    tuning = {"replicas": {"min": 1, "max": 6}, "workers": WORKERS}
    cluster.apply(workload.in_namespace(namespace, workload.agent_deployment(name, standing(), tuning=tuning)))
    wait_size(cluster, namespace, name, 1)
    assert settings(cluster, namespace, name)["workers"]["maxConcurrent"] == FIRST_WORKERS

    edit = f"kubectl edit agd {name} --namespace {namespace}"
    type_in(
        cluster, f"""KUBE_EDITOR="sed -i 's/min: 1$/min: 3/; s/min: 2$/min: 5/; s/initial: 2$/initial: 5/'" {edit}"""
    )
    wait_size(cluster, namespace, name, 3)
    wait(lambda: settings(cluster, namespace, name)["workers"]["maxConcurrent"] == 5, "the new workers")
    patch = f"kubectl patch agd {name} --namespace {namespace} --type=merge --patch"
    said = refusal(cluster, f"""{patch} '{{"spec": {{"tuning": {{"replicas": {{"min": 7}}}}}}}}'""")
    assert "spec.tuning.replicas" in said
    assert revision(cluster, namespace, name) == 1

    type_in(cluster, f"kubectl delete agd {name} --namespace {namespace}")
    wait(lambda: not pods_in(cluster, namespace), "the end of the pods")
    for path in (settings_path(namespace, name), f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"):
        wait(partial(gone, cluster, path), f"the end of {path}")


@side_by_side
def test_a_paused_object_and_one_that_only_advises_move_nothing_under_load(
    cluster: KindCluster, namespace: str
) -> None:
    cache = {"min": "8Mi", "max": "32Mi"}
    tuning: dict[str, Any] = {"replicas": {"min": 1, "max": 2}, "workers": WORKERS, "cache": cache}
    advising = {knob: {**bounds, "mode": "Recommend"} for knob, bounds in tuning.items()}
    specs: dict[str, dict[str, Any]] = {
        "free": {"tuning": tuning},
        "paused": {"tuning": tuning},
        "advising": {"tuning": {**advising, "circuitBreaker": {"mode": "Recommend"}}},
    }
    template = workload.agent_pod()
    template["metadata"] = {"labels": {"crowd": "all"}}
    crowd = workload.service("crowd", {"crowd": "all"})
    objects = [workload.agent_deployment(name, template, **spec) for name, spec in specs.items()]
    cluster.apply(workload.in_namespace(namespace, *workload.upstream(), crowd, *objects))
    names = {name: wait_ready(cluster, namespace, name, 1)[0] for name in specs}

    def workers(name: str) -> float:
        return cluster.metric(namespace, names[name], "agent_worker_limit")

    def size(name: str) -> int:
        return int(cluster.deployment(namespace, name)["spec"]["replicas"])

    before = {name: workers(name) for name in specs}
    assert set(before.values()) == {FIRST_WORKERS}
    change(cluster, namespace, "paused", {"paused": True})
    wait_decided(cluster, namespace, "paused", times=2)
    with PodLoad(cluster, namespace, "crowd", rate_per_second=15, max_duration_seconds=1800, timeout_seconds=120):
        wait(lambda: workers("free") > before["free"], "more workers of the free one")
        wait(lambda: size("free") == 2, "its replicas")

        def advice() -> dict[str, Any]:
            found = cluster.agent_deployment(namespace, "advising")["status"].get("recommended") or {}
            return found if found.get("workers", 0) > before["advising"] and found.get("replicas") == 2 else {}

        print(f"advice: {wait(advice, 'advice as the free one has it')}")
        for name in ("paused", "advising"):
            assert workers(name) == before[name]
            assert size(name) == 1

        change(cluster, namespace, "paused", {"paused": False})
        wait(lambda: workers("paused") > before["paused"], "more workers after the pause")
    assert revision(cluster, namespace, "advising") == 1


@side_by_side
def test_an_adopted_deployment_is_tuned_if_it_mounts_the_settings_and_outlives_its_agent_deployment(
    cluster: KindCluster, namespace: str
) -> None:
    replicas = {"min": 2, "max": 3}
    cluster.apply(
        workload.in_namespace(
            namespace,
            foreign("mounting", settings_of="adopter"),
            foreign("bare"),
            adopting("adopter", "mounting", tuning={"replicas": replicas, "workers": {"min": 3, "max": 3}}),
            adopting("stranger", "bare", tuning={"replicas": replicas}),
        )
    )
    for target in ("mounting", "bare"):
        wait_pods(cluster, namespace, f"app={target}", 2)
    wait(lambda: is_true(cluster.agent_deployment(namespace, "adopter"), "Ready"), "Ready")

    def limits() -> set[float]:
        pods = [pod["metadata"]["name"] for pod in cluster.pods(namespace, "app=mounting")]
        return {cluster.metric(namespace, pod, "agent_worker_limit") for pod in pods}

    wait(lambda: limits() == {3}, "the workers of the settings in both pods")  # Ready may be older than the second

    def missing() -> dict[str, Any]:
        found = condition(cluster, namespace, "stranger", "Delivered")
        return found if found.get("reason") == "NotMounted" else {}

    told = wait(missing, "word of the missing mount")["message"]
    assert "stranger-settings" in told
    assert "/etc/agentscaler" in told

    targets = ("mounting", "bare")
    before = [cluster.deployment(namespace, target)["spec"] for target in targets], pods_in(cluster, namespace)
    type_in(cluster, f"kubectl delete agd adopter stranger --namespace {namespace}")
    # Another object that comes and gets its pod: the operator has had time to do harm.
    cluster.apply(workload.in_namespace(namespace, workload.agent_deployment("later", standing())))
    wait_size(cluster, namespace, "later", 1)
    later = {pod["metadata"]["uid"] for pod in cluster.pods_of(namespace, "later")}
    after = [cluster.deployment(namespace, target)["spec"] for target in targets], pods_in(cluster, namespace) - later
    assert after == before
    assert settings(cluster, namespace, "adopter")["workers"]["maxConcurrent"] == 3


@side_by_side
def test_what_is_edited_or_deleted_by_hand_comes_back(cluster: KindCluster, namespace: str) -> None:
    name = "mended"
    cluster.apply(workload.in_namespace(namespace, workload.agent_deployment(name, workload.agent_pod())))
    (pod,) = wait_ready(cluster, namespace, name, 1)
    where = f"--namespace {namespace}"
    template = cluster.deployment(namespace, name)["spec"]["template"]
    told = {key: value for key, value in settings(cluster, namespace, name).items() if key != "generation"}

    def as_told() -> bool:
        path = settings_path(namespace, name)
        return not gone(cluster, path) and told.items() <= settings(cluster, namespace, name).items()

    # The content of the file, then the file.
    garbage = """'{"data": {"tuning.json": "{}"}}'"""
    type_in(cluster, f"kubectl patch configmap {name}-settings {where} --type=merge --patch {garbage}")
    wait(as_told, "the settings as they were")
    type_in(cluster, f"kubectl delete configmap {name}-settings {where}")
    wait(as_told, "the ConfigMap")
    assert wait_ready(cluster, namespace, name, 1) == [pod]

    # A part of the template, then the Deployment.
    type_in(cluster, f"kubectl set image deployment/{name} {where} agent={images.AGENT}-wrong")
    wait(lambda: cluster.deployment(namespace, name)["spec"]["template"] == template, "the template")
    assert wait_ready(cluster, namespace, name, 1) == [pod]
    type_in(cluster, f"kubectl delete deployment {name} {where}")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    wait(lambda: not gone(cluster, path), "the Deployment")
    # The pod of the deleted one is Ready until the garbage collector has come to it.
    wait(lambda: pod not in {each["metadata"]["name"] for each in cluster.pods_of(namespace, name)}, "its end")
    wait_ready(cluster, namespace, name, 1)
    wait(lambda: operator.records(cluster, namespace, name), "the records")
