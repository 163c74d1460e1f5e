"""Caches of pods: least recently used first, cold at a start, and what they spare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from agentscaler.simulate import state as c
from agentscaler.simulate.model import MEGABYTE, Variant
from agentscaler.simulate.recording import Blocks, Trace
from agentscaler.simulate.run import play, prepare
from agentscaler.simulate.workload import Workload
from agentscaler.simulate.world import Orders, World
from tests.simulated import workload, world

ITEM_MB = 1.0
VARIANT = Variant(cache_bytes=int(3 * MEGABYTE), cache_item_mb=ITEM_MB)


def asking(*items: Sequence[int]) -> Workload:
    """One request every ten seconds that looks up these blocks of 512 tokens."""
    given = workload([10.0 * i for i in range(len(items))], 1.0)
    given.requests["items"] = np.array([item for each in items for item in each], np.int64)
    given.requests["item_offsets"] = np.concatenate([[0], np.cumsum([len(each) for each in items])]).astype(np.int64)
    given.requests["item_tokens"] = np.full(len(items), 512.0)
    given.requests["input_tokens"] = np.array([512.0 * len(each) for each in items])
    return given


def counted(w: World, counter: int) -> int:
    return int(w.state.counters[:, counter].sum())


def test_leading_blocks_that_are_held_are_spared() -> None:
    w = world(asking([0, 1], [0, 1, 2], [3, 1]), 1, VARIANT)
    w.advance(100.0)
    # The third request finds 1, but its first block is new, so its prompt shares no prefix.
    assert w.state.world[c.TOKENS_CACHED] == 2 * 512
    assert w.state.world[c.TOKENS_FRESH] == (2 + 1 + 2) * 512
    assert (counted(w, c.CACHE_HITS), counted(w, c.CACHE_MISSES)) == (3, 4)


def test_what_was_used_longest_ago_makes_room() -> None:
    w = world(asking([0], [1], [2], [0], [3], [0], [1]), 1, VARIANT)
    w.advance(100.0)
    # 3 pushes 1 out, since 0 was used again; at the end 1 pushes 2 out.
    assert (counted(w, c.CACHE_HITS), counted(w, c.CACHE_EVICTIONS)) == (2, 2)
    assert w.view().gauge("cache_bytes") == pytest.approx(3 * ITEM_MB)


def test_a_smaller_cache_is_in_force_with_its_delivery() -> None:
    w = world(asking([0, 1, 2], [2]), 1, VARIANT)
    w.advance(4.0)
    w.order(Orders(1, cache_bytes=int(MEGABYTE)))
    w.advance(100.0)
    assert (counted(w, c.CACHE_EVICTIONS), counted(w, c.CACHE_HITS)) == (2, 1)


def test_a_pod_that_starts_has_nothing() -> None:
    w = world(asking([0], [0], [0], [0], [0], [0], [0]), 1, VARIANT)
    w.advance(5.0)
    w.order(Orders(0))
    w.order(Orders(1))
    w.advance(100.0)
    assert (counted(w, c.CACHE_HITS), counted(w, c.CACHE_MISSES)) == (5, 1)


def test_sessions_stay_where_they_are_known() -> None:
    turns = [[0], [1]] * 10
    loose, sticky = (world(asking(*turns), 2, replace(VARIANT, sticky=each)) for each in (False, True))
    for w in (loose, sticky):
        w.state.arrival[1::2] = w.state.arrival[::2]
        w.advance(400.0)
    assert counted(sticky, c.CACHE_MISSES) == 2
    assert sticky.state.world[c.TOKENS_CACHED] == 18 * 512


def test_a_cache_fills_memory_and_spares_tokens() -> None:
    rng, n = np.random.default_rng(1), 2000
    blocks = rng.zipf(1.5, n).clip(max=400)
    trace = Trace(
        "zipf",
        np.sort(rng.random(n) * 900.0),
        900.0,
        input_tokens=np.full(n, 512.0),
        output_tokens=np.full(n, 200.0),
        blocks=Blocks(np.arange(n + 1), blocks, blocks),
    )
    case = prepare(trace, replace(VARIANT, cache_bytes=int(50 * MEGABYTE)), 0, reference=False)
    w, _, _ = play(case, _Fixed())
    cached, fresh = w.state.world[c.TOKENS_CACHED], w.state.world[c.TOKENS_FRESH]
    assert cached + fresh == n * 512
    assert 0.5 < cached / (cached + fresh) < 0.95
    assert max(w.state.pods[:, c.CACHE_MB]) <= 50.0


class _Fixed:
    name = "fixed"
    interval_seconds = 15.0

    def act(self, _view: object, _now: float) -> Orders:
        return Orders(4)
