"""From decisions to a real API server: workloads, settings, replicas, status."""

from __future__ import annotations

import json

from agentscaler.api.status import AgentDeploymentStatus
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.act_stage import AT_LEAST_TWO, TEMPLATE, Stage


async def test_a_deployment_is_created_with_the_first_size_and_its_settings(stage: Stage) -> None:
    stage.apply(tuning=AT_LEAST_TWO)
    await stage.tick()
    made = stage.deployment()
    assert made["spec"]["replicas"] == 2
    assert made["metadata"]["generation"] == 1, "created as it is to be, in one write"
    pod = made["spec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == "one-settings"
    assert pod["volumes"][0]["configMap"]["optional"] is True
    assert pod["containers"][0]["volumeMounts"] == [{"name": "agentscaler-settings", "mountPath": "/etc/agentscaler"}]
    assert stage.tuning()["generation"] == 1
    await stage.settle()
    status = stage.status()
    assert status["readyReplicas"] == 2
    assert status["appliedGeneration"] == stage.tuning()["generation"]
    assert status["settings"]["workers"] == stage.tuning()["workers"]["maxConcurrent"]
    AgentDeploymentStatus.model_validate_json(json.dumps(status))


async def test_a_template_edited_at_17_replicas_keeps_17(stage: Stage) -> None:
    stage.apply(tuning={"replicas": {"min": 17, "max": 20}})
    await stage.tick()
    # The size has not been changed since the creation: it still belongs to the manager that applied it.
    changed = {"spec": {"containers": [{**TEMPLATE["spec"]["containers"][0], "image": "agent:2"}]}}
    stage.apply(template=changed, tuning={"replicas": {"min": 17, "max": 20}})
    await stage.until(
        lambda: stage.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == "agent:2",
        "the new template",
    )
    made = stage.deployment()
    assert made["spec"]["replicas"] == 17


async def test_what_the_user_takes_out_of_the_template_goes(stage: Stage) -> None:
    container = TEMPLATE["spec"]["containers"][0]
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    stage.apply(template={"spec": {"containers": [{**container, "env": env}]}})
    await stage.settle()
    stage.apply(template={"spec": {"containers": [{**container, "env": env[:1]}]}})
    await stage.tick(2)
    assert stage.deployment()["spec"]["template"]["spec"]["containers"][0]["env"] == env[:1]


async def test_a_hand_edited_template_is_put_back_once(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    path = DEPLOYMENTS.path(stage.namespace, "one")
    stage.cluster.request(
        "PATCH",
        path,
        {"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "evil:1"}]}}}},
        content_type="application/strategic-merge-patch+json",
    ).raise_for_status()
    stage.now += 60
    await stage.until(
        lambda: stage.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == "agent:1", "the image back"
    )
    await stage.settle()
    assert any(reason == "Restored" for reason, _ in stage.events())
    await stage.until_rolled_out()
    await stage.settle()
    await stage.tick(2)
    before = stage.writes()
    await stage.tick(5)
    assert stage.writes() == before


async def test_a_restart_by_kubectl_is_left_alone(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    stage.cluster.kubectl("rollout", "restart", "deployment/one", "-n", stage.namespace)
    stage.now += 60
    await stage.settle()
    await stage.tick(3)
    annotations = stage.deployment()["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations


async def test_a_deleted_deployment_comes_back_with_its_size(stage: Stage) -> None:
    stage.apply(tuning={"replicas": {"min": 1, "max": 20}})
    await stage.settle()
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=5")
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] == 5, "five replicas")
    stage.cluster.request("DELETE", DEPLOYMENTS.path(stage.namespace, "one")).raise_for_status()
    stage.now += 20
    path = DEPLOYMENTS.path(stage.namespace, "one")
    await stage.until(lambda: (found := stage.find(path)) and "deletionTimestamp" not in found["metadata"], "it back")
    assert stage.deployment()["spec"]["replicas"] == 5


async def test_a_deployment_without_its_label_is_taken_back(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    path = DEPLOYMENTS.path(stage.namespace, "one")
    stage.merge(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    stage.now += 20
    await stage.until(
        lambda: (stage.deployment()["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by"), "the label"
    )
    await stage.settle()


async def test_deleting_the_object_deletes_what_it_owns(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(stage.namespace, "one")).raise_for_status()
    paths = (DEPLOYMENTS.path(stage.namespace, "one"), CONFIG_MAPS.path(stage.namespace, "one-settings"))
    # The garbage collector looks for new kinds every 30 s.
    wait_until(lambda: not any(map(stage.find, paths)), 2 * PATIENCE_SECONDS, "what it owned gone")
