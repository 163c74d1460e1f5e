import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler_runtime import BreakerState, CircuitBreaker, CircuitBreakerSettings, CircuitOpenError, Metrics
from agentscaler_runtime.breaker import reservation_of_run
from clients.python.tests.support import Clock, sample, settle, unhurried

SETTINGS = CircuitBreakerSettings(
    failure_rate_threshold_percent=50,
    wait_duration_in_open_state_seconds=30,
    sliding_window_seconds=60,
    minimum_number_of_calls=4,
    permitted_calls_in_half_open_state=2,
)


async def good() -> str:
    return "answer"


async def bad() -> str:
    raise ConnectionError("no answer")


async def refused_by_us() -> str:
    raise ValueError("a bug, not the upstream")


async def try_call(breaker: CircuitBreaker, func: Callable[[], Awaitable[str]]) -> str:
    try:
        return await breaker.call(func)
    except (ConnectionError, ValueError, CircuitOpenError) as error:
        return type(error).__name__


def state_of(breaker: CircuitBreaker) -> BreakerState:
    return breaker.state  # through a function: mypy takes a property for a constant


async def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    for _ in range(4):
        await try_call(breaker, bad)
    assert state_of(breaker) is BreakerState.OPEN
    return breaker


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def breaker(metrics: Metrics, clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(SETTINGS, metrics, clock=clock)


async def test_it_opens_at_the_threshold_and_then_sends_nothing(breaker: CircuitBreaker, metrics: Metrics) -> None:
    for func in (good, good, bad):
        await try_call(breaker, func)
    assert state_of(breaker) is BreakerState.CLOSED
    await try_call(breaker, bad)
    assert state_of(breaker) is BreakerState.OPEN
    assert sample(metrics, "agent_breaker_state") == 2
    with pytest.raises(CircuitOpenError) as refusal:
        await breaker.call(good)
    assert refusal.value.retry_after_seconds == 30
    assert sample(metrics, "agent_upstream_calls_total", outcome="success") == 2
    assert sample(metrics, "agent_upstream_calls_total", outcome="failure") == 2
    assert sample(metrics, "agent_upstream_errors_total", kind="5xx") == 2


async def test_too_few_calls_never_open_it(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        await try_call(breaker, bad)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_calls_older_than_the_window_do_not_count(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(3):
        await try_call(breaker, bad)
    clock.now += 60
    await try_call(breaker, bad)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_a_window_by_count_forgets_older_calls(metrics: Metrics, clock: Clock) -> None:
    breaker = CircuitBreaker(SETTINGS, metrics, clock=clock, window_calls=4)
    for func in (good, good, good, good, good, bad):
        await try_call(breaker, func)
    assert state_of(breaker) is BreakerState.CLOSED
    await try_call(breaker, bad)  # 2 of the last 4, though 2 of 7 in the time window
    assert state_of(breaker) is BreakerState.OPEN


async def test_a_window_smaller_than_the_minimum_still_opens(metrics: Metrics, clock: Clock) -> None:
    breaker = CircuitBreaker(replace(SETTINGS, minimum_number_of_calls=100), metrics, clock=clock, window_calls=3)
    for _ in range(3):
        await try_call(breaker, bad)
    assert state_of(breaker) is BreakerState.OPEN


async def test_what_is_not_the_upstreams_fault_counts_neither_way(breaker: CircuitBreaker, metrics: Metrics) -> None:
    for _ in range(10):
        assert await try_call(breaker, refused_by_us) == "ValueError"
    stuck = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await settle()
    stuck.cancel()
    await settle()
    assert state_of(breaker) is BreakerState.CLOSED
    assert sample(metrics, "agent_upstream_calls_total", outcome="failure") == 0
    assert sample(metrics, "agent_upstream_calls_total", outcome="success") == 0


async def test_after_the_wait_the_permitted_calls_pass_and_no_more(breaker: CircuitBreaker, clock: Clock) -> None:
    await opened(breaker)
    clock.now += 30
    assert state_of(breaker) is BreakerState.HALF_OPEN
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "answer"

    trials = [asyncio.create_task(try_call(breaker, slow)) for _ in range(3)]
    await settle()
    assert trials[2].result() == "CircuitOpenError"
    gate.set()
    assert await asyncio.gather(*trials[:2]) == ["answer", "answer"]
    assert state_of(breaker) is BreakerState.CLOSED


async def test_a_lost_cause_opens_again_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    await opened(breaker)
    clock.now += 30
    await try_call(breaker, bad)  # one of two is the threshold already
    assert state_of(breaker) is BreakerState.OPEN
    clock.now += 29
    assert state_of(breaker) is BreakerState.OPEN
    clock.now += 1
    assert state_of(breaker) is BreakerState.HALF_OPEN


async def test_after_closing_it_starts_with_an_empty_window(breaker: CircuitBreaker, clock: Clock) -> None:
    await opened(breaker)
    clock.now += 30
    for func in (good, good, bad, bad, bad):
        await try_call(breaker, func)
    assert state_of(breaker) is BreakerState.CLOSED


async def test_calls_from_before_the_opening_do_not_decide_the_trial(breaker: CircuitBreaker, clock: Clock) -> None:
    gate = asyncio.Event()

    async def slow_failure() -> str:
        await gate.wait()
        raise TimeoutError

    old = [asyncio.create_task(breaker.call(slow_failure)) for _ in range(5)]
    await settle()
    await opened(breaker)
    clock.now += 30
    assert state_of(breaker) is BreakerState.HALF_OPEN
    gate.set()
    for result in await asyncio.gather(*old, return_exceptions=True):
        assert isinstance(result, TimeoutError)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert [await try_call(breaker, good) for _ in range(2)] == ["answer", "answer"]
    assert state_of(breaker) is BreakerState.CLOSED


async def test_a_cancelled_trial_makes_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    await opened(breaker)
    clock.now += 30
    stuck = [asyncio.create_task(breaker.call(asyncio.Event().wait)) for _ in range(2)]
    await settle()
    assert await try_call(breaker, good) == "CircuitOpenError"
    for task in stuck:
        task.cancel()
    await settle()
    assert await try_call(breaker, good) == "answer"


async def test_a_classifier_that_fails_does_not_leave_it_half_open(metrics: Metrics, clock: Clock) -> None:
    def classify(error: Exception) -> None:
        raise KeyError(error)

    breaker = CircuitBreaker(SETTINGS, metrics, clock=clock)
    await opened(breaker)
    breaker._classify = classify
    clock.now += 30
    for _ in range(5):
        with pytest.raises(KeyError):
            await breaker.call(bad)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    assert [await try_call(breaker, good) for _ in range(2)] == ["answer", "answer"]


async def test_a_reserved_trial_is_kept_for_its_run(breaker: CircuitBreaker, clock: Clock) -> None:
    await opened(breaker)
    clock.now += 30
    mine, other = breaker.reserve(), breaker.reserve()
    with pytest.raises(CircuitOpenError):
        breaker.reserve()
    assert await try_call(breaker, good) == "CircuitOpenError", "a call without a reservation took a reserved one"
    reservation_of_run.set(mine)
    assert await try_call(breaker, good) == "answer"
    breaker.cancel_reservation(mine)  # used: nothing to give back
    with pytest.raises(CircuitOpenError):
        breaker.check()
    breaker.cancel_reservation(other)
    breaker.check()


async def test_a_reservation_from_an_earlier_trial_lets_nothing_through(breaker: CircuitBreaker, clock: Clock) -> None:
    await opened(breaker)
    clock.now += 30
    reservation_of_run.set(breaker.reserve())
    other_run = asyncio.create_task(try_call(breaker, bad), context=contextvars.Context())
    await other_run
    assert state_of(breaker) is BreakerState.OPEN
    assert await try_call(breaker, good) == "CircuitOpenError"


async def test_new_settings_keep_state_and_window(breaker: CircuitBreaker, clock: Clock) -> None:
    for func in (bad, good, good, good):
        await try_call(breaker, func)
    breaker.retune(replace(SETTINGS, failure_rate_threshold_percent=20))
    assert state_of(breaker) is BreakerState.CLOSED
    await try_call(breaker, good)  # 1 of 5
    assert state_of(breaker) is BreakerState.OPEN
    breaker.retune(replace(SETTINGS, wait_duration_in_open_state_seconds=5))
    clock.now += 5
    assert state_of(breaker) is BreakerState.HALF_OPEN


async def test_fewer_trials_asked_for_while_half_open_come_to_a_verdict(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.retune(replace(SETTINGS, permitted_calls_in_half_open_state=10))
    await opened(breaker)
    clock.now += 30
    for _ in range(3):
        await try_call(breaker, good)
    assert state_of(breaker) is BreakerState.HALF_OPEN
    breaker.retune(SETTINGS)
    assert state_of(breaker) is BreakerState.CLOSED


MOVES = st.lists(
    st.one_of(
        st.sampled_from(["good", "bad", "bug"]).map(lambda name: (name, 0)),
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("permit"), st.integers(1, 4)),
        st.tuples(st.just("threshold"), st.integers(1, 100)),
    ),
    max_size=60,
)


@unhurried
@given(MOVES)
def test_it_never_gets_stuck_and_an_open_one_sends_nothing(moves: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        clock = Clock()
        breaker = CircuitBreaker(SETTINGS, Metrics(), clock=clock)
        settings = SETTINGS
        functions = {"good": good, "bad": bad, "bug": refused_by_us}
        for move, number in moves:
            if move == "wait":
                clock.now += number
            elif move == "permit":
                settings = replace(settings, permitted_calls_in_half_open_state=number)
                breaker.retune(settings)
            elif move == "threshold":
                settings = replace(settings, failure_rate_threshold_percent=number)
                breaker.retune(settings)
            else:
                before = state_of(breaker)
                answer = await try_call(breaker, functions[move])
                assert (answer == "CircuitOpenError") is (before is BreakerState.OPEN)
        # However it got here, good calls alone close it.
        for _ in range(10):
            clock.now += 30
            await try_call(breaker, good)
        assert state_of(breaker) in (BreakerState.CLOSED, BreakerState.OPEN)
        clock.now += 100
        for _ in range(20):
            await try_call(breaker, good)
        assert state_of(breaker) is BreakerState.CLOSED

    asyncio.run(scenario())
