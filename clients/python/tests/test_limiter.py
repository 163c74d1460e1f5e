import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler_runtime import Metrics, RejectedError, RejectReason
from agentscaler_runtime.limiter import WorkerLimiter
from clients.python.tests.support import PATIENCE_SECONDS, Clock, sample, settle, unhurried


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def make(metrics: Metrics, limit: int = 1, queue_size: int = 10) -> WorkerLimiter:
    return WorkerLimiter(limit, queue_size, metrics)


async def test_runs_wait_in_order_of_arrival(metrics: Metrics) -> None:
    limiter = make(metrics)
    await limiter.acquire()
    started: list[int] = []

    async def run(number: int) -> None:
        await limiter.acquire()
        started.append(number)

    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(run(number)))
        await settle()
    assert (started, limiter.waiting) == ([], 3)
    assert sample(metrics, "agent_queue_depth") == 3
    for expected in ([0], [0, 1], [0, 1, 2]):
        limiter.release()
        await settle()
        assert started == expected
    await asyncio.gather(*tasks)


async def test_who_comes_later_does_not_overtake(metrics: Metrics) -> None:
    open_gate = False
    limiter = WorkerLimiter(5, 10, metrics, may_start=lambda _running: open_gate)
    first = asyncio.create_task(limiter.acquire())
    await settle()
    open_gate = True  # but nobody pumped yet: the first one still waits
    second = asyncio.create_task(limiter.acquire())
    await settle()
    assert not second.done()
    limiter.pump()
    await asyncio.gather(first, second)


async def test_growing_starts_waiting_runs_at_once(metrics: Metrics) -> None:
    limiter = make(metrics)
    await limiter.acquire()
    waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
    await settle()
    limiter.resize(3)
    await settle()
    assert [task.done() for task in waiting] == [True, True, False]
    assert sample(metrics, "agent_inflight_requests") == 3
    assert sample(metrics, "agent_worker_limit") == 3
    limiter.release()
    await asyncio.gather(*waiting)


async def test_shrinking_interrupts_nothing_and_starts_nothing_until_it_fits(metrics: Metrics) -> None:
    limiter = make(metrics, limit=3)
    for _ in range(3):
        await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await settle()
    limiter.resize(1)
    assert limiter.running == 3
    for running in (2, 1):
        limiter.release()
        await settle()
        assert (limiter.running, waiting.done()) == (running, False)
    limiter.release()
    await waiting
    assert limiter.running == 1


async def test_a_full_queue_refuses(metrics: Metrics) -> None:
    limiter = make(metrics, queue_size=1)
    await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await settle()
    with pytest.raises(RejectedError) as refusal:
        await limiter.acquire()
    assert refusal.value.reason is RejectReason.QUEUE_FULL
    limiter.release()
    await waiting


async def test_without_a_queue_a_free_worker_still_serves(metrics: Metrics) -> None:
    limiter = make(metrics, queue_size=0)
    await limiter.acquire()
    with pytest.raises(RejectedError):
        await limiter.acquire()


async def test_a_caller_who_gives_up_leaves_the_queue(metrics: Metrics) -> None:
    limiter = make(metrics)
    await limiter.acquire()
    quitter = asyncio.create_task(limiter.acquire())
    patient = asyncio.create_task(limiter.acquire())
    await settle()
    quitter.cancel()
    await settle()
    assert (quitter.cancelled(), limiter.waiting) == (True, 1)
    limiter.release()
    await patient
    assert limiter.running == 1


@pytest.mark.parametrize("release_first", [True, False])
async def test_a_caller_who_gives_up_as_its_turn_comes_hands_the_worker_on(
    metrics: Metrics, release_first: bool
) -> None:
    limiter = make(metrics)
    await limiter.acquire()
    quitter = asyncio.create_task(limiter.acquire())
    patient = asyncio.create_task(limiter.acquire())
    await settle()
    if release_first:
        limiter.release()
        quitter.cancel()
    else:
        quitter.cancel()
        limiter.release()
    await asyncio.wait_for(patient, PATIENCE_SECONDS)
    assert quitter.cancelled()
    assert (limiter.running, limiter.waiting) == (1, 0)


async def test_every_wait_that_ends_is_measured(metrics: Metrics) -> None:
    clock = Clock()
    limiter = WorkerLimiter(1, 10, metrics, clock=clock)
    assert await limiter.acquire() == 0
    starts, gives_up, refused = (asyncio.create_task(limiter.acquire()) for _ in range(3))
    await settle()
    clock.now += 4
    limiter.release()
    assert await starts == 4
    gives_up.cancel()
    await settle()
    limiter.refuse_waiting(RejectReason.DRAINING, 1, arrived_until=clock.now)
    with pytest.raises(RejectedError):
        await refused
    assert sample(metrics, "agent_queue_wait_seconds_count") == 4
    assert sample(metrics, "agent_queue_wait_seconds_sum") == 12


async def test_only_those_who_waited_long_enough_are_refused(metrics: Metrics) -> None:
    clock = Clock()
    limiter = WorkerLimiter(1, 10, metrics, clock=clock)
    await limiter.acquire()
    old = asyncio.create_task(limiter.acquire())
    await settle()
    clock.now += 5
    young = asyncio.create_task(limiter.acquire())
    await settle()
    limiter.refuse_waiting(RejectReason.MEMORY, 2, arrived_until=clock.now - 5)
    await settle()
    with pytest.raises(RejectedError, match="memory"):
        old.result()
    assert not young.done()
    limiter.release()
    await young


async def test_idle_means_that_nothing_runs(metrics: Metrics) -> None:
    limiter = make(metrics)
    await limiter.wait_idle()
    await limiter.acquire()
    idle = asyncio.create_task(limiter.wait_idle())
    await settle()
    assert not idle.done()
    limiter.release()
    await idle


STEPS = st.lists(
    st.one_of(
        st.just(("arrive", 0)),
        st.just(("finish", 0)),
        st.tuples(st.just("resize"), st.integers(1, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
    ),
    max_size=40,
)


@unhurried
@given(STEPS, st.integers(1, 4), st.integers(0, 4))
def test_no_run_starts_above_the_limit_and_no_worker_is_lost(
    steps: list[tuple[str, int]], limit: int, queue_size: int
) -> None:
    async def scenario() -> None:
        limiter = WorkerLimiter(limit, queue_size, Metrics())
        tasks: list[asyncio.Task[float]] = []
        holders = 0

        async def arrive() -> float:
            nonlocal holders
            wait = await limiter.acquire()
            assert limiter.running <= limiter.limit
            holders += 1
            return wait

        for step, number in steps:
            if step == "arrive":
                tasks.append(asyncio.create_task(arrive()))
            elif step == "finish" and holders:
                holders -= 1
                limiter.release()
            elif step == "resize":
                await settle()  # whoever was started under the old limit looks at it under the old limit
                limiter.resize(number)
            elif step == "cancel" and number < len(tasks):
                tasks[number].cancel()
        await settle()
        assert limiter.running == holders
        assert limiter.waiting <= queue_size
        assert limiter.running >= limiter.limit or limiter.waiting == 0, "a worker is idle while runs wait"
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, float | RejectedError | asyncio.CancelledError), result

    asyncio.run(scenario())
