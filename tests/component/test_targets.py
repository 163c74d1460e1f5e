"""What is live, read from a real API server."""

from __future__ import annotations

import time

import pytest

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.live import Live
from agentscaler.kube.paths import DEPLOYMENTS
from agentscaler.kube.targets import Targets
from agentscaler.kube.workload import MANAGER, SCALE_MANAGER
from e2e.harness.cluster import ControlPlane
from tests.component.targets_stage import TEMPLATE, World, eventually


def is_at_rest(live: Live, replicas: int) -> bool:
    """Whether it was read as it is now that nothing changes any more."""
    facts = live.deployment
    known = live.adopted or live.configmap is not None
    return facts is not None and not facts.changing and live.ready_replicas == replicas and known


async def test_what_we_own_is_read_with_its_facts(world: World) -> None:
    world.agent("one")
    assert (await world.live())["one"].deployment is None
    await world.make("one", replicas=2)
    world.ready("one", 2)
    live = (await eventually(world.live, lambda seen: is_at_rest(seen["one"], 2), "two ready pods"))["one"]
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


async def test_the_grace_of_running_work_is_that_of_the_live_pod_template(world: World) -> None:
    patient = {"spec": {**TEMPLATE["spec"], "terminationGracePeriodSeconds": 120}}
    for name, template in (("short", TEMPLATE), ("long", patient)):
        world.deployment(name, template)
        world.agent(name, scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": name})
        world.ready(name, 1)
    lives = await eventually(world.live, lambda seen: all(live.deployment for live in seen.values()), "both targets")
    grace = {name: live.target(restart_delivery=False).grace_seconds for name, live in lives.items()}
    assert grace == {"short": 30.0, "long": 120.0}


async def test_pods_are_listed_while_the_size_changes_and_when_asked_for(world: World) -> None:
    world.agent("one")
    record = await world.make("one", replicas=1)
    world.ready("one", 1)
    lives = await eventually(world.live, lambda seen: is_at_rest(seen["one"], 1), "a ready pod")
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
    await eventually(world.live, lambda seen: all(is_at_rest(live, 1) for live in seen.values()), "all ready")
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
