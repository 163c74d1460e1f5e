"""Settings on their way: the ConfigMap, the touch, the restart, and what pods report."""

from __future__ import annotations

import json

import pytest

from agentscaler.kube.paths import CONFIG_MAPS
from tests.component.act_stage import Stage


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


@pytest.mark.parametrize("broken", ["{not json", "[" * 100_000], ids=["no JSON", "nested too deeply"])
async def test_a_broken_tuning_file_is_put_back_by_an_operator_that_was_down(stage: Stage, broken: str) -> None:
    stage.apply()
    await stage.settle()
    was = stage.tuning()
    stage.merge(CONFIG_MAPS.path(stage.namespace, "one-settings"), {"data": {"tuning.json": broken}})
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


async def test_a_restart_delivers_settings_at_most_once_in_its_interval(stage: Stage) -> None:
    delivery = {"mode": "Restart", "minRestartIntervalSeconds": 7200}  # a rollout may take many ticks
    stage.apply(delivery=delivery, tuning={"workers": {"min": 4, "initial": 4}})
    await stage.settle()
    assert stage.tuning()["cache"]["maxBytes"] == 256 * 2**20
    smaller = {"cache": {"min": "64Mi", "max": "64Mi"}}
    stage.apply(delivery=delivery, tuning=smaller | {"workers": {"min": 6, "initial": 6}})
    await stage.tick()
    generation = stage.tuning()["generation"]
    assert stage.tuning()["workers"]["maxConcurrent"] == 6, "no step before it that frees memory: it would be a restart"
    assert stage.tuning()["cache"]["maxBytes"] == 64 * 2**20
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
    stage.now += 7200
    await stage.tick(2)
    assert stage.tuning()["workers"]["maxConcurrent"] == 8
    await stage.settle()


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
