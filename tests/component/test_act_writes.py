"""How often the operator writes, and when it does not."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from agentscaler.core.observation import SignalName
from agentscaler.kube.bucket import TokenBucket
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, DEPLOYMENTS
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.act_stage import Stage


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
    assert stage.writes() == Counter()
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


async def test_the_loop_ticks_and_stops_when_told(stage: Stage) -> None:
    stage.apply()
    stage.store.resync(await stage.api.list(AGENT_DEPLOYMENTS.path(stage.namespace), resource_version=""))
    stage.loop._tick_seconds = 0.2
    stop = asyncio.Event()
    running = asyncio.create_task(stage.loop.run(stop))
    path = DEPLOYMENTS.path(stage.namespace, "one")
    await asyncio.to_thread(wait_until, lambda: stage.find(path), PATIENCE_SECONDS, "a Deployment")
    stop.set()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert stage.find(path) is not None
    assert stage.telemetry.ticked_at is not None


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
