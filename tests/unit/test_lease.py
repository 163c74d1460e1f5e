"""The election and the gate against an API server that holds one Lease, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes import client
from urllib3.connection import HTTPConnection

from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import NotLeader
from agentscaler.kube.leadership import LEAST_SECONDS, LONGEST_SECONDS, MARGIN_SECONDS, Leadership
from agentscaler.kube.lease import LEASE_SECONDS, Election
from agentscaler.kube.paths import CONFIG_MAPS

OTHER = {
    "holderIdentity": "other",
    "leaseDurationSeconds": int(LEASE_SECONDS),
    "renewTime": "2001-01-01T00:00:00.000000Z",
    "leaseTransitions": 3,
}
PATH = CONFIG_MAPS.path("here", "one")
AT_ONCE = 8
"""Writes that are under way at the same time."""


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """One Lease with optimistic locking, and whatever else is written."""

    spec: dict[str, Any] | None = None
    version: int = 1
    broken: bool = False
    written: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers wait for it."""

    def renewed_by_other(self, **changes: Any) -> None:
        self.spec = {**(self.spec or OTHER), **changes}
        self.version += 1

    async def handle(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.json_response({}, status=500)
        if "/leases" not in request.path:
            self.written.append((request.method, dict(request.query)))
            await self.gate.wait()
            return web.json_response({})
        if request.method == "GET":
            return self._answer() if self.spec is not None else web.json_response({}, status=404)
        body = json.loads(await request.text())
        if request.method == "PUT" and body["metadata"]["resourceVersion"] != str(self.version):
            return web.json_response({"reason": "Conflict"}, status=409)
        if request.method == "POST" and self.spec is not None:
            return web.json_response({"reason": "AlreadyExists"}, status=409)
        self.spec = body["spec"]
        self.version += 1
        return self._answer()

    def _answer(self) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec})


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"never saw {what}"
        await asyncio.sleep(0.01)


@dataclass
class World:
    server: Server
    clock: Clock
    leadership: Leadership
    election: Election
    api: KubeApi
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    terms: int = 0

    async def lead(self) -> None:
        self.terms += 1
        await self.stop.wait()

    async def until(self, terms: int) -> None:
        await until(lambda: self.terms >= terms and self.leadership.is_held, f"term {terms}")

    async def until_standby(self) -> None:
        await until(lambda: not self.leadership.is_held, "that it stands by")

    async def reads(self, count: int = 2) -> None:
        """Wait until the Lease was read so many times more; the last but one has then been judged."""
        key = ("get", "leases.coordination.k8s.io")
        wanted = self.api.requests[key] + count
        await until(lambda: self.api.requests[key] >= wanted, "reads of the Lease")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.election.run(self.stop, self.lead))
        try:
            yield
        finally:
            self.stop.set()
            await task


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("agentscaler.kube.lease.RETRY_SECONDS", 0.02)
    server, clock = Server(), Clock()
    server.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    configuration = client.Configuration(host=f"http://{host}:{port}")
    leadership = Leadership(clock)
    api = KubeApi(configuration, leadership=leadership)
    election = Election(configuration, leadership, namespace="here", name="it", requests=api.requests, clock=clock)
    yield World(server, clock, leadership, election, api)
    await asyncio.to_thread(election.close)
    await asyncio.to_thread(api.close)
    await runner.cleanup()


async def write(world: World) -> None:
    await world.api.patch(PATH, {}, field_manager="test")


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
    from agentscaler.kube import guard  # noqa: PLC0415 (only this test looks inside)

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
    from agentscaler.kube import guard  # noqa: PLC0415 (as above)

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
