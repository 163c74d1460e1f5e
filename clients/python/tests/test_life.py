"""A runtime is entered once; what a person does otherwise is told, not swallowed."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from agentscaler_runtime import RejectedError, Runtime
from clients.python.tests.support import until


async def test_a_runtime_that_was_not_entered_says_so(tmp_path: Path) -> None:
    runtime = Runtime(settings_directory=tmp_path)
    assert not runtime.ready
    with pytest.raises(RuntimeError, match="async with runtime"):
        async with runtime.run():
            pytest.fail("nobody follows the settings, nobody measures memory")


async def test_a_runtime_serves_once(tmp_path: Path) -> None:
    runtime = Runtime(settings_directory=tmp_path)
    async with runtime:
        with pytest.raises(RuntimeError, match="make a new one"):
            await runtime.__aenter__()
        assert runtime.ready
    with pytest.raises(RejectedError, match="draining"):
        async with runtime.run():
            pytest.fail("the run started")
    with pytest.raises(RuntimeError, match="make a new one"):
        async with runtime:
            pytest.fail("it would refuse every run")


def test_sigterm_outside_of_the_main_thread_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    async def enter() -> set[str]:
        with pytest.raises((ValueError, RuntimeError)):
            await Runtime(settings_directory=tmp_path, drain_on_sigterm=True).__aenter__()
        return {task.get_name() for task in asyncio.all_tasks()}

    async def in_a_thread() -> set[str]:
        return await asyncio.to_thread(asyncio.run, enter())

    assert "agentscaler-runtime" not in asyncio.run(in_a_thread())


async def test_taking_sigterm_away_from_a_server_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Runtime(settings_directory=tmp_path, drain_on_sigterm=True):
        assert not caplog.records
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, loop.stop)  # as uvicorn and aiohttp's run_app do before the agent starts
    async with Runtime(settings_directory=tmp_path, drain_on_sigterm=True):
        assert "leave drain_on_sigterm off" in caplog.text


async def test_settings_whose_application_failed_are_applied_at_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Runtime(settings_directory=tmp_path) as runtime:
        failed = asyncio.Event()

        def fail_once(_: object) -> None:
            monkeypatch.undo()
            failed.set()
            raise ZeroDivisionError

        monkeypatch.setattr(runtime.breaker, "retune", fail_once)
        (tmp_path / "tuning.json").write_text('{"generation": 3, "workers": {"maxConcurrent": 3}}')
        await asyncio.wait_for(failed.wait(), 5)
        assert runtime.applied_generation == 0
        await until(lambda: runtime.applied_generation == 3, "the second attempt")
        assert runtime.settings.workers.max_concurrent == 3


@pytest.mark.parametrize("arguments", [{"memory_limit_bytes": 0}, {"queue_size": -1}, {"memory_wait_seconds": -1.0}])
def test_arguments_under_which_no_run_could_ever_wait_or_start_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Runtime(**arguments)
