"""What is live, read from a real API server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.kube.api import KubeApi
from agentscaler.kube.conflicts import ScaleTarget
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.live import Live
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from agentscaler.kube.store import Record, Store
from agentscaler.kube.targets import Targets
from agentscaler.kube.workload import MANAGER, SCALE_MANAGER, config_map, deployment, owner_of
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until

TEMPLATE = {
    "spec": {
        "containers": [
            {"name": "agent", "image": "agent:1", "resources": {"limits": {"memory": "256Mi", "cpu": "500m"}}}
        ]
    }
}


@pytest.fixture
async def api(cluster: ControlPlane) -> AsyncIterator[KubeApi]:
    api = KubeApi(load_configuration(str(cluster.kubeconfig)))
    yield api
    api.close()


class World:
    """One namespace, its records, and what `Targets` says of them."""

    def __init__(self, cluster: ControlPlane, api: KubeApi, namespace: str) -> None:
        self.cluster = cluster
        self.api = api
        self.namespace = namespace
        self.targets = Targets(api, [namespace])

    def agent(self, name: str, **spec: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "agentscaler.dev/v1alpha1",
                "kind": "AgentDeployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": spec or {"template": TEMPLATE},
            }
        )

    def deployment(self, name: str, template: dict[str, Any] | None = None, replicas: int = 1) -> None:
        spec = (template or TEMPLATE)["spec"]
        self.cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
                },
            }
        )

    async def records(self) -> dict[str, Record]:
        store = Store()
        store.resync(await self.api.list(AGENT_DEPLOYMENTS.path(self.namespace), resource_version=""))
        return {record.name: record for record in store.snapshot()}

    async def live(self, now: float | None = None, **options: Any) -> dict[str, Live]:
        records = await self.records()
        lives = await self.targets.list(tuple(records.values()), now=time.time() if now is None else now, **options)
        return {name: lives[record.uid] for name, record in records.items()}

    async def make(self, name: str, replicas: int = 1) -> Record:
        """What the actuator makes."""
        record = (await self.records())[name]
        await self.api.create(
            DEPLOYMENTS.path(self.namespace), deployment(record, replicas=replicas), field_manager=MANAGER
        )
        await self.api.create(
            CONFIG_MAPS.path(self.namespace),
            config_map(record, owner_of(record), '{"generation":4}'),
            field_manager=MANAGER,
        )
        return record

    async def scale(self, name: str, replicas: int, manager: str) -> None:
        path = DEPLOYMENTS.path(self.namespace, name, "scale")
        await self.api.patch(path, {"spec": {"replicas": replicas}}, field_manager=manager)

    def ready(self, name: str, replicas: int) -> None:
        def settled() -> bool:
            found = self.cluster.get(DEPLOYMENTS.path(self.namespace, name))
            status = found["status"]
            counts = (status.get("replicas", 0), status.get("readyReplicas", 0), status.get("updatedReplicas", 0))
            return counts == (replicas,) * 3 and status["observedGeneration"] == found["metadata"]["generation"]

        wait_until(settled, 30, f"{replicas} ready pods of {name}")


@pytest.fixture
def world(cluster: ControlPlane, api: KubeApi, namespace: str) -> World:
    return World(cluster, api, namespace)


async def eventually(read: Callable[[], Any], condition: Callable[[Any], bool], what: str) -> Any:
    """Read again until the condition holds: `resourceVersion=0` may lag behind a write."""
    deadline = time.monotonic() + 20
    while not condition(seen := await read()):
        assert time.monotonic() < deadline, f"never saw {what}, but {seen}"
    return seen


async def test_what_we_own_is_read_with_its_facts(world: World) -> None:
    world.agent("one")
    assert (await world.live())["one"].deployment is None
    await world.make("one", replicas=2)
    world.ready("one", 2)
    live = (await eventually(world.live, lambda seen: seen["one"].ready_replicas == 2, "two ready pods"))["one"]
    facts = live.deployment
    assert facts is not None
    assert facts.owned
    assert not facts.changing
    assert (facts.replicas, facts.ready, facts.selector) == (2, 2, "agentscaler.dev/name=one")
    assert facts.applied_hash
    assert facts.template_fingerprint
    assert live.settings_mounted
    assert live.configmap is not None
    assert (live.configmap.ours, live.configmap.generation, live.configmap.tuning) == (True, 4, '{"generation":4}')
    target = live.target(restart_delivery=False)
    assert (target.memory_limit_bytes, target.cpu_limit_cores) == (256 * 2**20, 0.5)
    assert (target.replicas, target.ready_replicas, target.rolling_out, target.pods) == (2, 2, False, ())
    assert live.problems == ()


async def test_pods_are_listed_while_the_size_changes_and_when_asked_for(world: World) -> None:
    world.agent("one")
    record = await world.make("one", replicas=1)
    world.ready("one", 1)
    lives = await eventually(world.live, lambda seen: seen["one"].ready_replicas == 1, "a ready pod")
    assert not lives["one"].pods_known
    asked = (await world.live(pods_for={record.uid}))["one"]
    assert [pod.ready for pod in asked.pods] == [True]
    assert asked.pods[0].ready_at is not None
    assert asked.pods[0].created_at <= asked.pods[0].ready_at <= time.time() + 1
    world.cluster.kwok.kill()
    try:
        await world.scale("one", 3, SCALE_MANAGER)
        lives = await eventually(world.live, lambda seen: len(seen["one"].pods) == 3, "three pods")
    finally:
        world.cluster.kwok.start()
    assert sorted(pod.ready for pod in lives["one"].pods) == [False, False, True]
    assert len(lives["one"].target(restart_delivery=False).pods) == 3
    world.ready("one", 3)


async def test_pods_of_an_older_replica_set_do_not_count(world: World) -> None:
    world.agent("one")
    record = await world.make("one", replicas=2)
    world.ready("one", 2)
    world.cluster.kwok.kill()
    try:
        changed = {"spec": {"containers": [{**TEMPLATE["spec"]["containers"][0], "image": "agent:2"}]}}
        path = DEPLOYMENTS.path(world.namespace, "one")
        await world.api.patch(path, {"spec": {"template": changed}}, field_manager=MANAGER)
        lives = await eventually(
            world.live, lambda seen: any(pod.current for pod in seen["one"].pods), "a pod of the new ReplicaSet"
        )
    finally:
        world.cluster.kwok.start()
    live = lives["one"]
    assert live.target(restart_delivery=False).rolling_out
    assert live.ready_replicas == 0
    assert sum(pod.ready for pod in live.pods) >= 1, "the old ones are ready, and do not count"
    assert record.uid in {owner["uid"] for owner in world.cluster.get(path)["metadata"]["ownerReferences"]}
    world.ready("one", 2)


@pytest.mark.parametrize("objects", [1, 12])
async def test_at_rest_a_tick_takes_at_most_four_requests(world: World, objects: int) -> None:
    for number in range(objects):
        world.agent(f"o{number}")
        await world.make(f"o{number}")
    for number in range(objects):
        world.ready(f"o{number}", 1)
    world.deployment("adopted")
    world.agent("a", scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "adopted"})
    world.ready("adopted", 1)
    await eventually(world.live, lambda seen: all(live.ready_replicas == 1 for live in seen.values()), "all ready")
    records = tuple((await world.records()).values())
    fresh = Targets(world.api, [world.namespace])
    for _ in range(4):
        before = world.api.requests.total()
        lives = await fresh.list(records, now=time.time())
        assert len(lives) == objects + 1
        assert world.api.requests.total() - before <= 4


async def test_many_changing_objects_share_one_list_of_pods(world: World) -> None:
    names = [f"o{number}" for number in range(6)]
    for name in names:
        world.agent(name)
        await world.make(name)
    records = tuple((await world.records()).values())
    for name in names:
        world.ready(name, 1)
    before = world.api.requests["list", "pods"]
    lives = await world.targets.list(records, now=time.time(), pods_for={record.uid for record in records})
    assert world.api.requests["list", "pods"] - before == 1
    assert [[pod.name.startswith(record.name) for pod in lives[record.uid].pods] for record in records] == [[True]] * 6


async def test_an_adopted_deployment_is_checked(world: World) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    world.agent("mine", scaleTargetRef=reference)
    problems = (await world.live())["mine"].problems
    assert [(p.type, p.status, p.reason) for p in problems] == [
        (ConditionType.ABLE_TO_SCALE, False, Reason.TARGET_NOT_FOUND)
    ]
    assert "theirs" in problems[0].message
    container = {
        "name": "web",
        "image": "agent:1",
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/agentscaler"}],
    }
    volume = {"name": "settings", "configMap": {"name": "mine-settings", "optional": True}}
    world.deployment("theirs", {"spec": {"containers": [container], "volumes": [volume]}}, replicas=3)
    live = (await eventually(world.live, lambda seen: seen["mine"].deployment is not None, "the target"))["mine"]
    assert live.deployment is not None
    assert (live.container, live.settings_mounted, live.problems) == ("web", True, ())
    assert live.target(restart_delivery=False).adopted
    assert (live.deployment.owned, live.deployment.replicas, live.deployment.container_limits["web"].memory_bytes) == (
        False,
        3,
        None,
    )
    world.agent("mine", scaleTargetRef=reference, container="agent")
    live = (await world.live())["mine"]
    assert [p.reason for p in live.problems] == [Reason.CONTAINER_NOT_FOUND]
    assert "web" in live.problems[0].message
    assert not live.settings_mounted


async def test_what_carries_our_label_under_another_owner_is_taken(world: World) -> None:
    world.agent("one")
    record = await world.make("one")
    path = DEPLOYMENTS.path(world.namespace, "one")
    await world.api.patch(path, {"metadata": {"ownerReferences": None}}, field_manager="somebody")
    lives = await eventually(world.live, lambda seen: bool(seen["one"].problems), "the problem")
    assert [p.reason for p in lives["one"].problems] == [Reason.NAME_TAKEN]
    assert lives["one"].deployment is not None
    assert not lives["one"].deployment.owned
    assert record.uid


async def test_an_autoscaler_on_the_target_is_a_conflict_until_it_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentscaler.kube.conflicts.AUTOSCALERS_EVERY_SECONDS", 0.0)
    world.agent("one")
    await world.make("one")
    assert (await world.live())["one"].conflict is None
    path = f"/apis/autoscaling/v2/namespaces/{world.namespace}/horizontalpodautoscalers"

    def hpa(kind: str, version: str) -> dict[str, Any]:
        return {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "cpu"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": "one"}},
        }

    await world.api.create(path, hpa("Deployment", "apps/v1"), field_manager="test")
    lives = await eventually(world.live, lambda seen: seen["one"].conflict is not None, "the conflict")
    conflict = lives["one"].conflict
    assert conflict is not None
    assert conflict.reason is Reason.FOREIGN_AUTOSCALER
    assert f"HorizontalPodAutoscaler {world.namespace}/cpu" in conflict.message
    assert lives["one"].target(restart_delivery=False).conflict
    await world.api.delete(f"{path}/cpu")
    await eventually(world.live, lambda seen: seen["one"].conflict is None, "the end of the conflict")

    await world.api.create(path, hpa("AgentDeployment", "agentscaler.dev/v1alpha1"), field_manager="test")
    lives = await eventually(world.live, lambda seen: seen["one"].conflict is not None, "the conflict on ourselves")
    assert "tuning.replicas.mode" in str(lives["one"].conflict)
    world.agent("one", template=TEMPLATE, tuning={"replicas": {"mode": "Off"}})
    assert (await world.live())["one"].conflict is None, "an HPA may drive spec.replicas where the mode is not Auto"


async def test_a_scaled_object_on_the_target_is_a_conflict_under_its_own_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentscaler.kube.conflicts.AUTOSCALERS_EVERY_SECONDS", 0.0)
    names = {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh",
            "scope": "Namespaced",
            "names": names,
            "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": schema}],
        },
    }
    world.cluster.apply(definition)
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/scaledobjects.keda.sh"
    path = f"/apis/keda.sh/v1alpha1/namespaces/{world.namespace}/scaledobjects"
    try:
        wait_until(lambda: world.cluster.request("GET", path).ok, 20, "the kind")
        world.agent("one")
        await world.make("one")
        body = {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "queue"},
            "spec": {"scaleTargetRef": {"name": "one"}},  # apps/v1 Deployment unless it says otherwise
        }
        await world.api.create(path, body, field_manager="test")
        lives = await eventually(world.live, lambda seen: seen["one"].conflict is not None, "the conflict")
        conflict = lives["one"].conflict
        assert conflict is not None
        assert f"ScaledObject {world.namespace}/queue" in conflict.message
    finally:
        world.cluster.request("DELETE", crd)
        wait_until(lambda: world.cluster.request("GET", path).status_code == 404, 20, "the end of the kind")


async def test_a_kind_that_is_not_installed_is_not_asked_for_again(world: World) -> None:
    world.agent("one")
    for _ in range(5):
        await world.live()
    assert world.api.requests["list", "scaledobjects.keda.sh"] == 1
    assert world.targets._autoscalers.of(ScaleTarget(world.namespace, "apps", "Deployment", "one")) == ""


async def test_one_foreign_write_is_a_size_and_two_are_a_conflict(world: World) -> None:
    world.agent("one")
    await world.make("one")
    await eventually(world.live, lambda seen: seen["one"].deployment is not None, "the Deployment")

    async def scaled(replicas: int) -> Live:
        world.cluster.kubectl("-n", world.namespace, "scale", "deployment/one", f"--replicas={replicas}")
        lives = await eventually(
            world.live,
            lambda seen: seen["one"].deployment is not None and seen["one"].deployment.replicas == replicas,
            f"{replicas} replicas",
        )
        live: Live = lives["one"]
        return live

    assert (await scaled(4)).conflict is None
    await world.scale("one", 2, SCALE_MANAGER)
    world.targets.scaled((await world.records())["one"].uid, 2)
    conflict = (await scaled(4)).conflict
    if conflict is None:  # the LIST was older than our write: 4 was the size before it, too
        lives = await eventually(world.live, lambda seen: seen["one"].conflict is not None, "the conflict")
        conflict = lives["one"].conflict
    assert conflict is not None
    assert conflict.reason is Reason.FOREIGN_WRITER
    assert "kubectl" in conflict.message
    assert (await world.live(now=time.time() + 700))["one"].conflict is None, "it has stopped"


def has_size(replicas: int, lives: dict[str, Live]) -> bool:
    return lives["one"].target(restart_delivery=False).replicas == replicas


async def test_our_own_writes_are_not_foreign(world: World) -> None:
    world.agent("one")
    record = await world.make("one")
    await eventually(world.live, lambda seen: seen["one"].deployment is not None, "the Deployment")
    for replicas in (3, 1, 2):
        await world.scale("one", replicas, SCALE_MANAGER)
        world.targets.scaled(record.uid, replicas)
        lives = await eventually(world.live, partial(has_size, replicas), "our size")
        assert lives["one"].conflict is None


async def test_of_two_on_one_target_the_newer_yields(world: World) -> None:
    world.agent("old")
    record = await world.make("old")
    wait_until(lambda: time.time() > int(record.created_at) + 2, 5, "a later creation time")
    world.agent("new", scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "old"})
    records = await world.records()
    lives = await world.targets.list([records["new"]], now=time.time(), among=records.values())
    conflict = lives[records["new"].uid].conflict
    assert conflict is not None
    assert (conflict.reason, f"{world.namespace}/old" in conflict.message) == (Reason.TARGET_SHARED, True)
    assert (await world.live())["old"].conflict is None
    world.cluster.kubectl("-n", world.namespace, "delete", "agd/old", "--cascade=orphan")
    assert (await world.live())["new"].conflict is None


async def test_what_rbac_forbids_is_named_and_nothing_is_concluded(world: World, cluster: ControlPlane) -> None:
    world.agent("one")
    await world.make("one")
    cluster.kubectl("-n", world.namespace, "create", "serviceaccount", "weak")
    weak = KubeApi(load_configuration(str(cluster.user_kubeconfig(world.namespace, "weak"))))
    try:
        records = await world.records()
        live = (await Targets(weak, [world.namespace]).list(tuple(records.values()), now=time.time()))[
            records["one"].uid
        ]
    finally:
        weak.close()
    assert not live.known
    assert live.deployment is None
    (problem,) = live.problems
    assert (problem.type, problem.status, problem.reason) == (ConditionType.ABLE_TO_SCALE, None, Reason.FORBIDDEN)
    assert f"may not list deployments.apps in namespace {world.namespace}" in problem.message
    assert f"may not list configmaps in namespace {world.namespace}" in problem.message
    assert 'resources ["deployments"], verbs ["list"]' in problem.message


async def test_an_api_server_that_is_away_leaves_everything_unknown_and_comes_back(world: World) -> None:
    world.agent("one")
    await world.make("one")
    records = tuple((await world.records()).values())
    world.cluster.apiserver.kill()
    try:
        lives = await world.targets.list(records, now=time.time())
    finally:
        world.cluster.apiserver.start()
        world.cluster.wait_ready()
    live = lives[records[0].uid]
    assert (live.known, live.deployment) == (False, None)
    assert [p.reason for p in live.problems] == [Reason.TARGET_UNAVAILABLE]
    await eventually(world.live, lambda seen: seen["one"].known and seen["one"].deployment is not None, "it again")
