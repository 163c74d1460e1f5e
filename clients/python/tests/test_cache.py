import asyncio
import sys
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler_runtime import Cache, CacheSettings, Metrics
from agentscaler_runtime.cache import ENTRY_OVERHEAD_BYTES
from clients.python.tests.support import PATIENCE_SECONDS, Clock, sample, settle, unhurried

ENTRY = 1000 + sys.getsizeof("a") + ENTRY_OVERHEAD_BYTES


class Loader:
    """Counts its loads; each value tells which load made it."""

    def __init__(self, gate: asyncio.Event | None = None, error: Exception | None = None) -> None:
        self.loads = 0
        self.gate = gate
        self.error = error

    async def __call__(self) -> str:
        self.loads += 1
        number = self.loads
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error
        return f"load {number}"


async def get(cache: Cache, key: str, loader: Loader | None = None, size_bytes: int = 1000) -> str:
    return await cache.get_or_load(key, loader or Loader(), size_bytes=lambda _: size_bytes)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(metrics: Metrics, clock: Clock) -> Cache:
    return Cache(CacheSettings(max_bytes=3 * ENTRY, ttl_seconds=60), metrics, clock=clock)


async def test_a_value_is_loaded_once(cache: Cache, metrics: Metrics) -> None:
    loader = Loader()
    assert [await get(cache, "a", loader) for _ in range(3)] == ["load 1"] * 3
    assert sample(metrics, "agent_cache_misses_total") == 1
    assert sample(metrics, "agent_cache_hits_total") == 2
    assert sample(metrics, "agent_cache_bytes") == ENTRY


async def test_the_least_recently_used_goes_first(cache: Cache, metrics: Metrics) -> None:
    for key in ("a", "b", "c", "a", "d"):  # a is used again before d needs room
        await get(cache, key)
    kept = Loader()
    assert await get(cache, "a", kept) == "load 1"
    assert kept.loads == 0
    await get(cache, "b", kept)
    assert kept.loads == 1
    assert sample(metrics, "agent_cache_evictions_total") == 2


async def test_an_old_value_is_loaded_anew(cache: Cache, clock: Clock, metrics: Metrics) -> None:
    loader = Loader()
    await get(cache, "a", loader)
    clock.now += 59
    assert await get(cache, "a", loader) == "load 1"
    clock.now += 1
    assert await get(cache, "a", loader) == "load 2"
    assert sample(metrics, "agent_cache_expired_total") == 1
    assert sample(metrics, "agent_cache_evictions_total") == 0


async def test_sweeping_frees_what_nobody_asks_for_again(cache: Cache, clock: Clock, metrics: Metrics) -> None:
    await get(cache, "a")
    clock.now += 30
    await get(cache, "b")
    clock.now += 30
    cache.sweep()
    assert len(cache) == 1
    assert sample(metrics, "agent_cache_bytes") == ENTRY
    assert sample(metrics, "agent_cache_expired_total") == 1


async def test_a_lower_ttl_counts_for_what_is_stored(cache: Cache, clock: Clock) -> None:
    await get(cache, "a")
    clock.now += 20
    await get(cache, "b")
    cache.retune(CacheSettings(max_bytes=3 * ENTRY, ttl_seconds=10))
    assert len(cache) == 1
    cache.retune(CacheSettings(max_bytes=3 * ENTRY, ttl_seconds=1000))
    clock.now += 500
    loader = Loader()
    await get(cache, "b", loader)
    assert loader.loads == 0


async def test_a_smaller_size_is_in_force_at_once(cache: Cache, metrics: Metrics) -> None:
    for key in "abc":
        await get(cache, key)
    cache.retune(CacheSettings(max_bytes=ENTRY, ttl_seconds=60))
    assert cache.size_bytes == ENTRY
    assert sample(metrics, "agent_cache_evictions_total") == 2
    assert sample(metrics, "agent_cache_limit_bytes") == ENTRY
    loader = Loader()
    await get(cache, "c", loader)
    assert loader.loads == 0, "the most recently used should have stayed"
    cache.retune(CacheSettings(max_bytes=0, ttl_seconds=60))
    assert (len(cache), cache.size_bytes) == (0, 0)
    await get(cache, "d")
    assert len(cache) == 0


