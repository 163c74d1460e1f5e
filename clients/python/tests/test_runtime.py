import asyncio
import json
from pathlib import Path

import pytest

from agentscaler_runtime import (
    BreakerState,
    CacheSettings,
    CircuitBreakerSettings,
    RejectedError,
    RejectReason,
    Runtime,
    Settings,
    WorkerSettings,
)
from agentscaler_runtime.memory import MemoryBudget, resident_bytes
from clients.python.tests.support import PATIENCE_SECONDS, sample, settle, until

ONE_WORKER = Settings(workers=WorkerSettings(max_concurrent=1))
QUICK_BREAKER = Settings(
    workers=WorkerSettings(max_concurrent=8),
    circuit_breaker=CircuitBreakerSettings(minimum_number_of_calls=2, wait_duration_in_open_state_seconds=1),
)


def write(directory: Path, generation: int, **sections: object) -> None:
    (directory / "tuning.json").write_text(json.dumps({"generation": generation, **sections}))


async def applied(runtime: Runtime, generation: int) -> None:
    await until(lambda: runtime.applied_generation == generation, f"generation {generation} is in force")


async def fail() -> None:
    raise ConnectionError


async def trip(runtime: Runtime) -> None:
    for _ in range(2):
        with pytest.raises(ConnectionError):
            async with runtime.run():
                await runtime.breaker.call(fail)
    assert runtime.breaker.state is BreakerState.OPEN


async def test_the_file_that_is_there_at_the_start_is_in_force_at_once(tmp_path: Path) -> None:
    write(tmp_path, 5, workers={"maxConcurrent": 3}, cache={"maxBytes": 0})
    async with Runtime(settings_directory=tmp_path) as runtime:
        assert runtime.settings.workers.max_concurrent == 3
        assert sample(runtime.metrics, "agent_worker_limit") == 3
        assert sample(runtime.metrics, "agent_cache_limit_bytes") == 0
        assert sample(runtime.metrics, "agent_tuning_applied_generation") == 5


async def test_the_directory_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTSCALER_SETTINGS_DIR", str(tmp_path))
    write(tmp_path, 2)
    async with Runtime() as runtime:
        assert runtime.applied_generation == 2


async def test_without_a_file_the_defaults_are_in_force(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path / "missing", defaults=ONE_WORKER) as runtime:
        assert runtime.settings == ONE_WORKER
        assert runtime.applied_generation == 0


async def test_retuning_all_parts_under_load_loses_no_run(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=ONE_WORKER, queue_size=1000) as runtime:
        answers = []

        async def load() -> str:
            return "x" * 1000

        async def work(number: int) -> None:
            async with runtime.run():
                await runtime.cache.get_or_load(number % 7, load)
                await runtime.breaker.call(lambda: asyncio.sleep(0.005))
                answers.append(number)

        tasks = [asyncio.create_task(work(number)) for number in range(300)]
        for generation, workers in enumerate((20, 2, 1, 50), start=1):
            write(
                tmp_path,
                generation,
                workers={"maxConcurrent": workers},
                cache={"maxBytes": 3000 * workers, "ttlSeconds": workers},
                circuitBreaker={"failureRateThresholdPercent": workers, "slidingWindowSeconds": workers},
            )
            await applied(runtime, generation)
            assert sample(runtime.metrics, "agent_worker_limit") == workers
        await asyncio.gather(*tasks)
        assert sorted(answers) == list(range(300))
        assert sample(runtime.metrics, "agent_requests_total", status="success") == 300
        assert sample(runtime.metrics, "agent_request_duration_seconds_count", status="success") == 300
        assert sample(runtime.metrics, "agent_requests_total", status="error") == 0


async def test_the_breaker_obeys_the_file(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path) as runtime:
        write(tmp_path, 1, circuitBreaker={"minimumNumberOfCalls": 1, "waitDurationInOpenStateSeconds": 100})
        await applied(runtime, 1)
        with pytest.raises(ConnectionError):
            await runtime.breaker.call(fail)
        assert runtime.breaker.state is BreakerState.OPEN


async def test_a_broken_file_leaves_the_last_good_settings(tmp_path: Path) -> None:
    write(tmp_path, 1, workers={"maxConcurrent": 4})
    async with Runtime(settings_directory=tmp_path) as runtime:
        write(tmp_path, 2, workers={"maxConcurrent": 9}, cache={"maxBytes": -1})
        await until(lambda: sample(runtime.metrics, "agent_tuning_errors_total") == 1, "the error is counted")
        assert runtime.settings.workers.max_concurrent == 4, "a file is applied whole or not at all"
        assert runtime.applied_generation == 1
        write(tmp_path, 3, workers={"maxConcurrent": 9})
        await applied(runtime, 3)
        assert runtime.settings.workers.max_concurrent == 9


async def test_runs_are_counted_by_how_they_end(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path) as runtime:
        async with runtime.run():
            assert sample(runtime.metrics, "agent_inflight_requests") == 1
        async with runtime.run() as run:
            run.fail()
        with pytest.raises(ValueError, match="a bug"):
            async with runtime.run():
                raise ValueError("a bug")

        async def forever() -> None:
            async with runtime.run():
                await asyncio.Event().wait()

        task = asyncio.create_task(forever())
        await settle()
        task.cancel()
        await settle()
        assert sample(runtime.metrics, "agent_requests_total", status="success") == 1
        assert sample(runtime.metrics, "agent_requests_total", status="error") == 3
        assert sample(runtime.metrics, "agent_inflight_requests") == 0


