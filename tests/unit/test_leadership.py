"""The gate that every write passes: without enough of the Lease left nothing leaves this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from urllib3.connection import HTTPConnection

from agentscaler.kube import guard
from agentscaler.kube.errors import NotLeader
from agentscaler.kube.leadership import LEAST_SECONDS, LONGEST_SECONDS, MARGIN_SECONDS
from agentscaler.kube.lease import LEASE_SECONDS
from agentscaler.kube.paths import CONFIG_MAPS
from tests.lease_world import PATH, World, lease_world, until, write

AT_ONCE = 8
"""Writes that are under way at the same time."""


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("agentscaler.kube.lease.RETRY_SECONDS", 0.02)
    async with lease_world() as made:
        yield made


async def test_a_write_gets_no_more_time_than_is_left_of_the_lease(world: World) -> None:
    world.leadership.begin(world.clock.now + 4.0)
    await write(world)
    ((_, query),) = world.server.written
    assert query["timeout"] == "3500ms"
    world.leadership.extend(world.clock.now + 3600)
    await write(world)
    assert world.server.written[-1][1]["timeout"] == f"{LONGEST_SECONDS * 1000:.0f}ms"


@pytest.mark.parametrize("left", [-1.0, 0.0, MARGIN_SECONDS + LEAST_SECONDS - 0.01])
async def test_with_too_little_left_nothing_is_sent(world: World, left: float) -> None:
    world.leadership.begin(world.clock.now + left)
    for attempt in (
        write(world),
        world.api.create(CONFIG_MAPS.path("here"), {}, field_manager="test"),
        world.api.delete(PATH),
    ):
        with pytest.raises(NotLeader, match="does not hold the Lease"):
            await attempt
    assert world.server.written == []
    assert world.api.failures["NotLeader"] == 3
    assert [key for key in world.api.requests if key[0] != "get"] == []


async def test_a_write_that_waits_for_its_turn_is_not_sent_in_a_later_term(world: World) -> None:
    world.leadership.begin(world.clock.now + 8)
    world.server.gate.clear()
    writes = [asyncio.create_task(write(world)) for _ in range(20)]
    await until(lambda: len(world.server.written) == AT_ONCE, "writes under way")
    world.leadership.end()
    world.leadership.begin(world.clock.now + 8)
    world.server.gate.set()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in results if each is not None] == [NotLeader] * (len(writes) - AT_ONCE)
    assert len(world.server.written) == AT_ONCE


async def test_reads_and_reviews_need_no_lease(world: World) -> None:
    await world.api.get(PATH)
    await world.api.ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {})
    assert [method for method, _ in world.server.written] == ["GET", "POST"]


async def test_a_process_that_was_paused_while_it_connected_sends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = guard._Plain.connect

    def paused(connection: Any) -> None:
        plain(connection)
        world.clock.now += LEASE_SECONDS

    monkeypatch.setattr(guard._Plain, "connect", paused)
    world.leadership.begin(world.clock.now + LEASE_SECONDS)
    with pytest.raises(NotLeader):
        await write(world)
    assert world.server.written == []


async def test_a_process_that_was_paused_between_headers_and_body_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    plain = HTTPConnection.send

    def paused(connection: Any, data: Any) -> None:
        plain(connection, data)
        sent.append(len(data))
        world.clock.now += LEASE_SECONDS

    monkeypatch.setattr(HTTPConnection, "send", paused)
    assert issubclass(guard._Plain, HTTPConnection)
    world.leadership.begin(world.clock.now + LEASE_SECONDS)
    with pytest.raises(NotLeader):
        await write(world)
    assert len(sent) == 1, "the headers, and nothing after them"
    assert world.server.written == []
