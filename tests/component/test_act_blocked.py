"""Objects that are kept from their work: told why, held, and taken up again."""

from __future__ import annotations

from typing import Any

import pytest

from agentscaler.kube.paths import CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from tests.component.act_stage import AT_LEAST_TWO, TEMPLATE, Stage


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
    assert (stage.writes() - writes).total() <= 3, "it is not tried at every tick"


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
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=0")
    await stage.tick(2)
    assert stage.deployment()["spec"]["replicas"] == 0, "what a person orders is carried out nevertheless"


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