async def test_an_open_breaker_refuses_runs_before_they_start(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=QUICK_BREAKER) as runtime:
        await trip(runtime)
        with pytest.raises(RejectedError) as refusal:
            async with runtime.run():
                pytest.fail("the run started")
        assert refusal.value.reason is RejectReason.BREAKER
        assert 0 < refusal.value.retry_after_seconds <= 1
        assert sample(runtime.metrics, "agent_rejected_total", reason="breaker") == 1


async def test_an_open_breaker_refuses_at_once_though_all_workers_are_busy(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=QUICK_BREAKER) as runtime:
        finish = asyncio.Event()

        async def work() -> None:
            async with runtime.run():
                await finish.wait()

        busy = [asyncio.create_task(work()) for _ in range(8)]
        await settle()
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await runtime.breaker.call(fail)
        with pytest.raises(RejectedError, match="breaker"):
            await asyncio.wait_for(work(), PATIENCE_SECONDS)
        finish.set()
        await asyncio.gather(*busy)


async def test_runs_that_wait_when_the_breaker_opens_are_refused_at_their_turn(tmp_path: Path) -> None:
    defaults = Settings(workers=WorkerSettings(max_concurrent=1), circuit_breaker=QUICK_BREAKER.circuit_breaker)
    async with Runtime(settings_directory=tmp_path, defaults=defaults) as runtime:

        async def work() -> None:
            async with runtime.run():
                await asyncio.sleep(0)
                await runtime.breaker.call(fail)

        results = await asyncio.gather(*(work() for _ in range(6)), return_exceptions=True)
        assert [type(each).__name__ for each in results] == ["ConnectionError"] * 2 + ["RejectedError"] * 4
        assert sample(runtime.metrics, "agent_rejected_total", reason="breaker") == 4
        assert sample(runtime.metrics, "agent_upstream_calls_total", outcome="failure") == 2


async def test_half_open_admits_as_many_runs_as_trial_calls_are_left(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=QUICK_BREAKER) as runtime:
        await trip(runtime)
        await until(lambda: runtime.breaker.state is BreakerState.HALF_OPEN, "the wait is over")
        begun = asyncio.Event()

        async def work() -> str:
            async with runtime.run():
                await begun.wait()  # something else first: the trial call is kept
                await runtime.breaker.call(lambda: asyncio.sleep(0))
                return "answer"

        async def cached() -> None:
            async with runtime.run():
                pass  # no call: its trial call is given back

        await cached()
        tasks = [asyncio.create_task(work()) for _ in range(5)]
        await settle()
        begun.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each)[:6] for each in results] == ["answer"] * 2 + ["run re"] * 3
        assert runtime.breaker.state is BreakerState.CLOSED


async def test_above_the_high_water_mark_runs_wait_and_go_on_when_memory_falls(tmp_path: Path) -> None:
    resident = resident_bytes()
    assert resident is not None
    limit = int((resident + 60_000_000) / 0.9)
    async with Runtime(settings_directory=tmp_path, memory_limit_bytes=limit) as runtime:
        assert runtime.memory_limit_bytes == limit
        block = bytearray(b"x" * 120_000_000)
        waiting = asyncio.create_task(runtime.run().__aenter__())
        await until(lambda: sample(runtime.metrics, "agent_queue_depth") == 1, "the run waits")
        await settle()
        assert not waiting.done()
        del block
        await asyncio.wait_for(waiting, PATIENCE_SECONDS)


async def test_who_waits_too_long_for_memory_is_refused_and_the_cache_gives_way(tmp_path: Path) -> None:
    used = 95
    async with Runtime(
        settings_directory=tmp_path, defaults=Settings(cache=CacheSettings(max_bytes=10_000)), memory_wait_seconds=0.6
    ) as runtime:
        runtime._gate._budget = MemoryBudget(100, lambda: used)

        async def load() -> str:
            return "a value"

        await runtime.cache.get_or_load("key", load)
        with pytest.raises(RejectedError) as refusal:
            async with runtime.run():
                pytest.fail("the run started")
        assert refusal.value.reason is RejectReason.MEMORY
        assert sample(runtime.metrics, "agent_rejected_total", reason="memory") == 1
        assert runtime.cache.size_bytes == 0
        used = 50
        async with runtime.run():
            pass


async def test_settings_are_still_followed_after_a_surprise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Runtime(settings_directory=tmp_path) as runtime:
        with monkeypatch.context() as patch:
            patch.setattr(runtime.cache, "sweep", lambda: 1 / 0)
            await until(lambda: "following the settings failed" in caplog.text, "the failure is logged")
        write(tmp_path, 8)
        await applied(runtime, 8)


async def test_half_open_an_admitted_run_whose_trial_succeeds_makes_all_its_calls(tmp_path: Path) -> None:
    async with Runtime(settings_directory=tmp_path, defaults=QUICK_BREAKER) as runtime:
        await trip(runtime)
        await until(lambda: runtime.breaker.state is BreakerState.HALF_OPEN, "the wait is over")

        async def work(first_call: asyncio.Event) -> str:
            async with runtime.run():
                await runtime.breaker.call(first_call.wait)
                await runtime.breaker.call(lambda: asyncio.sleep(0))
                return "answer"

        quick, slow = asyncio.Event(), asyncio.Event()
        quick.set()
        slower = asyncio.create_task(work(slow))
        await settle()
        assert await work(quick) == "answer"
        slow.set()
        assert await slower == "answer"
        assert runtime.breaker.state is BreakerState.CLOSED
