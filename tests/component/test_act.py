"""From decisions to a real API server: workloads, settings, replicas, status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentscaler.api.status import AgentDeploymentStatus
from agentscaler.core.observation import SignalName
from agentscaler.kube.bucket import TokenBucket
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import wait_until
from tests.component.act_stage import TEMPLATE, Stage


@pytest.fixture
async def stage(cluster: ControlPlane, namespace: str) -> AsyncIterator[Stage]:
    stage = Stage(cluster, namespace)
    yield stage
    stage.close()


RATES = (
    SignalName.REQUEST_RATE_60,
    SignalName.REQUEST_RATE_120,
    SignalName.REQUEST_RATE_300,
    SignalName.REQUEST_RATE_600,
)
AT_LEAST_TWO = {"replicas": {"min": 2, "max": 20}}


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


async def test_nothing_is_written_while_nothing_changes(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    await stage.tick(3)
    before, version = stage.writes(), stage.object()["metadata"]["resourceVersion"]
    for number in range(20):
        stage.agents.values[SignalName.IN_FLIGHT] = 1.0 + 0.05 * (number % 3)
        stage.agents.values[SignalName.MEMORY_MAX_BYTES] = 2e8 + 1e6 * (number % 5)
        await stage.tick()
    assert stage.writes() == before
    assert stage.object()["metadata"]["resourceVersion"] == version


async def test_a_restarted_operator_writes_nothing_and_rolls_nothing(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    await stage.tick(3)
    generation = stage.deployment()["metadata"]["generation"]
    status = stage.status()
    stage.start()
    await stage.tick(10)
    assert stage.writes() == 0
    assert stage.deployment()["metadata"]["generation"] == generation
    assert stage.status() == status


async def test_a_new_version_that_injects_otherwise_rolls_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.apply()
    await stage.settle()
    stage.start()
    monkeypatch.setattr("agentscaler.kube.workload.SETTINGS_VOLUME", "another-name")
    await stage.tick(5)
    assert stage.deployment()["metadata"]["generation"] == 1
    assert stage.deployment()["spec"]["template"]["spec"]["volumes"][0]["name"] == "agentscaler-settings"


async def test_a_template_edited_at_17_replicas_keeps_17(stage: Stage) -> None:
    stage.apply(tuning={"replicas": {"min": 17, "max": 20}})
    await stage.tick()
    # The size has not been changed since the creation: it still belongs to the manager that applied it.
    changed = {"spec": {"containers": [{**TEMPLATE["spec"]["containers"][0], "image": "agent:2"}]}}
    stage.apply(template=changed, tuning={"replicas": {"min": 17, "max": 20}})
    await stage.tick(2)
    made = stage.deployment()
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "agent:2"
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
    wait_until(lambda: len(stage.pods()) == 1, 20, "the rollout's end")
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


async def test_a_hand_edited_tuning_file_is_put_back(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    was = stage.tuning()
    edited = json.dumps({**was, "workers": {"maxConcurrent": 999}})
    stage.merge(CONFIG_MAPS.path(stage.namespace, "one-settings"), {"data": {"tuning.json": edited}})
    await stage.until(lambda: stage.tuning().get("workers") == was["workers"], "the workers back")
    assert stage.tuning()["generation"] == was["generation"] + 1, "pods may have read the other content by then"
    assert ("Restored", "tuning.json was changed by somebody else and was put back") in stage.events()
    await stage.settle()


async def test_a_broken_tuning_file_is_put_back_by_an_operator_that_was_down(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    was = stage.tuning()
    stage.merge(CONFIG_MAPS.path(stage.namespace, "one-settings"), {"data": {"tuning.json": "{not json"}})
    stage.start()
    await stage.tick(2)
    assert stage.tuning() == {**was, "generation": was["generation"] + 1}


async def test_a_deleted_settings_map_comes_back_with_its_content(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    was = stage.tuning()
    stage.cluster.request("DELETE", CONFIG_MAPS.path(stage.namespace, "one-settings")).raise_for_status()
    stage.now += 20
    await stage.until(lambda: stage.find(CONFIG_MAPS.path(stage.namespace, "one-settings")), "the ConfigMap back")
    assert stage.tuning() == was, "nobody has read anything else, so that the generation stays"


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


async def test_a_name_that_is_taken_is_never_touched(stage: Stage) -> None:
    stage.foreign_deployment("one")
    stage.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "two-settings", "namespace": stage.namespace},
            "data": {"mine": "yes"},
        }
    )
    before = stage.deployment()["metadata"]["generation"]
    stage.apply()
    stage.apply("two")
    await stage.tick(3)
    assert stage.condition("Stalled")["reason"] == "NameTaken"
    assert "Deployment one is not ours" in stage.condition("Stalled")["message"]
    assert stage.deployment()["metadata"]["generation"] == before
    assert stage.condition("Stalled", "two")["reason"] == "NameTaken"
    assert stage.config_map("two")["data"] == {"mine": "yes"}
    writes = stage.writes()
    await stage.tick(3)
    assert stage.writes() - writes <= 3, "it is not tried at every tick"


@pytest.mark.parametrize("interval_seconds", [5, 300])
async def test_a_name_that_becomes_free_is_used_at_the_next_look(stage: Stage, interval_seconds: int) -> None:
    stage.foreign_deployment("one")
    foreign = CONFIG_MAPS.path(stage.namespace, "two-settings")
    metadata = {"name": "two-settings", "namespace": stage.namespace}
    stage.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mine": "yes"}})
    stage.apply(tuning={"intervalSeconds": interval_seconds})
    stage.apply("two", tuning={"intervalSeconds": interval_seconds})
    await stage.tick(2)
    assert {stage.condition("Stalled", name)["reason"] for name in ("one", "two")} == {"NameTaken"}
    await stage.tick(5)
    stage.cluster.request("DELETE", foreign).raise_for_status()
    stage.cluster.kubectl("delete", "deployment", "one", "-n", stage.namespace, "--wait")
    await stage.tick(4)  # no more than 15 s on
    assert stage.tuning("two")["generation"] >= 1
    assert "agentscaler.dev/name" in stage.deployment()["spec"]["selector"]["matchLabels"]
    assert {stage.condition("Stalled", name)["status"] for name in ("one", "two")} == {"False"}


async def test_a_template_that_the_api_server_refuses_is_a_condition_with_its_words(stage: Stage) -> None:
    broken = {"spec": {"containers": [{"name": "agent", "image": "agent:1", "ports": [{"containerPort": 99999}]}]}}
    stage.apply(template=broken)
    await stage.tick(2)
    stalled = stage.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidTemplate")
    assert "containerPort" in stalled["message"]
    stage.apply(template={"spec": {"containers": [{"name": "agent", "image": "agent:1", "imagee": "typo"}]}})
    await stage.tick(2)
    assert "imagee" in stage.condition("Stalled")["message"]


async def test_status_tells_of_no_decision_before_one_could_be_carried_out(stage: Stage) -> None:
    broken = {"spec": {"containers": [{"name": "agent", "image": "agent:1", "imagee": "typo"}]}}
    stage.apply(template=broken)
    await stage.tick(6)
    status = stage.status()
    assert status["diagnosis"] == "Unknown"
    assert not {"lastDecision", "records", "signals"} & status.keys()
    assert (stage.conditions()["ScalingActive"], stage.condition("ScalingActive")["reason"]) == (
        "False",
        "InvalidTemplate",
    )
    decided = [record["decision"]["reason"] for record in stage.records.of(stage.namespace, "one")]
    assert decided == ["Initial"], "the same decision is kept once, not at every try"
    stage.apply()
    await stage.settle()
    status = stage.status()
    assert status["lastDecision"]["reason"] == "Initial"
    assert status["records"][0]["to"]["workers"] == stage.tuning()["workers"]["maxConcurrent"]
    assert stage.conditions()["ScalingActive"] == "True"
    stage.apply(template=TEMPLATE)
    await stage.settle()
    assert stage.conditions()["Stalled"] == "False"


async def test_a_refused_template_leaves_the_running_one_alone(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    stage.apply(template={"spec": {"containers": [{"name": "agent", "image": "agent:1", "imagee": "typo"}]}})
    await stage.tick(3)
    assert stage.condition("Stalled")["reason"] == "InvalidTemplate"
    assert stage.deployment()["metadata"]["generation"] == 1


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
    wait_until(lambda: stage.find(AGENT_DEPLOYMENTS.path(stage.namespace, "one")) is None, 10, "the object gone")
    await stage.tick(2)
    assert stage.deployment("theirs")["metadata"]["uid"] == uid
    assert stage.config_map()["data"]


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


async def test_settings_are_delivered_only_when_every_pod_reports_them(stage: Stage) -> None:
    stage.apply(tuning={"workers": {"initial": 4}})
    await stage.settle()
    old = stage.tuning()["generation"]
    stage.apply(tuning={"workers": {"min": 9, "initial": 9}})
    await stage.tick()
    assert stage.tuning()["workers"]["maxConcurrent"] == 9
    assert stage.tuning()["generation"] == old + 1
    marks = {pod["metadata"]["annotations"]["agentscaler.dev/touched"] for pod in stage.pods()}
    assert marks == {f"{old + 1}-1"}
    assert stage.condition("Delivered")["reason"] == "WaitingForReport"
    assert stage.conditions()["Ready"] == "True", "a change of settings is Reconciling"
    assert stage.conditions()["Reconciling"] == "True"
    await stage.tick()
    marks = {pod["metadata"]["annotations"]["agentscaler.dev/touched"] for pod in stage.pods()}
    assert marks == {f"{old + 1}-2"}, "no report came: touched again"
    stage.report()
    await stage.tick()
    assert stage.condition("Delivered")["reason"] == "Reported"
    assert stage.status()["appliedGeneration"] == old + 1


async def test_touches_end_when_no_agent_ever_reports(stage: Stage) -> None:
    stage.apply(tuning={"workers": {"initial": 4}})
    await stage.until(lambda: stage.status().get("readyReplicas") == 1, "a ready pod")
    await stage.tick(40)
    before = stage.writes()
    await stage.tick(10)
    assert stage.writes() == before
    assert stage.conditions()["Ready"] == "False"
    assert stage.condition("Ready")["reason"] == "WaitingForReport"


async def test_a_metrics_outage_takes_nothing_back(stage: Stage) -> None:
    stage.apply(tuning=AT_LEAST_TWO)
    await stage.settle()
    settings, values = stage.tuning(), dict(stage.agents.values)
    stage.agents.values = {}
    await stage.tick(5)
    assert stage.tuning() == settings
    assert stage.deployment()["spec"]["replicas"] == 2
    assert stage.conditions()["Delivered"] == "True"
    assert stage.conditions()["MetricsAvailable"] == "False"
    assert stage.conditions()["Ready"] == "False"
    stage.agents.values = values
    await stage.settle()


async def test_a_burst_moves_workers_and_replicas_in_one_tick(stage: Stage) -> None:
    stage.apply(tuning={"intervalSeconds": 5, "replicas": {"min": 1, "max": 20}, "workers": {"min": 4, "max": 16}})
    await stage.settle()
    generation = stage.tuning()["generation"]
    stage.agents.values |= {
        SignalName.IN_FLIGHT: 4.0,
        SignalName.IN_FLIGHT_MAX: 4.0,
        SignalName.QUEUE_DEPTH: 40.0,
        SignalName.REQUEST_RATE_60: 20.0,
    }
    await stage.tick(2)
    assert stage.deployment()["spec"]["replicas"] > 1
    assert stage.tuning()["generation"] > generation
    writers = {
        entry["manager"]
        for entry in stage.deployment()["metadata"]["managedFields"]
        if entry.get("subresource") == "scale"
    }
    assert writers == {"agentscaler-scale"}
    decided = stage.status()["lastDecision"]
    assert decided["summary"] in {note for _, note in stage.events()}
    assert stage.status()["records"][0]["to"]["replicas"] == stage.deployment()["spec"]["replicas"]
    full = stage.records.of(stage.namespace, "one")
    assert any(each["decision"]["summary"] == decided["summary"] for each in full)


async def quiet(stage: Stage, replicas: int) -> None:
    """A service that has `replicas` pods, needs one, and has been known for long enough to shrink."""
    stage.apply(
        tuning={
            "intervalSeconds": 5,
            "replicas": {"min": 1, "max": 20, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
        },
        signals={"windowSeconds": 60},
        replicas=replicas,
    )
    stage.agents.values |= {SignalName.IN_FLIGHT: float(replicas * 4), SignalName.IN_FLIGHT_MAX: 4.0}
    stage.agents.values |= dict.fromkeys(RATES, float(replicas * 4))
    await stage.until(lambda: (stage.find(DEPLOYMENTS.path(stage.namespace, "one")) or {}).get("spec"), "a Deployment")
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] >= replicas, f"{replicas} replicas")
    await stage.settle()
    stage.agents.values |= {SignalName.IN_FLIGHT: 0.2, SignalName.IN_FLIGHT_MAX: 1.0}
    stage.agents.values |= dict.fromkeys(RATES, 0.1)


async def test_scale_in_is_held_while_it_is_not_known_what_pods_do(stage: Stage) -> None:
    await quiet(stage, 3)
    size = stage.deployment()["spec"]["replicas"]
    await stage.until(lambda: stage.condition("AbleToScale").get("reason") == "HoldingUnknown", "the hold")
    await stage.tick(3)
    assert stage.deployment()["spec"]["replicas"] == size


async def test_scale_in_takes_the_idle_pods(stage: Stage) -> None:
    await quiet(stage, 3)
    names = sorted(pod["metadata"]["name"] for pod in stage.pods())
    busy = names[1]
    stage.agents.in_flight = {name: 5.0 if name == busy else 0.0 for name in names}
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] == 1, "one replica")
    wait_until(lambda: len(stage.pods()) == 1, 20, "one pod left")
    assert stage.pods()[0]["metadata"]["name"] == busy
    stage.agents.in_flight = {busy: 1.0}
    await stage.settle()
    await stage.tick(2)
    left = stage.pods()[0]["metadata"].get("annotations") or {}
    assert "controller.kubernetes.io/pod-deletion-cost" not in left


async def test_zero_means_zero_whatever_is_known(stage: Stage) -> None:
    stage.apply(tuning=AT_LEAST_TWO)
    await stage.settle()
    stage.agents.values = {}
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=0")
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] == 0, "zero replicas")
    await stage.until(lambda: stage.status().get("replicas") == 0, "status.replicas 0")
    assert stage.condition("ScalingActive")["reason"] == "ScaledToZero"


async def test_a_size_that_moved_meanwhile_is_observed_and_not_overwritten(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.apply(tuning={"intervalSeconds": 5, "replicas": {"min": 1, "max": 20}})
    await stage.settle()
    patch = stage.api.patch

    async def raced(path: str, body: Any, **options: Any) -> dict[str, Any]:
        if path.endswith("/deployments/one/scale"):
            monkeypatch.setattr(stage.api, "patch", patch)
            stage.cluster.kubectl("scale", "deployment/one", "-n", stage.namespace, "--replicas=7")
        return await patch(path, body, **options)

    monkeypatch.setattr(stage.api, "patch", raced)
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=4")
    await stage.tick()
    assert stage.deployment()["spec"]["replicas"] == 7, "a 409 is an answer: look again at the next tick"
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] == 4, "the size that the user asked for")


async def test_a_version_that_moved_meanwhile_does_not_cost_a_tick(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.apply(tuning={"intervalSeconds": 5, "replicas": {"min": 1, "max": 20}})
    await stage.settle()
    patch = stage.api.patch

    async def raced(path: str, body: Any, **options: Any) -> dict[str, Any]:
        if path.endswith("/deployments/one/scale"):
            monkeypatch.setattr(stage.api, "patch", patch)
            stage.merge(DEPLOYMENTS.path(stage.namespace, "one"), {"metadata": {"annotations": {"a": "b"}}})
        return await patch(path, body, **options)

    monkeypatch.setattr(stage.api, "patch", raced)
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=4")
    await stage.tick()
    assert stage.deployment()["spec"]["replicas"] == 4


async def test_a_restart_delivers_settings_at_most_once_in_its_interval(stage: Stage) -> None:
    delivery = {"mode": "Restart", "minRestartIntervalSeconds": 600}
    stage.apply(delivery=delivery, tuning={"workers": {"min": 4, "initial": 4}})
    await stage.settle()
    stage.apply(delivery=delivery, tuning={"workers": {"min": 6, "initial": 6}})
    await stage.tick()
    generation = stage.tuning()["generation"]
    assert stage.tuning()["workers"]["maxConcurrent"] == 6
    template = stage.deployment()["spec"]["template"]["metadata"]["annotations"]
    assert template["agentscaler.dev/settings-generation"] == str(generation)
    assert stage.status()["lastRestartTime"]
    await stage.settle()
    stage.apply(delivery=delivery, tuning={"workers": {"min": 8, "initial": 8}})
    await stage.tick(3)
    assert stage.tuning()["workers"]["maxConcurrent"] == 6, "the next restart is not allowed yet"
    assert stage.conditions()["Delivered"] == "False"
    stage.start()
    await stage.tick(2)
    assert stage.tuning()["workers"]["maxConcurrent"] == 6, "nor after a restart of the operator"
    stage.now += 600
    await stage.tick(2)
    assert stage.tuning()["workers"]["maxConcurrent"] == 8
    await stage.settle()


async def test_transition_times_move_only_when_a_status_flips(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    before = {each["type"]: each["lastTransitionTime"] for each in stage.status()["conditions"]}
    stage.apply(paused=True)
    await stage.tick(2)
    after = {each["type"]: each for each in stage.status()["conditions"]}
    assert after["ScalingActive"]["reason"] == "Paused"
    assert after["ScalingActive"]["lastTransitionTime"] > before["ScalingActive"]
    assert after["Ready"]["lastTransitionTime"] == before["Ready"]
    assert after["Ready"]["observedGeneration"] == stage.object()["metadata"]["generation"]


async def test_an_invalid_spec_holds_everything(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    body = stage.object()
    body["spec"]["tuning"] = {"replicas": {"min": 5, "max": 2}}
    body["metadata"]["generation"] += 1
    record = stage.store.find(stage.namespace, "one")
    assert record is not None
    stage.store.put(body)
    await stage.loop.tick(stage.now)
    await stage.loop.finish()
    assert stage.condition("Stalled")["reason"] == "InvalidSpec"
    assert stage.find(DEPLOYMENTS.path(stage.namespace, "one")) is not None


async def test_one_object_that_fails_does_not_disturb_the_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.apply("bad")
    stage.apply("good")
    act = stage.loop._actuator.act

    async def broken(case: Any, memo: Any) -> Any:
        if case.record.name == "bad":
            raise RuntimeError("boom")
        return await act(case, memo)

    monkeypatch.setattr(stage.loop._actuator, "act", broken)
    await stage.settle("good")
    assert stage.status("bad") == {}


async def test_an_api_server_that_goes_away_only_delays(cluster: ControlPlane, stage: Stage) -> None:
    stage.apply(tuning=AT_LEAST_TWO)
    await stage.settle()
    record = stage.store.find(stage.namespace, "one")
    assert record is not None
    cluster.apiserver.kill()
    try:
        for _ in range(2):
            await stage.loop.tick(stage.now)
            await stage.loop.finish()
            stage.now += 5
    finally:
        cluster.apiserver.start()
        cluster.wait_ready()
    await stage.settle()
    assert stage.deployment()["metadata"]["generation"] == 1


async def test_the_loop_ticks_and_stops_when_told(stage: Stage) -> None:
    stage.apply()
    stage.store.resync(await stage.api.list(AGENT_DEPLOYMENTS.path(stage.namespace), resource_version=""))
    stage.loop._tick_seconds = 0.2
    stop = asyncio.Event()
    running = asyncio.create_task(stage.loop.run(stop))
    path = DEPLOYMENTS.path(stage.namespace, "one")
    await asyncio.to_thread(wait_until, lambda: stage.find(path), 20, "a Deployment")
    stop.set()
    await asyncio.wait_for(running, 10)
    assert stage.find(path) is not None
    assert stage.telemetry.ticked_at is not None


async def test_deleting_the_object_deletes_what_it_owns(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(stage.namespace, "one")).raise_for_status()
    paths = (DEPLOYMENTS.path(stage.namespace, "one"), CONFIG_MAPS.path(stage.namespace, "one-settings"))
    # The garbage collector looks for new kinds every 30 s.
    wait_until(lambda: not any(map(stage.find, paths)), 90, "what it owned gone")


async def test_settings_without_their_label_are_taken_back(stage: Stage) -> None:
    stage.apply()
    await stage.settle()
    path = CONFIG_MAPS.path(stage.namespace, "one-settings")
    stage.merge(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    stage.now += 20
    await stage.until(
        lambda: (stage.config_map()["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by"), "the label"
    )
    await stage.settle()


async def test_a_second_adoption_goes_on_from_the_settings_of_the_first(stage: Stage) -> None:
    volumes = [{"name": "s", "configMap": {"name": "one-settings", "optional": True}}]
    mounted = {**TEMPLATE["spec"]["containers"][0], "volumeMounts": [{"name": "s", "mountPath": "/etc/agentscaler"}]}
    stage.foreign_deployment("theirs", containers=[mounted], volumes=volumes)
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    stage.apply(scaleTargetRef=reference, tuning={"workers": {"min": 11, "max": 20}})
    await stage.settle()
    was = stage.tuning()
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(stage.namespace, "one")).raise_for_status()
    wait_until(lambda: stage.find(AGENT_DEPLOYMENTS.path(stage.namespace, "one")) is None, 10, "the object gone")
    stage.start()
    stage.apply(scaleTargetRef=reference, tuning={"workers": {"min": 11, "max": 20}})
    await stage.settle()
    assert stage.tuning() == was


@pytest.mark.parametrize(("congested", "most"), [(False, 10), (True, 6)])
async def test_a_creation_costs_few_writes_and_tells_no_tales(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, congested: bool, most: int
) -> None:
    monkeypatch.setattr(TokenBucket, "is_empty", congested)
    values = dict(stage.agents.values)
    stage.agents.values = {SignalName.TARGETS: 0.0, SignalName.TARGETS_UP: 0.0}
    stage.apply()
    path = DEPLOYMENTS.path(stage.namespace, "one")
    ready = lambda: ((stage.find(path) or {}).get("status") or {}).get("readyReplicas") == 1  # noqa: E731 (read here only)
    await stage.until(ready, "a ready pod")
    stage.agents.values = values

    def is_ready() -> bool:
        stage.report()
        return stage.conditions().get("Ready") == "True"

    await stage.until(is_ready, "Ready")
    writes = {key: count for key, count in stage.api.requests.items() if key[0] not in {"get", "list"}}
    assert stage.events() == []
    assert sum(writes.values()) <= most, writes
