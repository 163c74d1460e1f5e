"""The AgentFlow agent, in Go, as a real process; and the Go modules' own tests."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from aiohttp import ClientSession, TCPConnector

from e2e.harness import tools
from e2e.harness.process import REQUEST_SECONDS, serves
from e2e.harness.upstream import Upstream
from tests.component import agent_checks as checks
from tests.component.agent_stage import HASTY, LONG_RUNS, PATIENT, TIME_SCALE, Agent, Caller, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).parents[2]
MODULES = (ROOT / "clients/go", ROOT / "e2e/agents/agentflow")
RUNS = 200
SUCCESS = {"agent_name": "researcher", "status": "success"}
ERROR = {"agent_name": "researcher", "status": "error"}


def agentflow(**sections: dict[str, Any]) -> dict[str, str]:
    """An agentflow.toml; TOML writes numbers, strings and booleans as JSON does."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section.replace('__', '.')}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return {"agentflow.toml": "\n".join([*lines, ""])}


@pytest.fixture
def agent(tmp_path: Path, upstream: Upstream) -> Iterator[Agent]:
    argv: list[str | Path] = [tools.ensure("agentflow")["agentflow"], "--agent-name", "researcher", "--seed", "1"]
    argv += ["--time-scale", str(TIME_SCALE), *PATIENT, "--drain-delay-seconds", "0", "--drain-linger-seconds", "0.2"]
    # The endpoint as AgentFlow's guide names it.
    one = Agent(tmp_path, argv, env={"AZURE_OPENAI_ENDPOINT": upstream.url})
    try:
        yield one
    finally:
        one.process.stop()


@pytest.fixture
async def caller(agent: Agent) -> AsyncIterator[Caller]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield Caller(session, agent)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_the_go_module_is_formatted_vetted_and_passes_its_own_tests(module: Path) -> None:
    go = tools.go()
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=module, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run(str(Path(run(go, "env", "GOROOT").strip()) / "bin" / "gofmt"), "-l", ".") == ""
    run(go, "vet", "./...")
    run(go, "test", "-count=1", "./...")


def test_the_library_that_users_copy_stays_small() -> None:
    lines = [line for name in ("settings.go", "watcher.go") for line in (MODULES[0] / name).read_text().splitlines()]
    assert len([line for line in lines if line.strip() and not line.strip().startswith("//")]) <= 200


def test_every_series_is_there_before_the_first_run(agent: Agent) -> None:
    agent.start()
    text = requests.get(f"{agent.url}/metrics", timeout=REQUEST_SECONDS).text
    served = set(re.findall(r"^# TYPE (agent_\w+) ", text, re.MULTILINE))
    contract = (ROOT / "docs" / "contract.md").read_text()
    assert served == set(re.findall(r"^\| `(agent_\w+)` \|", contract, re.MULTILINE))
    assert {agent.metric("agent_requests_total", **labels) for labels in (SUCCESS, ERROR)} == {0}
    for reason in ("queue_full", "memory", "breaker", "draining"):
        assert agent.metric("agent_rejected_total", reason=reason) == 0
    bounds = re.findall(r'agent_request_duration_seconds_bucket\{.*status="success",le="([^"]+)"', text)
    assert bounds == ["0.1", "0.5", "1", "2", "5", "10", "+Inf"], "as the guide has them"
    assert serves(f"{agent.url}/healthz")


async def test_a_changed_agentflow_toml_is_in_force_at_once_and_no_request_is_lost(
    agent: Agent, caller: Caller
) -> None:
    agent.tune(1, beside=agentflow(runner={"worker_pool_size": 1, "event_buffer_size": 1000}))
    agent.start()
    assert agent.metric("agent_worker_limit") == 1
    runs = caller.start(RUNS)
    await until(lambda: agent.metric("agent_queue_depth") > 80, "runs wait")
    wider = {"worker_pool_size": 40, "max_concurrent_events": 20, "event_buffer_size": 1000}
    agent.tune(2, cache={"maxBytes": 1_000_000}, beside=agentflow(runner=wider, memory={"state_cache_ttl": "5m"}))
    await until(lambda: agent.metric("agent_inflight_requests") >= 15, "waiting runs start")
    assert agent.metric("agent_worker_limit") == 20
    assert agent.metric("agent_tuning_applied_generation") == 2
    assert agent.metric("agent_cache_limit_bytes") == 1_000_000
    agent.tune(3, beside=agentflow(runner={"worker_pool_size": 10}))
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 3, "fewer workers")
    answers = await asyncio.gather(*runs)
    assert [status for status, _, _ in answers] == [200] * RUNS
    assert agent.metric("agent_requests_total", **SUCCESS) == RUNS
    assert agent.metric("agent_request_duration_seconds_count", **SUCCESS) == RUNS
    assert agent.metric("agent_queue_wait_seconds_count") == RUNS
    assert max(float(headers["X-Queue-Wait-Seconds"]) for _, headers, _ in answers) > 0.1
    agent.tune(4, workers={"maxConcurrent": 12})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 4, "the native file is gone")
    assert agent.metric("agent_worker_limit") == 10, "a file that disappears changes nothing"


async def test_a_full_buffer_refuses(agent: Agent, caller: Caller) -> None:
    agent.process.argv += LONG_RUNS
    agent.tune(1, beside=agentflow(runner={"worker_pool_size": 2, "event_buffer_size": 3}))
    agent.start()
    runs = caller.start(9)
    await until(lambda: agent.metric("agent_rejected_total", reason="queue_full") == 4, "four are refused")
    assert (agent.metric("agent_inflight_requests"), agent.metric("agent_queue_depth")) == (2, 3)
    for run in runs:
        run.cancel()


