"""Which collections are read for which objects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from agentscaler.kube.paths import DEPLOYMENTS
from agentscaler.kube.store import Record
from agentscaler.kube.targets import Targets
from agentscaler.kube.workload import SCALE_MANAGER
from e2e.harness.cluster import ControlPlane
from tests.component.targets_stage import World, eventually

LISTS = ("list", "deployments.apps")


@pytest.fixture
def second(cluster: ControlPlane, namespace: str) -> Iterator[str]:
    """Another namespace."""
    name = f"{namespace}-second"
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).raise_for_status()
    yield name
    cluster.request("DELETE", f"/api/v1/namespaces/{name}")


async def made(world: World) -> Record:
    world.agent("one")
    record = await world.make("one")
    world.ready("one", 1)
    return record


async def sizes(targets: Targets, asked: list[Record], among: list[Record]) -> dict[str, int | None]:
    """Replicas by namespace."""
    lives = await targets.list(asked, now=time.time(), among=among)
    return {
        record.namespace: deployment.replicas if (deployment := lives[record.uid].deployment) else None
        for record in asked
    }


def elsewhere(record: Record, count: int) -> list[Record]:
    """Objects in namespaces about which nobody asks."""
    return [replace(record, uid=f"other-{n}", namespace="elsewhere", name=f"other-{n}") for n in range(count)]


@pytest.mark.parametrize(("others", "lists"), [(0, 1), (49, 1), (50, 2)])
async def test_namespaces_are_listed_one_by_one_where_that_spares_enough(
    world: World, second: str, others: int, lists: int
) -> None:
    here, there = await made(world), await made(World(world.cluster, world.api, second))
    targets = Targets(world.api)

    async def read() -> tuple[dict[str, int | None], int]:
        before = world.api.requests[LISTS]
        seen = await sizes(targets, [here, there], [here, there, *elsewhere(here, others)])
        return seen, world.api.requests[LISTS] - before

    await eventually(read, lambda seen: seen == ({world.namespace: 1, second: 1}, lists), "both")


async def test_a_namespace_that_was_left_out_is_seen_as_it_is_now(world: World, second: str) -> None:
    other = World(world.cluster, world.api, second)
    here, there = await made(world), await made(other)
    targets = Targets(world.api)

    async def sees(asked: list[Record], expected: dict[str, int | None]) -> None:
        await eventually(
            partial(sizes, targets, asked, [here, there]), lambda seen: seen == expected, f"{expected} of {asked}"
        )

    await sees([here, there], {world.namespace: 1, second: 1})
    await other.scale("one", 2, SCALE_MANAGER)
    other.ready("one", 2)
    await sees([here], {world.namespace: 1})
    await sees([there], {second: 2})
    world.cluster.request("DELETE", DEPLOYMENTS.path(world.namespace, "one")).raise_for_status()
    await sees([there], {second: 2})
    await sees([here], {world.namespace: None})
