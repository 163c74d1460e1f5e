"""The AgentGraph agent, in Rust, as a real process; and the crates' own tests."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from aiohttp import ClientSession, TCPConnector

from e2e.harness import rust, tools
from e2e.harness.process import REQUEST_SECONDS, serves
from e2e.harness.upstream import Upstream
from tests.component import agent_checks as checks
from tests.component.agent_stage import HASTY, LONG_RUNS, PATIENT, TIME_SCALE, Agent, Caller, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).parents[2]
CRATES = (ROOT / "clients/rust", ROOT / "e2e/agents/agentgraph")
RUNS = 200
OF_THE_GUIDE = {"agent_requests_per_second", "agent_response_time_ms", "agent_token_usage"}
GRAPH = {"agent": "weaver"}
TOKENS = "agent_token_usage_total"  # so the parser calls a counter, whatever its name


def agentgraph(**variables: object) -> dict[str, str]:
    return {"agentgraph.env": "".join(f"{name}={value}\n" for name, value in variables.items())}


@pytest.fixture
def agent(tmp_path: Path, upstream: Upstream) -> Iterator[Agent]:
    argv: list[str | Path] = [tools.ensure("agentgraph")["agentgraph"], "--agent-name", "weaver", "--seed", "1"]
    argv += ["--time-scale", str(TIME_SCALE), *PATIENT, "--drain-delay-seconds", "0", "--drain-linger-seconds", "0.2"]
    argv += ["--upstream", "http://model-provider", "--upstream", upstream.url]  # as in the image, and then as in a pod
    one = Agent(tmp_path, argv, cwd=tmp_path)
    try:
        yield one
    finally:
        one.process.stop()


@pytest.fixture
async def caller(agent: Agent) -> AsyncIterator[Caller]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield Caller(session, agent)


@pytest.mark.parametrize("crate", CRATES, ids=["client", "agent"])
def test_the_crate_is_formatted_without_lint_and_passes_its_own_tests(crate: Path) -> None:
    cache = tools.cache_directory()
    env = {**os.environ, **rust.environment(cache)}
    parts = (*(str(each.relative_to(ROOT)) for each in CRATES), "docs/tuning.schema.json")
    home = rust.sources(ROOT, parts, cache) / crate.relative_to(ROOT)

    def run(*command: str) -> None:
        done = subprocess.run([rust.cargo(), *command], cwd=home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run("fmt", "--check")
    run("clippy", "--release", "--locked", "--all-targets", "--", "--deny", "warnings")
    run("test", "--release", "--locked")  # in the profile of the binary: what both need is compiled once


def test_the_library_that_users_copy_stays_small() -> None:
    lines = [line.strip() for path in CRATES[0].glob("src/**/*.rs") for line in path.read_text().splitlines()]
    assert 100 < len([line for line in lines if line and not line.startswith("//")]) <= 200


def test_the_crates_say_which_rust_they_need() -> None:
    for crate in CRATES:
        assert f'rust-version = "{".".join(map(str, rust.OLDEST))}"' in (crate / "Cargo.toml").read_text()


def test_a_machine_without_rust_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install cargo-web"):
        rust.cargo()
    old = tmp_path / "cargo"
    old.write_text("#!/bin/sh\necho cargo 1.63.0\n")
    old.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"cargo 1\.63\.0 is older than 1\.85"):
        rust.cargo()


def test_every_series_is_there_before_the_first_run(agent: Agent) -> None:
    agent.start()
    text = requests.get(f"{agent.url}/metrics", timeout=REQUEST_SECONDS).text
    served = set(re.findall(r"^# TYPE (agent_\w+) ", text, re.MULTILINE))
    contract = set(re.findall(r"^\| `(agent_\w+)` \|", (ROOT / "docs" / "contract.md").read_text(), re.MULTILINE))
    # The duration of runs has the guide's name, and is told once.
    assert served == contract - {"agent_request_duration_seconds"} | OF_THE_GUIDE
    for status in ("success", "error"):
        assert agent.metric("agent_requests_total", status=status) == 0
    for reason in ("queue_full", "memory", "breaker", "draining"):
        assert agent.metric("agent_rejected_total", reason=reason) == 0
    assert agent.metric("agent_response_time_ms_count", **GRAPH) == 0
    assert agent.metric(TOKENS, **GRAPH) == 0
    bounds = re.findall(r'agent_response_time_ms_bucket\{agent="weaver",le="([^"]+)"', text)
    assert (bounds[0], bounds[-2]) == ("50", "600000"), "milliseconds"
    assert agent.metric("process_resident_memory_bytes") > 1e6
    assert serves(f"{agent.url}/healthz")


async def test_tuning_json_is_in_force_at_once_and_no_request_is_lost(agent: Agent, caller: Caller) -> None:
    agent.tune(1, workers={"maxConcurrent": 1})
    agent.start()
    assert agent.metric("agent_worker_limit") == 1
    runs = caller.start(RUNS)
    await until(lambda: agent.metric("agent_queue_depth") > 80, "runs wait")
    agent.tune(2, workers={"maxConcurrent": 20}, cache={"maxBytes": 1_000_000})
    await until(lambda: agent.metric("agent_inflight_requests") >= 15, "waiting runs start")
    assert agent.metric("agent_worker_limit") == 20
    assert agent.metric("agent_tuning_applied_generation") == 2
    assert agent.metric("agent_cache_limit_bytes") == 1_000_000
    agent.tune(3, workers={"maxConcurrent": 10})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 3, "fewer workers")
    answers = await asyncio.gather(*runs)
    assert [status for status, _, _ in answers] == [200] * RUNS
    assert agent.metric("agent_requests_total", status="success") == RUNS
    assert agent.metric("agent_response_time_ms_count", **GRAPH) == RUNS
    assert agent.metric("agent_response_time_ms_sum", **GRAPH) > 10 * RUNS, "milliseconds"
    assert agent.metric(TOKENS, **GRAPH) > 100_000
    assert agent.metric("agent_requests_per_second", **GRAPH) > 0
    assert agent.metric("agent_queue_wait_seconds_count") == RUNS
    assert max(float(headers["x-queue-wait-seconds"]) for _, headers, _ in answers) > 0.1


async def test_variables_are_read_at_start_and_a_later_change_waits_for_a_restart(agent: Agent) -> None:
    agent.process.env["MEMORY_LIMIT_MB"] = "900"
    first = agentgraph(MAX_CONCURRENT_AGENTS=7, CACHE_TTL_SECONDS=900)
    agent.tune(1, workers={"maxConcurrent": 7}, cache={"maxBytes": 1_000_000}, beside=first)
    agent.start()
    assert agent.metric("agent_worker_limit") == 7
    assert agent.metric("agent_tuning_applied_generation") == 1
    later = agentgraph(MAX_CONCURRENT_AGENTS=9, CACHE_TTL_SECONDS=900)
    agent.tune(2, workers={"maxConcurrent": 9}, cache={"maxBytes": 2_000_000}, beside=later)
    await until(lambda: agent.metric("agent_cache_limit_bytes") == 2_000_000, "what tuning.json alone says is live")
    assert agent.metric("agent_worker_limit") == 7, "the environment of a process stays"
    assert agent.metric("agent_tuning_applied_generation") == 1, "not all of the second one is in force"
    agent.process.stop()
    agent.start()
    assert agent.metric("agent_worker_limit") == 9
    assert agent.metric("agent_tuning_applied_generation") == 2
    assert agent.metric("agent_tuning_errors_total") == 0


async def test_a_full_queue_refuses(agent: Agent, caller: Caller) -> None:
    agent.process.argv += ["--queue-size", "3", *LONG_RUNS]
    agent.tune(1, beside=agentgraph(MAX_CONCURRENT_AGENTS=2))
    agent.start()
    runs = caller.start(9)
    await until(lambda: agent.metric("agent_rejected_total", reason="queue_full") == 4, "four are refused")
    assert (agent.metric("agent_inflight_requests"), agent.metric("agent_queue_depth")) == (2, 3)
    for run in runs:
        run.cancel()


async def test_a_broken_file_leaves_the_last_good_settings(agent: Agent, caller: Caller) -> None:
    good = agentgraph(LLM_PROVIDER="openai")
    agent.tune(1, workers={"maxConcurrent": 7}, beside=good)
    agent.start()
    broken = (agentgraph(MAX_CONCURRENT_AGENTS="many"), {"agentgraph.env": "no line"}, agentgraph(CACHE_TTL_SECONDS=0))
    for count, files in enumerate(broken):
        agent.tune(2 + count, workers={"maxConcurrent": 3}, beside=files)
        await until(lambda count=count: agent.metric("agent_tuning_errors_total") == count + 1, "it is told")  # type: ignore[misc]
        assert agent.metric("agent_tuning_applied_generation") == 1
        assert agent.metric("agent_worker_limit") == 7
    assert await caller.statuses(5) == [200] * 5
    agent.tune(9, workers={"maxConcurrent": 9}, beside=good)
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 9, "mended")
    assert agent.metric("agent_worker_limit") == 9
    assert agent.metric("agent_tuning_errors_total") == 3


def test_a_start_with_a_broken_file_takes_the_environment_of_the_pod(agent: Agent) -> None:
    agent.process.env["MAX_CONCURRENT_AGENTS"] = "4"
    agent.tune(5, workers={"maxConcurrent": 9}, beside=agentgraph(MAX_CONCURRENT_AGENTS="many"))
    agent.start()
    assert agent.metric("agent_worker_limit") == 4
    assert agent.metric("agent_tuning_applied_generation") == 0
    assert agent.metric("agent_tuning_errors_total") == 1


def test_the_structs_of_the_guide_come_from_a_file_of_the_users_own(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "agentgraph.toml").write_text("[llm]\ntimeout = 30\n\n[collaboration]\nmax_agents = 5\n")
    agent.start()
    assert agent.metric("agent_worker_limit") == 5


def test_monitoring_can_be_switched_off(agent: Agent) -> None:
    agent.process.env["MONITORING_ENABLED"] = "false"
    agent.start()
    assert requests.get(f"{agent.url}/metrics", timeout=REQUEST_SECONDS).status_code == 404


async def test_the_cache_holds_bytes_and_saves_upstream_calls(agent: Agent, caller: Caller, upstream: Upstream) -> None:
    many = {"maxConcurrent": 30}
    agent.tune(1, workers=many, cache={"maxBytes": 100_000_000})
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
    agent.tune(2, workers=many, cache={"maxBytes": 5_000_000})
    await until(lambda: agent.metric("agent_cache_bytes") <= 5e6, "a smaller cache")
    assert agent.metric("agent_cache_evictions_total") > 50
    agent.tune(3, workers=many, cache={"maxBytes": 5_000_000, "ttlSeconds": 1})
    await until(lambda: agent.metric("agent_cache_bytes") == 0, "all of it has expired")
    assert agent.metric("agent_cache_expired_total") > 0
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
    assert agent.metric("agent_requests_total", status="error") == statuses.count(502) >= 19
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
    assert agent.metric("agent_requests_total", status="error") == 0
