"""The reference agent and its upstream as real processes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from aiohttp import ClientSession, TCPConnector

from e2e.agents.reference.shape import Shape
from e2e.harness.process import REQUEST_SECONDS
from e2e.harness.upstream import Upstream
from tests.component import agent_checks as checks
from tests.component.agent_stage import HASTY, LONG_RUNS, PATIENT, TIME_SCALE, Agent, Caller, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).parents[2]
RUNS = 300  # so many that they keep twenty workers busy for seconds


@pytest.fixture
def agent(tmp_path: Path, upstream: Upstream, request: pytest.FixtureRequest) -> Iterator[Agent]:
    """A test's parameter is more arguments, which win."""
    argv = [sys.executable, "-m", "e2e.agents.reference", "--upstream", upstream.url]
    argv += ["--time-scale", str(TIME_SCALE), "--seed", "1", *PATIENT]
    argv += ["--drain-delay-seconds", "0", "--drain-linger-seconds", "0.2", *getattr(request, "param", ())]
    one = Agent(tmp_path, argv, cwd=ROOT)
    try:
        one.start()
        yield one
    finally:
        one.process.stop()


@pytest.fixture
async def caller(agent: Agent) -> AsyncIterator[Caller]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield Caller(session, agent)


async def test_new_workers_are_in_force_at_once_and_no_request_is_lost(agent: Agent, caller: Caller) -> None:
    agent.tune(1, workers={"maxConcurrent": 1})
    await until(lambda: agent.metric("agent_worker_limit") == 1, "one worker")
    runs = caller.start(RUNS)
    await until(lambda: agent.metric("agent_queue_depth") > 80, "runs wait")
    agent.tune(2, workers={"maxConcurrent": 20}, cache={"maxBytes": 1_000_000})
    await until(lambda: agent.metric("agent_inflight_requests") >= 15, "waiting runs start")
    assert agent.metric("agent_tuning_applied_generation") == 2
    assert agent.metric("agent_cache_limit_bytes") == 1_000_000
    agent.tune(3, workers={"maxConcurrent": 10})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 3, "fewer workers")
    answers = await asyncio.gather(*runs)
    assert [status for status, _, _ in answers] == [200] * RUNS
    assert agent.metric("agent_requests_total", status="success") == RUNS
    assert agent.metric("agent_queue_wait_seconds_count") == RUNS
    assert max(float(headers["X-Queue-Wait-Seconds"]) for _, headers, _ in answers) > 0.1


@pytest.mark.parametrize("agent", [LONG_RUNS], indirect=True, ids=["long_runs"])
async def test_memory_is_really_taken_and_really_given_back(agent: Agent, caller: Caller) -> None:
    idle = agent.resident_megabytes()
    assert idle <= 60
    runs = caller.start(8, memory_factor=4)  # 8 runs x 4 x 0.05 x 210 MB

    def is_taken() -> bool:
        told = agent.metric("process_resident_memory_bytes") / 1e6
        return min(agent.resident_megabytes(), told) > idle + 250 and agent.metric("agent_inflight_requests") >= 6

    await until(is_taken, "memory is taken by runs")
    await asyncio.gather(*runs)
    await until(lambda: agent.resident_megabytes() < idle + 30, "memory is given back")


async def test_the_cache_holds_bytes_and_saves_upstream_calls(agent: Agent, caller: Caller, upstream: Upstream) -> None:
    agent.tune(1, workers={"maxConcurrent": 30}, cache={"maxBytes": 100_000_000})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 1, "a large cache")
    before = agent.resident_megabytes()
    (status, _, first), *_ = await asyncio.gather(*caller.start(1, key="the same"))
    assert (status, agent.metric("agent_cache_misses_total")) == (200, 1)
    calls_of_a_miss = upstream.stats()["calls"]
    assert await caller.statuses(20, key="the same") == [200] * 20
    assert agent.metric("agent_cache_hits_total") == 20
    assert upstream.stats()["calls"] - calls_of_a_miss >= 20, "a hit still asks for the answer"
    assert agent.metric("agent_cache_bytes") >= first["context_bytes"]
    await asyncio.gather(*(caller.run(key=f"other {number}") for number in range(250)))
    held = agent.metric("agent_cache_bytes") / 1e6
    assert held > 10
    assert agent.resident_megabytes() - before > 0.8 * held
    agent.tune(2, cache={"maxBytes": 0})
    await until(lambda: agent.metric("agent_cache_bytes") == 0, "the cache is empty")
    await until(lambda: agent.resident_megabytes() < before + 10, "its memory is given back")


