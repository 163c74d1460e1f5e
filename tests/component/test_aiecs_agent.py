"""The agent on the published package AIECS as a real process, on an environment of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import requests
from aiohttp import ClientSession

from e2e.harness import environments
from e2e.harness.process import REQUEST_SECONDS, free_port, serves
from e2e.harness.upstream import Upstream
from tests.component import agent_checks as checks
from tests.component.agent_stage import HASTY, LONG_RUNS, PATIENT, TIME_SCALE, Agent, Caller, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RUNS = 60
ONCE = "TOOL_EXECUTOR_RETRY_ATTEMPTS=1"

Start = Callable[..., Agent]


@pytest.fixture
def start(tmp_path: Path, upstream: Upstream) -> Iterator[Start]:
    """Starts pods of one Deployment, each with the settings that it finds."""
    pods: list[Agent] = []

    def one(number: int = 0, *lines: str, arguments: tuple[str, ...] = (), **environment: str) -> Agent:
        argv: list[str | Path] = [environments.ensure_aiecs(), "-m", "e2e.agents.aiecs", "--upstream", upstream.url]
        argv += ["--time-scale", str(TIME_SCALE), "--seed", "1", *PATIENT, *arguments]
        argv += ["--drain-delay-seconds", "0.5", "--drain-linger-seconds", "0.2"]
        environment = {"METRICS_PORT": str(free_port()), **environment}
        pod = Agent(tmp_path / f"pod-{len(pods)}", argv, env=environment, cwd=ROOT)
        if number:
            pod.tune(number, beside={"aiecs.env": "".join(f"{line}\n" for line in lines)})
        pods.append(pod)
        pod.start()
        return pod

    yield one
    for pod in pods:
        pod.process.stop()


def test_the_guides_metrics_are_served_on_metrics_port_and_those_of_the_contract_beside_them(start: Start) -> None:
    port = str(free_port())
    agent = start(METRICS_PORT=port)
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=REQUEST_SECONDS).text
    for series in ("execute_latency_seconds_count", "execute_success_total", "execute_retries_total"):
        assert f'{series}{{task_type="run"}} 0.0' in text
    served = set(re.findall(r"^# TYPE (agent_\w+) ", text, re.MULTILINE))
    contract = (ROOT / "docs" / "contract.md").read_text()
    unknown = {
        *("agent_requests_total", "agent_request_duration_seconds"),  # AIECS has names of its own
        *("agent_cache_evictions_total", "agent_cache_expired_total", "agent_cache_limit_bytes", "agent_breaker_state"),
    }
    assert served == set(re.findall(r"^\| `(agent_\w+)` \|", contract, re.MULTILINE)) - unknown
    assert serves(f"{agent.url}/healthz")


async def test_a_restart_brings_the_settings_of_aiecs_env(start: Start, session: ClientSession) -> None:
    first = start(1, "TOOL_EXECUTOR_MAX_WORKERS=2", TOOL_EXECUTOR_MAX_WORKERS="9")
    assert first.metric("agent_worker_limit") == 2, "what is delivered goes before the pod's own environment"
    assert first.metric("agent_tuning_applied_generation") == 1
    runs = Caller(session, first).start(RUNS)
    await until(lambda: first.metric("agent_queue_depth") > RUNS / 3, "runs wait")
    first.tune(2, beside={"aiecs.env": "export TOOL_EXECUTOR_MAX_WORKERS='12' # more\n"})
    second = start(2, "export TOOL_EXECUTOR_MAX_WORKERS='12' # more")
    assert first.metric("agent_tuning_applied_generation") == 1, "a pod keeps what it started with"
    assert second.metric("agent_tuning_applied_generation") == 2
    runs += Caller(session, second).start(RUNS)
    await until(lambda: second.metric("agent_inflight_requests") == 12, "as many run as the file says")
    assert first.metric("agent_inflight_requests") <= 2
    await asyncio.gather(*runs)
    assert [run.result()[0] for run in runs] == [200] * 2 * RUNS
    for pod in (first, second):
        assert pod.metric("execute_latency_seconds_count", task_type="run") == RUNS
        assert pod.metric("execute_success_total", task_type="run") == RUNS
        assert pod.metric("agent_queue_wait_seconds_count") == RUNS


async def test_a_rolling_restart_under_load_loses_no_request(start: Start, session: ClientSession) -> None:
    old = start(1, "TOOL_EXECUTOR_MAX_WORKERS=8")
    statuses: list[int] = []
    ready = [old]

    async def call_until(stop: asyncio.Event) -> None:
        while not stop.is_set():
            statuses.append((await Caller(session, ready[-1]).run())[0])

    stop = asyncio.Event()
    callers = [asyncio.create_task(call_until(stop)) for _ in range(12)]
    await until(lambda: len(statuses) > 20, "load")
    ready.append(await asyncio.to_thread(start, 2, "TOOL_EXECUTOR_MAX_WORKERS=10"))
    psutil.Process(old.process.pid).terminate()
    await until(lambda: not old.process.alive, "the old pod exits")
    assert old.process.returncode == 0
    stop.set()
    await asyncio.gather(*callers)
    assert set(statuses) == {200}
    assert ready[-1].metric("agent_worker_limit") == 10


@pytest.mark.parametrize(
    "broken",
    ["TOOL_EXECUTOR_MAX_WORKERS=many", "TOOL_EXECUTOR_MAX_WORKERS=0", "[runner]", "TOOL_EXECUTOR_TIMEOUT='3"],
)
async def test_a_broken_file_leaves_the_settings_of_the_pod(start: Start, session: ClientSession, broken: str) -> None:
    agent = start(7, "TOOL_EXECUTOR_CACHE_SIZE=1", broken, TOOL_EXECUTOR_MAX_WORKERS="3")
    assert agent.metric("agent_worker_limit") == 3
    assert agent.metric("agent_tuning_applied_generation") == 0
    assert agent.metric("agent_tuning_errors_total") == 1
    assert await Caller(session, agent).statuses(4) == [200] * 4


async def test_the_cache_of_the_executor_holds_entries_for_their_time(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    agent = start(1, "TOOL_EXECUTOR_CACHE_SIZE=5", "TOOL_EXECUTOR_CACHE_TTL=3600", "TOOL_EXECUTOR_MAX_WORKERS=10")
    caller = Caller(session, agent)
    status, _, first = await caller.run(key="the same")
    assert (status, agent.metric("agent_cache_misses_total")) == (200, 1)
    assert agent.metric("agent_cache_bytes") == first["context_bytes"]
    calls_of_a_miss = upstream.stats()["calls"]
    assert await caller.statuses(10, key="the same") == [200] * 10
    assert agent.metric("agent_cache_hits_total") == 10
    assert 10 <= upstream.stats()["calls"] - calls_of_a_miss <= 20, "a hit asks for the answer alone"
    answers = [await caller.run(key=f"other {number}") for number in range(6)]
    assert agent.metric("agent_cache_bytes") == sum(body["context_bytes"] for _, _, body in answers[1:])

    short = start(2, "TOOL_EXECUTOR_CACHE_TTL=1")
    caller = Caller(session, short)
    await caller.run(key="the same")

    def expires() -> bool:
        requests.post(f"{short.url}/run", json={"key": "the same"}, timeout=REQUEST_SECONDS)
        return short.metric("agent_cache_misses_total") == 2

    await until(expires, "an entry expires")


async def test_a_failed_run_is_made_again_as_often_as_the_settings_say(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    upstream.mode(mode="outage")
    agent = start(1, "TOOL_EXECUTOR_RETRY_ATTEMPTS=2")
    status, _, body = await Caller(session, agent).run()
    assert (status, body) == (502, {"error": "5xx"})
    assert agent.metric("execute_retries_total", task_type="run") == 1
    assert agent.metric("agent_upstream_errors_total", kind="5xx") == upstream.stats()["calls"] == 2
    assert agent.metric("execute_success_total", task_type="run") == 0
    assert agent.metric("execute_latency_seconds_count", task_type="run") == 1
    upstream.mode(mode="healthy")
    status, _, body = await Caller(session, agent).run(key="a; b")
    assert (status, body) == (502, {"error": "upstream"}), "AIECS takes it for an attack"


async def test_a_run_that_takes_too_long_ends_and_its_worker_is_busy_until_its_thread_is_free(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    upstream.mode(mode="slow", slow_factor=1000)  # each call ends by its time-out
    agent = start(1, "TOOL_EXECUTOR_TIMEOUT=1", ONCE, arguments=HASTY)
    status, _, body = await Caller(session, agent).run()
    assert (status, body) == (502, {"error": "timeout"})
    assert agent.metric("agent_inflight_requests") == 1
    await until(lambda: agent.metric("agent_inflight_requests") == 0, "the thread is free")
    assert agent.metric("agent_upstream_errors_total", kind="timeout") == 1


async def test_sigterm_refuses_what_waits_and_finishes_what_runs(start: Start, session: ClientSession) -> None:
    agent = start(1, "TOOL_EXECUTOR_MAX_WORKERS=3", arguments=LONG_RUNS)
    await checks.drains(agent, Caller(session, agent), busy=3, waiting=2)


def test_nothing_of_what_the_package_brings_beside_it_is_installed() -> None:
    site = next(environments.ensure_aiecs().parents[1].glob("lib/python3*/site-packages"))
    installed = {each.name.split("-")[0].replace("_", "-").lower() for each in site.glob("*.dist-info")}
    locked = {name for lock in environments.AIECS_LOCKS for name in re.findall(r"(?m)^([\w-]+)==", lock.read_text())}
    assert installed - {"pip", "setuptools"} == locked
    assert {"aiecs", "pydantic", "tenacity"} <= locked
    assert not {"openai", "anthropic", "celery", "asyncpg", "numpy"} & locked


def test_the_locks_name_no_host() -> None:
    for lock in environments.AIECS_LOCKS:
        assert "://" not in lock.read_text()
