"""Memory is short and runs wait: what the runtime gives up before it refuses them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from agentscaler_runtime import CacheSettings, Runtime, Settings, WorkerSettings
from agentscaler_runtime.memory import MemoryBudget, resident_bytes
from clients.python.tests.support import settle

PINNED: list[bytes] = []


def leave_a_cycle() -> None:
    cycle: dict[str, object] = {"data": bytearray(b"x" * 150_000_000)}
    cycle["self"] = cycle


def leave_a_heap_with_holes() -> None:
    many = [bytes(1000) for _ in range(150_000)]
    PINNED[:] = many[::2000]


@pytest.mark.parametrize("leave_behind", [leave_a_cycle, leave_a_heap_with_holes])
async def test_memory_that_a_run_left_behind_does_not_shut_the_gate_for_ever(
    tmp_path: Path, leave_behind: Callable[[], None]
) -> None:
    resident = resident_bytes()
    assert resident is not None
    async with Runtime(
        settings_directory=tmp_path, memory_limit_bytes=int((resident + 60_000_000) / 0.9), memory_wait_seconds=20
    ) as runtime:
        async with runtime.run():
            leave_behind()
        async with runtime.run():
            pass


async def test_the_cache_gives_way_to_runs_that_wait_though_another_runs_on(tmp_path: Path) -> None:
    defaults = Settings(workers=WorkerSettings(max_concurrent=2), cache=CacheSettings(max_bytes=600_000))
    async with Runtime(settings_directory=tmp_path, defaults=defaults, memory_wait_seconds=8) as runtime:
        runtime._gate._budget = MemoryBudget(1_000_000, lambda: 500_000 + runtime.cache.size_bytes)
        finish = asyncio.Event()

        async def long_run() -> None:
            async with runtime.run():
                await finish.wait()

        async def load() -> bytes:
            return bytes(500_000)

        running = asyncio.create_task(long_run())
        await settle()
        await runtime.cache.get_or_load("a large value", load)
        async with runtime.run():
            assert not running.done()
        finish.set()
        await running
