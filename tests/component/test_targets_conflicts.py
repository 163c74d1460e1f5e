"""Who else drives a target."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.kube.conflicts import ScaleTarget
from agentscaler.kube.live import Live
from agentscaler.kube.workload import SCALE_MANAGER
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.targets_stage import TEMPLATE, World, eventually


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
        wait_until(lambda: world.cluster.request("GET", path).ok, PATIENCE_SECONDS, "the kind")
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
        wait_until(
            lambda: world.cluster.request("GET", path).status_code == 404, PATIENCE_SECONDS, "the end of the kind"
        )


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
    wait_until(lambda: time.time() > int(record.created_at) + 2, PATIENCE_SECONDS, "a later creation time")
    world.agent("new", scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "old"})
    records = await world.records()
    lives = await world.targets.list([records["new"]], now=time.time(), among=records.values())
    conflict = lives[records["new"].uid].conflict
    assert conflict is not None
    assert (conflict.reason, f"{world.namespace}/old" in conflict.message) == (Reason.TARGET_SHARED, True)
    assert (await world.live())["old"].conflict is None
    world.cluster.kubectl("-n", world.namespace, "delete", "agd/old", "--cascade=orphan")
    assert (await world.live())["new"].conflict is None
