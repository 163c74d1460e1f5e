"""What odd requests make of the reference agent and its upstream: a 400 that says why, never a 500."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from agentscaler_runtime import Runtime
from e2e.agents.reference.agent import Agent
from e2e.agents.reference.server import Server
from e2e.agents.reference.shape import Shape
from e2e.agents.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DEEP = b"[" * 200_000


@pytest.fixture
async def upstream() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(Upstream(time_scale=0.01).application())) as client:
        yield client


@pytest.fixture
async def agent(tmp_path: Path, upstream: TestClient[Any, Any]) -> AsyncIterator[TestClient[Any, Any]]:
    async with (
        ClientSession(base_url=upstream.make_url("/")) as session,
        Runtime(settings_directory=tmp_path) as runtime,
        TestClient(
            TestServer(
                Server(runtime, Agent(runtime, session), Shape(time_scale=0.001, memory_scale=0.01)).application()
            )
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\xfd",
        DEEP,
        b'{"key": "\\ud800"}',
        b'{"memory_factor": NaN}',
        b'{"memory_factor": ' + b"9" * 5000 + b"}",
    ],
    ids=["bytes", "deep", "surrogate", "NaN", "digits"],
)
async def test_the_agent_refuses_a_body_that_makes_no_sense(agent: TestClient[Any, Any], body: bytes) -> None:
    assert (await agent.post("/run", data=body)).status == 400
    assert (await agent.post("/run")).status == 200


async def test_a_strange_charset_is_no_reason_to_fail(agent: TestClient[Any, Any]) -> None:
    headers = {"Content-Type": "application/json; charset=klingon"}
    assert (await agent.post("/run", data=b'{"key": "x"}', headers=headers)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        DEEP,
        b'{"slow_factor": NaN, "mode": "slow"}',
        b'{"slow_factor": Infinity}',
        b'{"requests_per_second": NaN}',
        b'{"requests_per_second": 1e-320}',
        b'{"slow_factor": ' + b"9" * 400 + b"}",
    ],
    ids=["bytes", "deep", "slow-nan", "slow-inf", "rate-nan", "rate-tiny", "slow-huge"],
)
async def test_the_upstream_refuses_a_mode_that_makes_no_sense(upstream: TestClient[Any, Any], body: bytes) -> None:
    assert (await upstream.put("/mode", data=body)).status == 400
    assert (await (await upstream.get("/mode")).json())["mode"] == "healthy"


@pytest.mark.parametrize("body", [b'{"seconds": NaN}', DEEP, b'{"seconds": ' + b"9" * 400 + b"}"])
async def test_the_upstream_refuses_a_call_that_makes_no_sense(upstream: TestClient[Any, Any], body: bytes) -> None:
    async with asyncio.timeout(5):
        assert (await upstream.post("/complete", data=body)).status == 400


async def test_a_provider_that_is_reset_is_as_at_its_start(upstream: TestClient[Any, Any]) -> None:
    before = await (await upstream.get("/stats")).json()
    await upstream.put("/mode", data=b'{"mode": "outage"}')
    assert (await upstream.post("/complete", data=b'{"seconds": 0}')).status == 503
    assert await (await upstream.get("/stats")).json() != before
    await upstream.post("/reset")
    assert await (await upstream.get("/stats")).json() == before
    assert (await upstream.post("/complete", data=b'{"seconds": 0}')).status == 200