async def test_an_outage_opens_the_breaker_calls_stop_and_resume(
    agent: Agent, caller: Caller, upstream: Upstream
) -> None:
    agent.tune(1, circuitBreaker={"minimumNumberOfCalls": 5, "waitDurationInOpenStateSeconds": 300})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 1, "the breaker is tuned")
    upstream.mode(mode="outage")
    assert set(await caller.statuses(16)) <= {502, 503}
    assert agent.metric("agent_breaker_state") == 2
    assert agent.metric("agent_upstream_errors_total", kind="5xx") >= 5
    calls = upstream.stats()["calls"]
    for status, headers, body in await asyncio.gather(*caller.start(30)):
        assert (status, body) == (503, {"rejected": "breaker"})
        assert 0 < int(headers["Retry-After"]) <= 300
    assert upstream.stats()["calls"] == calls, "an open breaker let a call through"
    assert upstream.stats()["failed"] == calls

    upstream.mode(mode="healthy")
    agent.tune(2, circuitBreaker={"minimumNumberOfCalls": 5, "waitDurationInOpenStateSeconds": 1})
    await until(lambda: agent.metric("agent_breaker_state") == 1, "the wait is over")
    trials = await caller.statuses(10)
    assert 200 in trials
    await until(lambda: agent.metric("agent_breaker_state") == 0, "the breaker is closed")
    assert await caller.statuses(10) == [200] * 10


@pytest.mark.parametrize("agent", [HASTY], indirect=True, ids=["hasty"])
async def test_each_way_to_fail_is_counted_as_what_it_is(agent: Agent, caller: Caller, upstream: Upstream) -> None:
    agent.tune(1, circuitBreaker={"minimumNumberOfCalls": 10_000}, workers={"maxConcurrent": 40})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 1, "a breaker that stays closed")
    upstream.mode(mode="rate_limited", requests_per_second=0.01)
    statuses = await caller.statuses(20)
    assert statuses.count(502) >= 18
    assert agent.metric("agent_upstream_errors_total", kind="429") >= 18
    assert agent.metric("agent_upstream_errors_total", kind="5xx") == 0
    upstream.mode(mode="failing")
    assert await caller.statuses(30) == [502] * 30
    assert agent.metric("agent_upstream_errors_total", kind="5xx") >= 5
    assert agent.metric("agent_upstream_errors_total", kind="timeout") >= 5
    await until(lambda: upstream.stats()["in_flight"] == 0, "calls that were given up end")
    by_kind = upstream.stats()["failed_by_kind"]
    for kind in ("429", "5xx", "timeout"):
        assert by_kind[kind] == agent.metric("agent_upstream_errors_total", kind=kind)
    assert agent.metric("agent_requests_total", status="error") == statuses.count(502) + 30


@pytest.mark.parametrize("agent", [LONG_RUNS], indirect=True, ids=["long_runs"])
async def test_a_caller_who_hangs_up_gives_the_worker_back(agent: Agent, caller: Caller) -> None:
    await checks.frees_workers_of_callers_who_hang_up(agent, caller)
    assert agent.metric("agent_upstream_errors_total", kind="timeout") == 0


@pytest.mark.parametrize("agent", [LONG_RUNS], indirect=True, ids=["long_runs"])
async def test_sigterm_drains_and_exits(agent: Agent, caller: Caller) -> None:
    agent.tune(1, workers={"maxConcurrent": 4})
    await until(lambda: agent.metric("agent_tuning_applied_generation") == 1, "four workers")
    await checks.drains(agent, caller, busy=4, waiting=3)


def test_what_makes_no_sense_is_refused(agent: Agent) -> None:
    checks.refuses_nonsense(agent)
    assert agent.metric("agent_requests_total", status="error") == 0


def test_an_unknown_mode_is_refused(upstream: Upstream) -> None:
    modes: tuple[Any, ...] = (
        {"mode": "sleepy"},
        {"error_share": 2},
        {"requests_per_second": 0},
        {"slow_factor": "x"},
        {"x": 1},
        [],
    )
    for mode in modes:
        assert requests.put(f"{upstream.url}/mode", json=mode, timeout=REQUEST_SECONDS).status_code == 400, mode
    assert requests.get(f"{upstream.url}/mode", timeout=REQUEST_SECONDS).json()["mode"] == "healthy"


def test_work_has_the_measured_shape() -> None:
    shape = Shape(time_scale=1, memory_scale=1, tail_quantile=1, seed=1)
    jobs = [shape.draw() for _ in range(20_000)]
    seconds = sorted(job.context_seconds + sum(job.answer_seconds) for job in jobs)
    held = sorted(job.held_bytes / 1e6 for job in jobs)
    peak = sorted((job.held_bytes + job.excursion_bytes) / 1e6 for job in jobs)
    measured = [(seconds, 0.5, 6.1), (seconds, 0.95, 28), (seconds, 0.99, 60), (held, 0.5, 210)]
    measured += [(peak, 0.5, 291), (peak, 0.9, 441), (peak, 0.99, 2050)]
    for values, quantile, expected in measured:
        assert values[int(quantile * len(values))] == pytest.approx(expected, rel=0.08), (quantile, expected)


def test_rare_peaks_of_memory_can_be_cut_and_jobs_scaled() -> None:
    shape = Shape(time_scale=0.05, memory_scale=0.05, tail_quantile=0.9, seed=1)
    jobs = [shape.draw(key="same", memory_factor=2) for _ in range(5_000)]
    assert max(job.held_bytes + job.excursion_bytes for job in jobs) <= 2 * 0.05 * 441e6 + 1
    assert {(job.key, job.result_bytes) for job in jobs} == {("same", jobs[0].result_bytes)}
    assert max(job.context_seconds + sum(job.answer_seconds) for job in jobs) <= 0.05 * 100.001
