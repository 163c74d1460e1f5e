"""An agent as a real process with its settings volume, and who calls it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import psutil
import requests
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from e2e.harness.fleet_mount import Volume
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, Process, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TIME_SCALE = 0.02
PATIENT = ("--call-timeout-seconds", "30")
"""For an agent whose calls must all succeed: a machine with much to do can stand still for seconds."""
HASTY = ("--call-timeout-seconds", "2.4")
"""For an agent whose calls shall end by their time-out."""
LONG_RUNS = ("--run-seconds", "200")
"""For an agent each of whose runs shall take some 4 s."""

Answer = tuple[int, dict[str, str], Any]
"""Status, headers and body."""


class Agent:
    """Not started yet.

    Args:
        directory: For its log and its settings.
        argv: The program; its port and settings directory are added.
        env: Beside the environment of the tests.
        cwd: Where it runs.
    """

    def __init__(
        self,
        directory: Path,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.volume = Volume(directory / "settings")
        arguments = ("--port", str(port), "--settings-dir", self.volume.directory)
        self.process = Process([*argv, *arguments], directory / "agent.log", env=env, cwd=cwd)

    def start(self) -> None:
        self.process.start_serving(f"{self.url}/readyz", "the agent")

    def tune(self, generation: int, *, beside: Mapping[str, str] | None = None, **sections: Any) -> None:
        """Shows a `tuning.json`, and other files beside it, as the kubelet does."""
        files = {"tuning.json": json.dumps({"generation": generation, **sections}), **(beside or {})}
        self.volume.show({name: content.encode() for name, content in files.items()})

    def metric(self, name: str, **labels: str) -> float:
        text = requests.get(f"{self.url}/metrics", timeout=REQUEST_SECONDS).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        raise AssertionError(f"no series {name} {labels}")

    def resident_megabytes(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


class Caller:
    """Sends runs to an agent and keeps the status, headers and body of each answer."""

    def __init__(self, session: ClientSession, agent: Agent) -> None:
        self._session = session
        self._agent = agent

    async def run(self, **body: Any) -> Answer:
        async with self._session.post(f"{self._agent.url}/run", json=body) as response:
            return response.status, dict(response.headers), await response.json(content_type=None)

    def start(self, count: int, **body: Any) -> list[asyncio.Task[Answer]]:
        return [asyncio.create_task(self.run(**body)) for _ in range(count)]

    async def statuses(self, count: int, **body: Any) -> list[int]:
        return [status for status, _, _ in await asyncio.gather(*self.start(count, **body))]


async def until(condition: Callable[[], bool], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    await asyncio.to_thread(wait_until, condition, timeout_seconds, what)
