"""A server that answers queries as a test says."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.signals.collector import Collector
from tests.component.signals_stage import NOW, collector, request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
UID = "agents/researcher"


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Fake:
    """Answers queries as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.handler: Handler = answering()
        self.seen: list[tuple[web.Request, dict[str, str]]] = []
        self.url = ""

    async def handle(self, asked: web.Request) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await asked.post()).items()}
        self.seen.append((asked, form))
        return await self.handler(asked)


def envelope(**fields: Any) -> dict[str, Any]:
    row = {
        "metric": {"namespace": "agents", "obj": "researcher", "signal": "inFlight"},
        "value": [NOW, "5"],
    }
    times = [
        {"metric": {**row["metric"], "signal": name}, "value": [NOW, str(NOW)]}  # type: ignore[dict-item]  # both rows are dicts
        for name in ("newest", "oldest")
    ]
    return {"status": "success", "data": {"resultType": "vector", "result": [row, *times]}, **fields}


def answering(
    status: int = 200, text: str | None = None, headers: dict[str, str] | None = None, **fields: Any
) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        body = json.dumps(envelope(**fields)) if text is None else text
        return web.Response(status=status, text=body, headers=headers, content_type="application/json")

    return handler


async def seen_by(signals: Collector) -> Observation:
    return (await signals.collect([request()], NOW))[UID]


async def once(fake: Fake, handler: Handler, **fields: object) -> Observation:
    fake.handler = handler
    signals = collector(fake.url, **fields)
    observation = await seen_by(signals)
    await signals.close()
    return observation


def assert_unknown(observation: Observation, reason: Reason) -> None:
    assert {signal.health for signal in observation.signals.values()} == {Health.ERROR}
    assert [got for got, _ in observation.problems] == [reason]
    assert all(observation.value(name) is None for name in SignalName)
