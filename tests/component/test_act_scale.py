"""Sizes that a decision moves."""

from __future__ import annotations

from typing import Any

import pytest

from agentscaler.core.observation import SignalName
from agentscaler.kube.errors import Unavailable
from agentscaler.kube.paths import CONFIG_MAPS, DEPLOYMENTS, Access
from agentscaler.objects import STARTING_SECONDS
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.act_stage import AT_LEAST_TWO, RATES, Stage


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
    records, told = stage.status().get("records"), stage.events()
    watched = stage.loop._watched[stage.object()["metadata"]["uid"]]
    assert watched.memory is not None
    tokens = watched.memory.action_tokens
    await stage.tick(3)
    assert stage.deployment()["spec"]["replicas"] == size
    assert stage.status().get("records") == records, "what did not move is not told as a move"
    assert stage.events() == told
    assert watched.memory.action_tokens >= tokens, "nor is it paid for"


async def test_a_size_that_a_person_names_waits_for_no_other_write(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.apply(tuning={"intervalSeconds": 5, "replicas": {"min": 1, "max": 20}})
    await stage.settle()
    patch = stage.api.patch

    async def failing(path: str, body: Any, **options: Any) -> dict[str, Any]:
        if path == CONFIG_MAPS.path(stage.namespace, "one-settings"):
            raise Unavailable("not now", access=Access("patch", "", "configmaps", stage.namespace), status=503)
        return await patch(path, body, **options)

    monkeypatch.setattr(stage.api, "patch", failing)
    stage.merge(CONFIG_MAPS.path(stage.namespace, "one-settings"), {"data": {"tuning.json": "{not json"}})
    stage.cluster.kubectl("scale", "agd/one", "-n", stage.namespace, "--replicas=9")
    await stage.tick(2)
    assert stage.condition("AbleToScale")["reason"] == "WriteFailed"
    assert stage.deployment()["spec"]["replicas"] == 9


async def test_a_size_that_has_to_wait_is_told_in_every_tick_and_outlives_a_restart(stage: Stage) -> None:
    slow = {"intervalSeconds": 15, "replicas": {"min": 1, "max": 20}}
    stage.apply(tuning=slow | {"workers": {"min": 4, "max": 4}}, replicas=3)
    await stage.settle()
    stage.now += STARTING_SECONDS  # a new object is decided in every tick
    await stage.settle()
    stage.apply(tuning=slow | {"workers": {"min": 6, "max": 6}}, replicas=2)
    for _ in range(5):  # some decide, some only follow what is on its way
        await stage.tick()
        assert stage.condition("AbleToScale")["reason"] == "WaitingForReport"
        assert stage.deployment()["spec"]["replicas"] == 3
    stage.agents.values = {}
    stage.start()
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] == 2, "the size that the user asked for")


async def test_a_clock_that_goes_back_stops_no_decision(stage: Stage) -> None:
    stage.apply(tuning={"intervalSeconds": 15, "replicas": {"min": 1, "max": 20}})
    await stage.settle()
    stage.now -= 3600
    stage.agents.values |= {SignalName.IN_FLIGHT: 8.0, SignalName.IN_FLIGHT_MAX: 8.0, SignalName.QUEUE_DEPTH: 80.0}
    stage.agents.values |= dict.fromkeys(RATES, 40.0)
    await stage.tick(5)
    assert stage.deployment()["spec"]["replicas"] > 1


async def test_scale_in_takes_the_idle_pods(stage: Stage) -> None:
    await quiet(stage, 3)
    names = sorted(pod["metadata"]["name"] for pod in stage.pods())
    busy = names[1]
    stage.agents.in_flight = {name: 5.0 if name == busy else 0.0 for name in names}
    await stage.until(lambda: stage.deployment()["spec"]["replicas"] == 1, "one replica")
    wait_until(lambda: len(stage.pods()) == 1, PATIENCE_SECONDS, "one pod left")
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
