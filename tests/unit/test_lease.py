"""The election, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from agentscaler.kube.errors import NotLeader
from agentscaler.kube.lease import LEASE_SECONDS
from tests.lease_world import OTHER, World, lease_world, until, write


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("agentscaler.kube.lease.RETRY_SECONDS", 0.02)
    async with lease_world() as made:
        yield made


async def test_a_lease_that_never_was_is_made_and_held(world: World) -> None:
    async with world.running():
        await world.until(1)
        assert world.server.spec is not None
        assert world.server.spec["holderIdentity"] == world.election.identity
        assert world.server.spec["leaseTransitions"] == 0
        version = world.server.version
        await until(lambda: world.server.version >= version + 3, "renewals")
        assert world.terms == 1
    assert world.server.spec["holderIdentity"] == ""


@pytest.mark.parametrize("renewed", ["2001-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_skewed_timestamps_of_another_holder_count_for_nothing(world: World, renewed: str) -> None:
    world.server.spec = {**OTHER, "renewTime": renewed}
    async with world.running():
        await world.reads()
        world.clock.now += LEASE_SECONDS - 0.1
        await world.reads()
        assert world.terms == 0
        world.clock.now += 0.2
        await world.until(1)
        assert world.server.spec is not None
        assert world.server.spec["leaseTransitions"] == 4


async def test_a_sign_of_life_makes_a_candidate_wait_anew(world: World) -> None:
    world.server.spec = dict(OTHER)
    async with world.running():
        await world.reads()
        world.clock.now += LEASE_SECONDS - 1
        world.server.renewed_by_other(renewTime="2001-01-01T00:00:01.000000Z")
        await world.reads()
        world.clock.now += LEASE_SECONDS - 1
        await world.reads()
        assert world.terms == 0


async def test_a_holder_that_asked_for_longer_is_waited_for_so_long(world: World) -> None:
    world.server.spec = {**OTHER, "leaseDurationSeconds": 15}
    async with world.running():
        await world.reads()
        world.clock.now += 14
        await world.reads()
        assert world.terms == 0
        world.clock.now += 2
        await world.until(1)


async def test_a_lease_deleted_under_its_holder_is_not_taken_before_its_time(world: World) -> None:
    world.server.spec = dict(OTHER)
    async with world.running():
        await world.reads()
        world.server.spec = None
        world.clock.now += LEASE_SECONDS - 1
        await world.reads()
        assert world.terms == 0
        world.clock.now += 2
        await world.until(1)


async def test_a_released_lease_is_taken_at_once(world: World) -> None:
    world.server.spec = {**OTHER, "holderIdentity": ""}
    async with world.running():
        await world.until(1)


async def test_a_leader_stands_by_as_soon_as_it_sees_another_holder(world: World) -> None:
    async with world.running():
        await world.until(1)
        world.server.renewed_by_other(**OTHER)
        await world.until_standby()
        with pytest.raises(NotLeader):
            await write(world)
        assert world.server.written == []
        await world.reads()
        assert world.server.spec is not None
        assert world.server.spec["holderIdentity"] == "other"
        world.server.renewed_by_other(holderIdentity="")
        await world.until(2)
        await write(world)


async def test_a_leader_that_cannot_renew_stands_by_and_comes_back_without_waiting(world: World) -> None:
    async with world.running():
        await world.until(1)
        world.server.broken = True
        world.clock.now += 5.1
        await world.until_standby()
        world.server.broken = False
        await world.until(2)


async def test_what_a_term_was_doing_has_ended_before_the_next_one_begins(world: World) -> None:
    alive: set[int] = set()
    together: list[int] = []

    async def lead() -> None:
        world.terms += 1
        alive.add(world.terms)
        together.append(len(alive))
        try:
            await world.stop.wait()
        finally:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
            alive.discard(world.terms)

    world.lead = lead  # type: ignore[method-assign]  # a leader that is slow to end
    async with world.running():
        await world.until(1)
        world.server.renewed_by_other(**OTHER)
        await world.until_standby()
        world.server.renewed_by_other(holderIdentity="")
        await world.until(2)
    assert together == [1, 1]


async def test_a_failure_of_the_leader_ends_the_election_and_releases_the_lease(world: World) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await world.election.run(world.stop, fail)
    assert world.server.spec is not None
    assert world.server.spec["holderIdentity"] == ""