async def test_a_broken_file_leaves_the_last_good_settings(agent: Agent, caller: Caller) -> None:
    agent.tune(1, beside=agentflow(runner={"worker_pool_size": 7}))
    agent.start()
    for count, broken in enumerate(
        ('[runner]\nworker_pool_size = "many"', "[runner", "[runner]\nworker_pool_size = 0")
    ):
        agent.tune(2 + count, beside={"agentflow.toml": broken})
        await until(lambda count=count: agent.metric("agent_tuning_errors_total") == count + 1, "it is told")  # type: ignore[misc]
        assert agent.metric("agent_tuning_applied_generation") == 1
        assert agent.metric("agent_worker_limit") == 7
    assert await caller.statuses(5) == [200] * 5
    agent.tune(9, beside=agentflow(runner={"worker_pool_size": 9}))
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 9, "mended")
    assert agent.metric("agent_worker_limit") == 9
    assert agent.metric("agent_tuning_errors_total") == 3


async def test_the_cache_holds_bytes_and_saves_upstream_calls(agent: Agent, caller: Caller, upstream: Upstream) -> None:
    many = {"worker_pool_size": 30}
    agent.tune(1, cache={"maxBytes": 100_000_000}, beside=agentflow(runner=many, memory={"state_cache_size": 10_000}))
    agent.start()
    before = agent.resident_megabytes()
    status, _, first = await caller.run(key="the same")
    assert (status, agent.metric("agent_cache_misses_total")) == (200, 1)
    calls_of_a_miss = upstream.stats()["calls"]
    assert await caller.statuses(20, key="the same") == [200] * 20
    assert agent.metric("agent_cache_hits_total") == 20
    assert upstream.stats()["calls"] - calls_of_a_miss >= 20, "a hit still asks for the answer"
    assert agent.metric("agent_cache_bytes") >= first["context_bytes"]
    await asyncio.gather(*(caller.run(key=f"other {number}") for number in range(250)))
    held = agent.metric("agent_cache_bytes") / 1e6
    assert held > 10
    taken = agent.resident_megabytes()
    assert taken - before > 0.8 * held
    agent.tune(2, cache={"maxBytes": 100_000_000}, beside=agentflow(runner=many, memory={"state_cache_size": 50}))
    await until(lambda: agent.metric("agent_cache_evictions_total") == 201, "fewer entries")
    agent.tune(3, cache={"maxBytes": 0}, beside=agentflow(runner=many))
    await until(lambda: agent.metric("agent_cache_bytes") == 0, "the cache is empty")
    await until(lambda: agent.resident_megabytes() < taken - 0.8 * held, "its memory is given back")


async def test_an_outage_opens_the_breaker_calls_stop_and_resume(
    agent: Agent, caller: Caller, upstream: Upstream
) -> None:
    agent.tune(1, circuitBreaker={"minimumNumberOfCalls": 5, "waitDurationInOpenStateSeconds": 300})
    agent.start()
    upstream.mode(mode="outage")
    assert set(await caller.statuses(16)) <= {502, 503}
    assert agent.metric("agent_breaker_state") == 2
    assert agent.metric("agent_upstream_errors_total", kind="5xx") >= 5
    calls = upstream.stats()["calls"]
    for status, headers, body in await asyncio.gather(*caller.start(30)):
        assert (status, body) == (503, {"rejected": "breaker"})
        assert 0 < int(headers["Retry-After"]) <= 300
    assert upstream.stats()["calls"] == calls, "an open breaker let a call through"

    upstream.mode(mode="healthy")
    agent.tune(2, circuitBreaker={"minimumNumberOfCalls": 5, "waitDurationInOpenStateSeconds": 1})
    await until(lambda: agent.metric("agent_breaker_state") == 1, "the wait is over")
    assert 200 in await caller.statuses(10)
    await until(lambda: agent.metric("agent_breaker_state") == 0, "the breaker is closed")
    assert await caller.statuses(10) == [200] * 10


async def test_each_way_to_fail_is_counted_as_what_it_is(agent: Agent, caller: Caller, upstream: Upstream) -> None:
    agent.tune(1, circuitBreaker={"minimumNumberOfCalls": 10_000, "failureRateThresholdPercent": 100})
    agent.process.argv += HASTY
    agent.start()
    assert await caller.statuses(5) == [200] * 5
    upstream.mode(mode="rate_limited", requests_per_second=0.01)
    statuses = await caller.statuses(6)
    upstream.mode(mode="failing")
    statuses += await caller.statuses(14)
    assert agent.metric("agent_requests_total", **ERROR) == statuses.count(502) >= 19
    await until(lambda: upstream.stats()["in_flight"] == 0, "calls that were given up end")
    for kind, count in upstream.stats()["failed_by_kind"].items():
        assert agent.metric("agent_upstream_errors_total", kind=kind) == count > 0, kind


async def test_a_caller_who_hangs_up_gives_the_worker_back(agent: Agent, caller: Caller) -> None:
    agent.process.argv += LONG_RUNS
    agent.start()
    await checks.frees_workers_of_callers_who_hang_up(agent, caller)
    assert agent.metric("agent_upstream_calls_total", outcome="failure") == 0, "the upstream is not to blame"


async def test_sigterm_refuses_what_waits_and_finishes_what_runs(agent: Agent, caller: Caller) -> None:
    agent.process.argv += LONG_RUNS
    agent.start()
    await checks.drains(agent, caller, busy=8, waiting=3)


def test_what_makes_no_sense_is_refused(agent: Agent) -> None:
    agent.start()
    checks.refuses_nonsense(agent)
    assert agent.metric("agent_requests_total", **ERROR) == 0
