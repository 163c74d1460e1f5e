"""A cache bounded by bytes and by age."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from cachetools import LRUCache

from agentscaler_runtime.metrics import Metrics
from agentscaler_runtime.settings import CacheSettings

ENTRY_OVERHEAD_BYTES = 340  # measured 330 for an entry without its key and value: small entries are not free

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Any
    size_bytes: int


@dataclass(eq=False)
class _Load(Generic[V]):
    """A load under way and the number of callers that wait for it."""

    task: "asyncio.Task[V]"
    callers: int = 0


def _key_bytes(key: Hashable) -> int:
    """A key may be a whole prompt, longer than its value."""
    inside = sum(map(_key_bytes, key)) if isinstance(key, tuple | frozenset) else 0
    return sys.getsizeof(key) + inside


class Cache:
    """Values by key, least recently used dropped first; loads of one key are shared.

    Not safe for threads: everything happens in one event loop.

    Args:
        settings: Size and time to live.
        metrics: Where hits, misses, evictions and bytes are counted.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self, settings: CacheSettings, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        # cachetools cannot change its maxsize, so it keeps the order and the sum of sizes, and the bound is kept here.
        self._entries: LRUCache[Hashable, _Entry] = LRUCache(sys.maxsize, getsizeof=lambda entry: entry.size_bytes)
        self._stored_at: dict[Hashable, float] = {}  # oldest first
        self._loads: dict[Hashable, _Load[Any]] = {}
        metrics.cache_bytes.set_function(lambda: self.size_bytes)
        metrics.cache_limit_bytes.set_function(lambda: self._settings.max_bytes)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Bytes held now, the keys and the overhead of each entry included."""
        return int(self._entries.currsize)

    async def get_or_load(
        self,
        key: Hashable,
        load: Callable[[], Awaitable[V]],
        *,
        size_bytes: Callable[[V], int] = sys.getsizeof,
    ) -> V:
        """The value of a key; what is missing is loaded once, however many callers ask at that time.

        A load goes on while at least one caller waits for it; when the last one is cancelled, so is the load.

        Args:
            key: What the value depends on, in full.
            load: Makes the value. What it raises goes to every caller that waits for it, and nothing is stored.
            size_bytes: Measures a value. The default does not follow references: fit for bytes and strings only.
        """
        now = self._clock()
        self._drop_if_expired(key, now)
        if key in self._entries:
            self._metrics.cache_hits.inc()
            return cast("V", self._entries[key].value)
        running = self._loads.get(key)
        if running is None:
            self._metrics.cache_misses.inc()
            running = _Load(asyncio.create_task(self._load_and_store(key, load, size_bytes)))
            self._loads[key] = running
        else:
            self._metrics.cache_hits.inc()
        return await self._join(key, running)

    def retune(self, settings: CacheSettings) -> None:
        """Puts other bounds in force, also on what is stored already."""
        self._settings = settings
        self.sweep()
        self.shrink(settings.max_bytes)

    def sweep(self) -> None:
        """Drops what has expired."""
        now = self._clock()
        while self._stored_at and self._drop_if_expired(next(iter(self._stored_at)), now):
            pass

    def shrink(self, max_bytes: int) -> None:
        """Evicts, least recently used first, until no more than so many bytes are held. The bound in force stays."""
        while self._entries.currsize > max_bytes:
            key, _ = self._entries.popitem()
            del self._stored_at[key]
            self._metrics.cache_evictions.inc()

    async def _join(self, key: Hashable, running: _Load[V]) -> V:
        running.callers += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.callers -= 1
            if running.callers == 0 and not running.task.done():
                # Nobody wants it any more. A new caller must not join a load that is being cancelled.
                running.task.cancel()
                self._forget(key, running.task)

    async def _load_and_store(self, key: Hashable, load: Callable[[], Awaitable[V]], measure: Callable[[V], int]) -> V:
        try:
            value = await load()
            self._store(key, value, measure(value) + _key_bytes(key) + ENTRY_OVERHEAD_BYTES)
            return value
        finally:
            self._forget(key, asyncio.current_task())

    def _forget(self, key: Hashable, task: object) -> None:
        running = self._loads.get(key)
        if running is not None and running.task is task:
            del self._loads[key]

    def _store(self, key: Hashable, value: object, size_bytes: int) -> None:
        self._remove(key)
        if size_bytes > self._settings.max_bytes:
            return  # it would push out everything else and still not fit
        self.shrink(self._settings.max_bytes - size_bytes)
        self._entries[key] = _Entry(value, size_bytes)
        self._stored_at[key] = self._clock()

    def _drop_if_expired(self, key: Hashable, now: float) -> bool:
        stored_at = self._stored_at.get(key)
        if stored_at is None or now - stored_at < self._settings.ttl_seconds:
            return False
        self._remove(key)
        self._metrics.cache_expired.inc()
        return True

    def _remove(self, key: Hashable) -> None:
        if key in self._entries:
            del self._entries[key]
            del self._stored_at[key]
