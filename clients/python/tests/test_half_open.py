import asyncio
from dataclasses import replace

from agentscaler_runtime import BreakerState, CircuitBreaker, CircuitBreakerSettings, CircuitOpenError, Metrics
from agentscaler_runtime.breaker import reservation_of_run
from clients.python.tests.support import Clock

WAIT_SECONDS = 30
SETTINGS = CircuitBreakerSettings(
    minimum_number_of_calls=1,
    wait_duration_in_open_state_seconds=WAIT_SECONDS,
    permitted_calls_in_half_open_state=2,
    failure_rate_threshold_percent=100,
)


async def good() -> str:
    return "answer"


async def bad() -> str:
    raise ConnectionError("no answer")


async def try_call(breaker: CircuitBreaker, *, well: bool = True) -> str:
    try:
        return await breaker.call(good if well else bad)
    except (ConnectionError, CircuitOpenError) as error:
        return type(error).__name__


async def half_open(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(SETTINGS, Metrics(), clock=clock)
    await try_call(breaker, well=False)
    clock.now += WAIT_SECONDS
    assert breaker.state is BreakerState.HALF_OPEN
    return breaker


async def test_a_trial_that_a_run_keeps_and_does_not_use_goes_to_others() -> None:
    clock = Clock()
    breaker = await half_open(clock)
    kept = [breaker.reserve(), breaker.reserve()]
    breaker.retune(replace(SETTINGS, wait_duration_in_open_state_seconds=1))
    clock.now += 29
    assert await try_call(breaker) == "CircuitOpenError"
    clock.now += 1
    assert await try_call(breaker, well=False) == "ConnectionError"
    for each in kept:
        breaker.cancel_reservation(each)  # lapsed: there is nothing left to give back
    assert await try_call(breaker, well=False) == "ConnectionError"
    assert await try_call(breaker) == "CircuitOpenError", "more trials than permitted"


async def test_a_run_goes_on_beyond_the_permitted_calls_only_while_it_is_answered() -> None:
    breaker = await half_open(Clock())
    breaker.retune(
        CircuitBreakerSettings(permitted_calls_in_half_open_state=9, wait_duration_in_open_state_seconds=WAIT_SECONDS)
    )
    reservation_of_run.set(breaker.reserve())
    for _ in range(8):
        breaker.reserve()  # other runs have the rest
    assert await try_call(breaker) == "answer"
    assert set(await asyncio.gather(try_call(breaker), try_call(breaker))) == {"answer"}
    assert await try_call(breaker, well=False) == "ConnectionError"
    assert await try_call(breaker) == "CircuitOpenError"
