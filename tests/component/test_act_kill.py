"""The operator is killed after any one of its writes and started again: the end is the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentscaler.core.observation import SignalName
from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import Request
from tests.component.act_stage import TEMPLATE, Agents, Stage

MOST_WRITES = 20
AT_ONCE = {"annotations": {"agentscaler.dev/start-up-seconds": "0"}}
"""Metadata of pods that nobody waits for."""


class Killed(BaseException):
    """What SIGKILL is to a process, this is to the tasks of one."""


def kill_after(api: KubeApi, writes: int) -> list[int]:
    """No request passes after that many writes; the list counts them."""
    done: list[int] = []
    send = api._send

    async def sent(request: Request) -> dict[str, Any]:
        if len(done) >= writes:
            raise Killed
        answer = await send(request)
        if request.method != "GET":
            done.append(1)
            if len(done) >= writes:
                raise Killed
        return answer

    api._send = sent  # type: ignore[method-assign]  # the one place through which all requests go
    return done


async def ticks_until_killed(stage: Stage, ticks: int) -> bool:
    for _ in range(ticks):
        stage.report()
        try:
            await stage.tick()
        except Killed:
            return True
        tasks = [watched.task for watched in stage.loop._watched.values() if watched.task]
        if any(isinstance(task.exception(), Killed) for task in tasks if task.done() and not task.cancelled()):
            return True
    return False


def state(stage: Stage) -> dict[str, Any]:
    """All that a user sees, without times and generations."""
    made, tuning, status = stage.deployment(), stage.tuning(), stage.status()
    tuning.pop("generation")
    status["settings"].pop("generation")
    return {
        "template": made["spec"]["template"],
        "replicas": made["spec"]["replicas"],
        "owner": made["metadata"]["ownerReferences"],
        "tuning": tuning,
        "settings": status["settings"],
        "conditions": {
            each["type"]: (each["status"], each["reason"]) for each in status["conditions"] if each["type"] != "Ready"
        },
    }


def spec(version: int) -> dict[str, Any]:
    """Two versions that differ in template, size and settings."""
    container = {**TEMPLATE["spec"]["containers"][0], "image": f"agent:{version}"}
    return {
        "template": {"metadata": AT_ONCE, "spec": {"containers": [container]}},
        "tuning": {
            "intervalSeconds": 5,
            "replicas": {"min": version, "max": version},
            "workers": {"min": 4 + version, "max": 4 + version},
        },
    }


async def converge(stage: Stage) -> dict[str, Any]:
    await stage.settle()
    await asyncio.sleep(0)
    return state(stage)


async def test_a_kill_after_any_write_of_a_change_ends_in_the_same_state(stage: Stage) -> None:
    expected = {}
    for version in (1, 2):
        stage.apply(**spec(version))
        expected[version] = await converge(stage)
    assert expected[1] != expected[2]
    at_any_write = {1: False, 2: False}
    for writes in range(1, MOST_WRITES):
        for version in (1, 2):
            stage.apply(**spec(version))
            kill_after(stage.api, writes)
            killed = await ticks_until_killed(stage, 8)
            at_any_write[version] = not killed
            stage.start()
            assert await converge(stage) == expected[version], f"to version {version}, killed after write {writes}"
        if all(at_any_write.values()):
            return
    pytest.fail(f"more than {MOST_WRITES} writes for one change")


async def test_a_kill_after_any_write_loses_no_size_that_a_person_named(stage: Stage) -> None:
    tuning = {"replicas": {"min": 1, "max": 20}}
    stage.apply(tuning=tuning, replicas=5)
    at_any_write = {1: False, 5: False}
    for writes in range(1, MOST_WRITES):
        for size in (1, 5):
            stage.agents.values = Agents().values
            await stage.settle()
            # Nothing but the order says how many pods there are to be.
            stage.agents.values = {}
            await stage.tick(2)
            assert stage.deployment()["spec"]["replicas"] != size
            stage.apply(tuning=tuning, replicas=size)
            kill_after(stage.api, writes)
            killed = await ticks_until_killed(stage, 8)
            at_any_write[size] = not killed
            stage.start()
            await stage.tick(4)
            assert stage.deployment()["spec"]["replicas"] == size, f"killed after write {writes}"
        if all(at_any_write.values()):
            return
    pytest.fail(f"more than {MOST_WRITES} writes for one size")


async def test_a_kill_after_any_write_of_a_creation_ends_in_the_same_state(stage: Stage) -> None:
    expected: dict[str, Any] = {}
    for writes in range(1, MOST_WRITES):
        name = f"o{writes}"
        stage.agents.values.pop(SignalName.APPLIED_GENERATION, None)
        stage.apply(name, **spec(2))
        kill_after(stage.api, writes)
        killed = await ticks_until_killed(stage, 3)
        stage.start()
        await stage.settle(name)
        made = stage.deployment(name)
        found = {
            "replicas": made["spec"]["replicas"],
            "generation": made["metadata"]["generation"],
            "tuning": stage.tuning(name),
            "conditions": stage.conditions(name),
        }
        expected = expected or found
        assert found == expected, f"killed after write {writes}"
        stage.cluster.request(
            "DELETE", f"/apis/agentscaler.dev/v1alpha1/namespaces/{stage.namespace}/agentdeployments/{name}"
        ).raise_for_status()
        if not killed:
            return
    pytest.fail(f"more than {MOST_WRITES} writes for one creation")