async def test_a_value_larger_than_the_cache_pushes_nothing_out(cache: Cache) -> None:
    for key in "abc":
        await get(cache, key)
    assert await get(cache, "huge", size_bytes=3 * ENTRY) == "load 1"
    assert len(cache) == 3


@pytest.mark.parametrize("key", ["p" * 5000, b"p" * 5000, ("model", "p" * 5000), frozenset({("a", "p" * 5000)})])
async def test_a_long_key_counts_too(cache: Cache, key: Hashable) -> None:
    async def load() -> str:
        return "a short answer"

    await cache.get_or_load(key, load)
    assert len(cache) == 0, "the cache holds more than its limit"
    cache.retune(CacheSettings(max_bytes=100_000))
    await cache.get_or_load(key, load)
    assert 5000 < cache.size_bytes < 6000


async def test_callers_of_one_key_share_a_load(cache: Cache, metrics: Metrics) -> None:
    loader = Loader(gate=asyncio.Event())
    callers = [asyncio.create_task(get(cache, "a", loader)) for _ in range(5)]
    await settle()
    assert loader.gate
    loader.gate.set()
    assert await asyncio.gather(*callers) == ["load 1"] * 5
    assert sample(metrics, "agent_cache_misses_total") == 1
    assert sample(metrics, "agent_cache_hits_total") == 4


async def test_an_error_goes_to_every_caller_and_is_not_kept(cache: Cache) -> None:
    failing = Loader(gate=asyncio.Event(), error=ConnectionError("gone"))
    callers = [asyncio.create_task(get(cache, "a", failing)) for _ in range(2)]
    await settle()
    assert failing.gate
    failing.gate.set()
    for result in await asyncio.gather(*callers, return_exceptions=True):
        assert isinstance(result, ConnectionError)
    assert await get(cache, "a") == "load 1"


async def test_a_load_outlives_the_caller_who_began_it(cache: Cache) -> None:
    loader = Loader(gate=asyncio.Event())
    first = asyncio.create_task(get(cache, "a", loader))
    second = asyncio.create_task(get(cache, "a", loader))
    await settle()
    first.cancel()
    await settle()
    assert loader.gate
    loader.gate.set()
    assert await second == "load 1"
    assert first.cancelled()


async def test_a_load_that_nobody_waits_for_is_cancelled(cache: Cache) -> None:
    stuck = Loader(gate=asyncio.Event())
    callers = [asyncio.create_task(get(cache, "a", stuck)) for _ in range(2)]
    await settle()
    for caller in callers:
        caller.cancel()
    next_caller = asyncio.create_task(get(cache, "a"))
    assert await asyncio.wait_for(next_caller, PATIENCE_SECONDS) == "load 1"
    assert stuck.loads == 1


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.integers(0, 6), st.integers(0, 4000)),
        st.tuples(st.just("size"), st.integers(0, 8000), st.integers(1, 30)),
        st.tuples(st.just("wait"), st.integers(0, 20), st.just(0)),
        st.tuples(st.just("sweep"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@unhurried
@given(OPERATIONS)
def test_the_cache_never_holds_more_than_its_limit_nor_serves_what_is_too_old(
    operations: list[tuple[str, int, int]],
) -> None:
    async def scenario() -> None:
        clock = Clock()
        metrics = Metrics()
        limit, ttl = 5000, 10
        cache = Cache(CacheSettings(max_bytes=limit, ttl_seconds=ttl), metrics, clock=clock)

        async def load() -> float:
            return clock.now

        for operation, first, second in operations:
            if operation == "get":

                def measure(_: float, size_bytes: int = second) -> int:
                    return size_bytes

                made_at = await cache.get_or_load(first, load, size_bytes=measure)
                assert clock.now - made_at < ttl
            elif operation == "size":
                limit, ttl = first, second
                cache.retune(CacheSettings(max_bytes=limit, ttl_seconds=ttl))
            elif operation == "wait":
                clock.now += first
            else:
                cache.sweep()
            assert 0 <= cache.size_bytes <= limit
            assert cache.size_bytes >= len(cache) * ENTRY_OVERHEAD_BYTES
            assert len(cache._stored_at) == len(cache)

    asyncio.run(scenario())
