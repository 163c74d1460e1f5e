"""What every agent does, in whatever language it is written."""

from __future__ import annotations

import asyncio

import psutil
import requests

from e2e.harness.process import REQUEST_SECONDS, serves
from tests.component.agent_stage import Agent, Caller, until

NONSENSE = ("[]", '{"colour": 1}', '{"key": 7}', '{"memory_factor": "3"}', '{"memory_factor": 1e9}', "{")


async def drains(agent: Agent, caller: Caller, *, busy: int, waiting: int) -> None:
    """SIGTERM refuses what waits and what comes, and finishes what runs.

    Args:
        agent: With `LONG_RUNS`.
        caller: Calls it.
        busy: So many runs keep every worker busy.
        waiting: And so many come on top.
    """
    runs = caller.start(busy)
    await until(lambda: agent.metric("agent_inflight_requests") == busy, "all workers are busy")
    queued = caller.start(waiting)
    await until(lambda: agent.metric("agent_queue_depth") == waiting, "the others wait")
    psutil.Process(agent.process.pid).terminate()
    await until(lambda: not serves(f"{agent.url}/readyz"), "unready at once")
    for status, headers, body in await asyncio.gather(*queued):
        assert (status, body) == (503, {"rejected": "draining"})
        assert int({name.lower(): value for name, value in headers.items()}["retry-after"]) >= 1
    assert (await caller.run())[0] == 503
    assert [status for status, _, _ in await asyncio.gather(*runs)] == [200] * busy
    await until(lambda: not agent.process.alive, "the agent exits")
    assert agent.process.returncode == 0


async def frees_workers_of_callers_who_hang_up(agent: Agent, caller: Caller) -> None:
    """It has eight workers, and `LONG_RUNS`."""
    runs = caller.start(8)
    await until(lambda: agent.metric("agent_inflight_requests") == 8, "all workers are busy")
    for run in runs:
        run.cancel()
    await until(lambda: agent.metric("agent_inflight_requests") == 0, "all workers are free")


def refuses_nonsense(agent: Agent) -> None:
    for body in NONSENSE:
        assert requests.post(f"{agent.url}/run", data=body, timeout=REQUEST_SECONDS).status_code == 400, body
