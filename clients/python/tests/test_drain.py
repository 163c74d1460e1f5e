import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentscaler_runtime import RejectedError, Runtime, Settings, WorkerSettings
from clients.python.tests.support import PATIENCE_SECONDS, sample, settle

ONE_WORKER = Settings(workers=WorkerSettings(max_concurrent=1))


async def test_a_drain_finishes_what_runs_and_refuses_the_rest(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=ONE_WORKER) as runtime:
        finish = asyncio.Event()

        async def work() -> str:
            async with runtime.run():
                await finish.wait()
                return "finished"

        running, waiting = asyncio.create_task(work()), asyncio.create_task(work())
        await settle()
        ready_before = runtime.ready
        runtime.drain()
        assert (ready_before, runtime.ready) == (True, False)
        with pytest.raises(RejectedError, match="draining"):
            await waiting
        with pytest.raises(RejectedError, match="draining"):
            await asyncio.wait_for(work(), PATIENCE_SECONDS)
        drained = asyncio.create_task(runtime.wait_drained())
        await settle()
        assert not drained.done()
        finish.set()
        await asyncio.wait_for(drained, PATIENCE_SECONDS)
        assert running.result() == "finished"
        assert sample(runtime.metrics, "agent_rejected_total", reason="draining") == 2


async def test_runs_that_come_before_the_proxies_know_are_served(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=ONE_WORKER, drain_delay_seconds=0.3) as runtime:
        runtime.drain()
        assert not runtime.ready
        async with runtime.run():
            drained = asyncio.create_task(runtime.wait_drained())
        await asyncio.wait_for(drained, PATIENCE_SECONDS)
        with pytest.raises(RejectedError, match="draining"):
            async with runtime.run():
                pass


DRAINING_PROGRAM = """
import asyncio
from agentscaler_runtime import Runtime

async def main():
    async with Runtime(drain_on_sigterm=True) as runtime:
        async def work():
            async with runtime.run():
                print("started", flush=True)
                await asyncio.sleep(0.5)
                print("finished", flush=True)
        task = asyncio.create_task(work())
        await runtime.wait_drained()
        print("drained, ready:", runtime.ready, flush=True)

asyncio.run(main())
"""


def test_sigterm_drains_a_process() -> None:
    with subprocess.Popen([sys.executable, "-c", DRAINING_PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=10)
        finally:
            process.kill()
    assert rest == "finished\ndrained, ready: False\n"
    assert process.returncode == 0
