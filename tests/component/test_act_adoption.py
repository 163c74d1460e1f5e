"""Deployments that are not ours: adopted, left, adopted again."""

from __future__ import annotations

from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.act_stage import TEMPLATE, Stage


async def test_adoption_touches_no_template_and_deletion_leaves_target_and_settings(stage: Stage) -> None:
    volumes = [{"name": "s", "configMap": {"name": "one-settings", "optional": True}}]
    mounted = {**TEMPLATE["spec"]["containers"][0], "volumeMounts": [{"name": "s", "mountPath": "/etc/agentscaler"}]}
    stage.foreign_deployment("theirs", containers=[mounted], volumes=volumes)
    template = stage.deployment("theirs")["spec"]["template"]
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    stage.apply(scaleTargetRef=reference, tuning={"replicas": {"min": 3, "max": 5}})
    await stage.settle()
    assert stage.deployment("theirs")["spec"]["replicas"] >= 3
    assert stage.deployment("theirs")["spec"]["template"] == template
    uid = stage.deployment("theirs")["metadata"]["uid"]
    assert [owner["uid"] for owner in stage.config_map()["metadata"]["ownerReferences"]] == [uid]
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(stage.namespace, "one")).raise_for_status()
    wait_until(
        lambda: stage.find(AGENT_DEPLOYMENTS.path(stage.namespace, "one")) is None, PATIENCE_SECONDS, "the object gone"
    )
    await stage.tick(2)
    assert stage.deployment("theirs")["metadata"]["uid"] == uid
    assert stage.config_map()["data"]


async def test_a_pod_that_only_looks_like_one_of_the_target_is_left_alone(stage: Stage) -> None:
    stage.foreign_deployment("theirs", replicas=3)
    lookalike = {**TEMPLATE["spec"], "restartPolicy": "Always"}
    metadata = {"name": "canary", "namespace": stage.namespace, "labels": {"app": "theirs"}}
    stage.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": lookalike})
    stage.apply(
        scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"},
        tuning={"intervalSeconds": 5, "replicas": {"min": 1, "max": 5}},
    )
    await stage.tick(2)
    stage.agents.in_flight = {
        pod["metadata"]["name"]: 0.0 for pod in stage.pods("app=theirs") if pod["metadata"]["name"] != "canary"
    }
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=2")
    await stage.until(lambda: stage.deployment("theirs")["spec"]["replicas"] == 2, "two replicas")
    (canary,) = [pod for pod in stage.pods("app=theirs") if pod["metadata"]["name"] == "canary"]
    assert not any("deletion-cost" in key or "agentscaler" in key for key in canary["metadata"].get("annotations", ()))
    await stage.until(lambda: stage.deployment("theirs")["spec"]["replicas"] == 1, "one replica, by a saving")


async def test_an_adopted_target_without_the_mount_is_told_what_to_add(stage: Stage) -> None:
    stage.foreign_deployment("theirs")
    stage.apply(scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"})
    await stage.tick(2)
    delivered = stage.condition("Delivered")
    assert (delivered["status"], delivered["reason"]) == ("False", "NotMounted")
    assert "one-settings" in delivered["message"]
    assert "/etc/agentscaler" in delivered["message"]


async def test_a_missing_target_is_a_condition_that_goes_when_it_comes(stage: Stage) -> None:
    stage.apply(scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"})
    await stage.tick()
    assert stage.condition("Stalled")["reason"] == "TargetNotFound"
    stage.foreign_deployment("theirs")
    await stage.until(lambda: stage.conditions()["Stalled"] == "False", "Stalled gone")


async def test_a_second_adoption_goes_on_from_the_settings_of_the_first(stage: Stage) -> None:
    volumes = [{"name": "s", "configMap": {"name": "one-settings", "optional": True}}]
    mounted = {**TEMPLATE["spec"]["containers"][0], "volumeMounts": [{"name": "s", "mountPath": "/etc/agentscaler"}]}
    stage.foreign_deployment("theirs", containers=[mounted], volumes=volumes)
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    stage.apply(scaleTargetRef=reference, tuning={"workers": {"min": 11, "max": 20}})
    await stage.settle()
    was = stage.tuning()
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(stage.namespace, "one")).raise_for_status()
    wait_until(
        lambda: stage.find(AGENT_DEPLOYMENTS.path(stage.namespace, "one")) is None, PATIENCE_SECONDS, "the object gone"
    )
    stage.start()
    stage.apply(scaleTargetRef=reference, tuning={"workers": {"min": 11, "max": 20}})
    await stage.settle()
    assert stage.tuning() == was
