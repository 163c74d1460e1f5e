"""The agents in C# as real processes on Mono."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests
from aiohttp import ClientSession

from e2e.harness import dotnet
from e2e.harness.process import REQUEST_SECONDS, serves
from e2e.harness.upstream import Upstream
from tests.component import agent_checks as checks
from tests.component.agent_stage import LONG_RUNS, PATIENT, TIME_SCALE, Agent, Caller, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RUNS = 120
SLOWER_RUNS = {"mode": "slow", "slow_factor": 8}  # slow enough to be seen
FRAMEWORKS = ("genericagents", "aiagentsharp")
SECTIONS = {"genericagents": "Performance:MaxConcurrentAgents", "aiagentsharp": "ParallelToolExecutor:MaxConcurrency"}
MEASURED_OTHERWISE = {"agent_requests_total", "agent_request_duration_seconds", "agent_breaker_state"}
"""Of the contract: the frameworks have names of their own for runs, and no circuit breaker."""

Start = Callable[..., Agent]


def settings(**values: Any) -> dict[str, str]:
    """An appsettings.json; ``Section__Key`` as in variables."""
    document: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, key = path.split("__")
        document.setdefault(section, {})[key] = value
    return {"appsettings.json": json.dumps(document)}


def workers(framework: str, count: Any, **more: Any) -> dict[str, str]:
    return settings(**{SECTIONS[framework].replace(":", "__"): count}, **more)


@pytest.fixture
def start(tmp_path: Path, upstream: Upstream) -> Iterator[Start]:
    """Starts pods, each with the settings that it finds."""
    pods: list[Agent] = []

    def one(framework: str, number: int = 0, files: dict[str, str] | None = None, **sections: Any) -> Agent:
        environment = sections.pop("environment", {})
        argv: list[str | Path] = ["mono", dotnet.ensure_agent(framework), f"--upstream={upstream.url}", "--seed=1"]
        argv += ["--time-scale", str(TIME_SCALE), *PATIENT, *sections.pop("arguments", ())]
        argv += ["--drain-delay-seconds", "0.5", "--drain-linger-seconds", "0.2"]
        pod = Agent(tmp_path / f"pod-{len(pods)}", argv, env=environment)
        if number:
            pod.tune(number, beside=files, **sections)
        pods.append(pod)
        pod.start()
        return pod

    yield one
    for pod in pods:
        pod.process.kill()  # how it ends by SIGTERM has its own tests


def exposition(agent: Agent) -> str:
    return requests.get(f"{agent.url}/metrics", timeout=REQUEST_SECONDS).text


def runs_counted(agent: Agent) -> tuple[float, float]:
    """Good and failed runs of a GenericAgents agent."""
    # Read as text: Python's parser puts _total behind the names of counters that have none, and Prometheus does not.
    text = exposition(agent)
    good, failed = re.findall(r"(?m)^agent_execution_(?:success|failure) (\S+)$", text)
    return float(good), float(failed)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_series_is_there_before_the_first_run(start: Start, framework: str) -> None:
    agent = start(framework)
    text = exposition(agent)
    served = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    contract = set(
        re.findall(r"^\| `((?:agent|process)_\w+)` \|", (ROOT / "docs" / "contract.md").read_text(), re.MULTILINE)
    )
    assert contract - served == MEASURED_OTHERWISE
    assert "# TYPE agent_tuning_applied_generation gauge" in text
    for reason in ("queue_full", "memory", "breaker", "draining"):
        assert agent.metric("agent_rejected_total", reason=reason) == 0
    assert agent.metric("agent_worker_limit") == {"genericagents": 100, "aiagentsharp": 5}[framework], "as the guide"
    assert serves(f"{agent.url}/healthz")


async def test_genericagents_measures_as_its_exporter_does(start: Start, session: ClientSession) -> None:
    agent = start("genericagents", 1, settings(Performance__MaxConcurrentAgents=4))
    answers = await asyncio.gather(*Caller(session, agent).start(20))
    assert {status for status, _, _ in answers} == {200}
    assert runs_counted(agent) == (20, 0)
    assert agent.metric("agent_execution_duration_count") == 20
    assert 20 * 20 < agent.metric("agent_execution_duration_sum") < 20 * 60_000, "milliseconds"
    text = exposition(agent)
    assert not re.search(r"agent_execution_\w+\{|agent_execution_duration_bucket", text)
    assert agent.metric("agent_queue_wait_seconds_count") == 20
    assert max(float(headers["X-Queue-Wait-Seconds"]) for _, headers, _ in answers) > 0


async def test_a_restart_brings_the_settings_of_appsettings_json(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    upstream.mode(**SLOWER_RUNS)
    first = start("genericagents", 1, workers("genericagents", 2))
    assert first.metric("agent_worker_limit") == 2
    runs = Caller(session, first).start(40)
    await until(lambda: first.metric("agent_queue_depth") > 10, "runs wait")
    files = workers("genericagents", 12, Performance__CacheExpirationMinutes=1, Threading__MinWorkerThreads=50)
    first.tune(2, beside=files)
    second = start("genericagents", 2, files, cache={"maxBytes": 3_000_000})
    assert first.metric("agent_tuning_applied_generation") == 1, "a pod keeps what it started with"
    assert (second.metric("agent_tuning_applied_generation"), second.metric("agent_worker_limit")) == (2, 12)
    assert second.metric("agent_cache_limit_bytes") == 3_000_000
    runs += Caller(session, second).start(40)
    await until(lambda: second.metric("agent_inflight_requests") == 12, "as many run as the file says")
    assert first.metric("agent_inflight_requests") <= 2
    upstream.mode(mode="healthy")
    assert [status for status, _, _ in await asyncio.gather(*runs)] == [200] * 80
    assert runs_counted(first) == runs_counted(second) == (40, 0)


async def test_a_rolling_restart_under_load_loses_no_request(start: Start, session: ClientSession) -> None:
    old = start("genericagents", 1, workers("genericagents", 8))
    statuses: list[int] = []
    ready = [old]

    async def call_until(stop: asyncio.Event) -> None:
        while not stop.is_set():
            statuses.append((await Caller(session, ready[-1]).run())[0])

    stop = asyncio.Event()
    callers = [asyncio.create_task(call_until(stop)) for _ in range(12)]
    await until(lambda: len(statuses) > 20, "load")
    ready.append(await asyncio.to_thread(start, "genericagents", 2, workers("genericagents", 10)))
    psutil.Process(old.process.pid).terminate()
    await until(lambda: not old.process.alive, "the old pod exits")
    assert old.process.returncode == 0
    stop.set()
    await asyncio.gather(*callers)
    assert set(statuses) == {200}
    assert ready[-1].metric("agent_worker_limit") == 10


def test_a_variable_goes_before_the_file_and_the_file_before_tuning_json(start: Start) -> None:
    variable = {"performance__MAXCONCURRENTAGENTS": "7"}
    assert (
        start("genericagents", 1, workers("genericagents", 3), environment=variable).metric("agent_worker_limit") == 7
    )
    assert (
        start("genericagents", 1, workers("genericagents", 3), workers={"maxConcurrent": 5}).metric(
            "agent_worker_limit"
        )
        == 3
    )
    assert start("genericagents", 1, {}, workers={"maxConcurrent": 5}).metric("agent_worker_limit") == 5


@pytest.mark.parametrize("broken", ['{"Performance": {"ConnectionPoolSize": "many"}}', '{"Performance": {', "[]"])
async def test_a_broken_file_at_start_leaves_the_agents_own_settings(
    start: Start, session: ClientSession, broken: str
) -> None:
    agent = start(
        "genericagents", 7, {"appsettings.json": broken}, environment={"Performance__MaxConcurrentAgents": "6"}
    )
    assert agent.metric("agent_worker_limit") == 6
    assert agent.metric("agent_tuning_applied_generation") == 0
    assert agent.metric("agent_tuning_errors_total") == 1
    assert await Caller(session, agent).statuses(4) == [200] * 4


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_cache_holds_bytes_and_saves_calls(
    start: Start, session: ClientSession, upstream: Upstream, framework: str
) -> None:
    agent = start(framework, 1, workers(framework, 20), cache={"maxBytes": 30_000_000})
    caller = Caller(session, agent)
    status, _, first = await caller.run(key="the same")
    assert (status, agent.metric("agent_cache_misses_total")) == (200, 1)
    calls_of_a_miss = upstream.stats()["calls"]
    assert await caller.statuses(20, key="the same") == [200] * 20
    assert agent.metric("agent_cache_hits_total") == 20
    assert 20 <= upstream.stats()["calls"] - calls_of_a_miss <= 40, "a hit asks for the answer alone"
    assert first["context_bytes"] <= agent.metric("agent_cache_bytes") <= first["context_bytes"] + 1000
    answers = await asyncio.gather(*(caller.run(key=f"other {number}") for number in range(60)))
    held = sum(body["context_bytes"] for _, _, body in (*answers, (0, {}, first)))
    assert held <= agent.metric("agent_cache_bytes") <= held + 61 * 1000


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_sigterm_refuses_what_waits_and_finishes_what_runs(
    start: Start, session: ClientSession, framework: str
) -> None:
    agent = start(framework, 1, workers(framework, 3), arguments=LONG_RUNS)
    await checks.drains(agent, Caller(session, agent), busy=3, waiting=2)


async def test_a_full_queue_refuses(start: Start, session: ClientSession) -> None:
    agent = start("genericagents", 1, workers("genericagents", 2), arguments=("--queue-size", "3", *LONG_RUNS))
    runs = Caller(session, agent).start(9)
    await until(lambda: agent.metric("agent_rejected_total", reason="queue_full") == 4, "four are refused")
    assert (agent.metric("agent_inflight_requests"), agent.metric("agent_queue_depth")) == (2, 3)
    assert sorted(status for status, _, _ in await asyncio.gather(*runs)) == [200] * 5 + [503] * 4


async def test_memory_above_the_mark_lets_nothing_start(start: Start, session: ClientSession) -> None:
    files = workers("genericagents", 8, MemoryManagement__MaxMemoryUsageMB=10)  # the runtime alone takes more
    agent = start("genericagents", 1, files)
    runs = Caller(session, agent).start(3)
    await until(lambda: agent.metric("agent_queue_depth") == 3, "all wait")
    assert agent.metric("agent_inflight_requests") == 0
    for run in runs:
        run.cancel()


async def test_aiagentsharp_collects_above_its_limit_and_goes_on(start: Start, session: ClientSession) -> None:
    agent = start("aiagentsharp", 1, settings(MemoryManager__MemoryLimitMB=10))  # the runtime alone takes more
    await until(lambda: "memory was above 10 MiB" in agent.process.tail(), "it collects")
    assert await Caller(session, agent).statuses(6) == [200] * 6


async def test_a_call_that_failed_is_made_again_as_often_as_the_settings_say(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    upstream.mode(mode="outage")
    retries = {"Performance__MaxRetryAttempts": 2, "Agents__RetryDelay": "00:00:00.05"}
    agent = start("genericagents", 1, settings(**retries))
    status, _, body = await Caller(session, agent).run()
    assert (status, body) == (502, {"error": "5xx"})
    assert agent.metric("agent_upstream_errors_total", kind="5xx") == upstream.stats()["calls"] == 3
    assert runs_counted(agent) == (0, 1)


async def test_each_way_to_fail_is_counted_as_what_it_is(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    agent = start("genericagents", 1, settings(Performance__MaxRetryAttempts=0, Performance__TimeoutSeconds=1))
    caller = Caller(session, agent)
    upstream.mode(mode="rate_limited", requests_per_second=0.01)
    statuses = await caller.statuses(6)
    upstream.mode(mode="failing")
    statuses += await caller.statuses(14)
    assert runs_counted(agent) == (statuses.count(200), statuses.count(502))
    assert statuses.count(502) >= 19
    await until(lambda: upstream.stats()["in_flight"] == 0, "calls that were given up end")
    for kind, count in upstream.stats()["failed_by_kind"].items():
        assert agent.metric("agent_upstream_errors_total", kind=kind) == count > 0, kind


async def test_calls_beyond_the_pool_wait_for_a_connection(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    pool = settings(Performance__MaxConcurrentAgents=9, Performance__ConnectionPoolSize=4)
    agent = start("genericagents", 1, pool, arguments=LONG_RUNS)
    runs = Caller(session, agent).start(9)
    await until(lambda: agent.metric("agent_inflight_requests") == 9, "nine run")
    await until(lambda: upstream.stats()["in_flight"] == 4, "four call")
    assert [status for status, _, _ in await asyncio.gather(*runs)] == [200] * 9


async def test_aiagentsharp_is_retuned_while_it_runs_and_no_request_is_lost(
    start: Start, session: ClientSession, upstream: Upstream
) -> None:
    upstream.mode(**SLOWER_RUNS)
    agent = start("aiagentsharp", 1, workers("aiagentsharp", 1))
    runs = Caller(session, agent).start(RUNS)
    await until(lambda: agent.metric("agent_queue_depth") > RUNS / 3, "runs wait")
    wider = {"ResponseCache__DefaultExpiration": "00:15:00", "ConnectionPool__MaxSize": 40}
    agent.tune(2, beside=workers("aiagentsharp", 20, **wider), cache={"maxBytes": 1_000_000})
    await until(lambda: agent.metric("agent_inflight_requests") >= 15, "waiting runs start")
    assert agent.metric("agent_worker_limit") == 20
    assert agent.metric("agent_cache_limit_bytes") == 1_000_000
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 2, "it is told")
    upstream.mode(mode="healthy")
    agent.tune(3, beside=workers("aiagentsharp", 10))
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 3, "fewer workers")
    answers = await asyncio.gather(*runs)
    assert [status for status, _, _ in answers] == [200] * RUNS
    assert agent.metric("agent_queue_wait_seconds_count") == RUNS
    assert max(float(headers["X-Queue-Wait-Seconds"]) for _, headers, _ in answers) > 0.1
    for generation, broken in ((4, '{"ParallelToolExecutor": {"MaxConcurrency": 0}}'), (5, '{"ResponseCache": ')):
        agent.tune(generation, beside={"appsettings.json": broken})
        await until(lambda told=generation - 3: agent.metric("agent_tuning_errors_total") == told, "it is told")  # type: ignore[misc]
        assert (agent.metric("agent_tuning_applied_generation"), agent.metric("agent_worker_limit")) == (3, 10)
    agent.tune(6, workers={"maxConcurrent": 12})
    await until(lambda: agent.metric("agent_tuning_errors_total") == 3, "the broken file that stays is still broken")
    agent.tune(7, beside={"appsettings.json": "{}"}, workers={"maxConcurrent": 12})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 7, "mended")
    assert agent.metric("agent_worker_limit") == 12


async def test_memory_of_a_smaller_cache_is_given_back(start: Start, session: ClientSession) -> None:
    agent = start(
        "aiagentsharp", 1, workers("aiagentsharp", 30, ConnectionPool__MaxSize=40), cache={"maxBytes": 100_000_000}
    )
    caller = Caller(session, agent)
    assert await caller.statuses(30) == [200] * 30
    before = agent.resident_megabytes() - agent.metric("agent_cache_bytes") / 1e6
    await asyncio.gather(*(caller.run(key=f"other {number}", memory_factor=0) for number in range(250)))
    held = agent.metric("agent_cache_bytes") / 1e6
    taken = agent.resident_megabytes()
    assert held > 10
    assert taken - before > 0.8 * held
    agent.tune(2, beside=workers("aiagentsharp", 30), cache={"maxBytes": 0})
    await until(lambda: agent.metric("agent_cache_bytes") == 0, "the cache is empty")
    assert agent.metric("agent_cache_evictions_total") > 200
    await until(lambda: agent.resident_megabytes() < taken - 0.8 * held, "its memory is given back")


async def test_entries_expire_by_the_lifetime_in_force(start: Start, session: ClientSession) -> None:
    agent = start("aiagentsharp", 1, settings(ResponseCache__DefaultExpiration="01:00:00"))
    await Caller(session, agent).run(key="the same")
    agent.tune(2, beside=settings(ResponseCache__DefaultExpiration="00:00:01"))
    await until(lambda: agent.metric("agent_cache_expired_total") == 1, "also what is stored already")
    assert agent.metric("agent_cache_bytes") == 0


async def test_aiagentsharp_measures_means_and_rates(start: Start, session: ClientSession, upstream: Upstream) -> None:
    agent = start("aiagentsharp")
    assert (agent.metric("ResponseTime"), agent.metric("SuccessRate"), agent.metric("RequestsPerSecond")) == (0, 1, 0)
    caller = Caller(session, agent)
    assert await caller.statuses(6) == [200] * 6
    assert agent.metric("SuccessRate") == 1
    assert 20 < agent.metric("ResponseTime") < 60_000, "milliseconds"
    assert 0 < agent.metric("RequestsPerSecond") <= 6
    upstream.mode(mode="outage")
    assert await caller.statuses(2) == [502] * 2
    assert agent.metric("SuccessRate") == 0.75
    upstream.mode(mode="slow", slow_factor=1000)
    runs = caller.start(3)
    await until(lambda: agent.metric("ConcurrentRequests") == 3, "three run")
    for run in runs:
        run.cancel()


async def test_a_client_that_fails_is_passed_by(
    start: Start, session: ClientSession, tmp_path: Path, upstream: Upstream
) -> None:
    with Upstream(tmp_path / "second", time_scale=TIME_SCALE) as second:
        agent = start("aiagentsharp", arguments=("--upstream", f"{upstream.url},{second.url}"))
        upstream.mode(mode="outage")
        assert await Caller(session, agent).statuses(6) == [200] * 6
        failed = agent.metric("agent_upstream_errors_total", kind="5xx")
        assert failed == upstream.stats()["calls"] > 0
        assert agent.metric("agent_upstream_calls_total", outcome="success") == second.stats()["calls"]
        second.mode(mode="outage")
        status, _, body = await Caller(session, agent).run()
        assert (status, body) == (502, {"error": "5xx"})
        assert agent.metric("agent_upstream_errors_total", kind="5xx") == failed + 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_makes_no_sense_is_refused(start: Start, framework: str) -> None:
    agent = start(framework)
    checks.refuses_nonsense(agent)
    unreadable: list[str | bytes] = [b"\xff", '{"key": "\\ud800"}', json.dumps({"key": "a" * 201})]
    for body in unreadable:
        assert requests.post(f"{agent.url}/run", data=body, timeout=REQUEST_SECONDS).status_code == 400, body
    assert agent.metric("agent_queue_wait_seconds_count") == 0
    long_key = {"key": 'ä\u0001"\\' * 50, "memory_factor": 0}
    answer = requests.post(f"{agent.url}/run", json=long_key, timeout=REQUEST_SECONDS)
    assert (answer.status_code, answer.json()["key"]) == (200, long_key["key"])
