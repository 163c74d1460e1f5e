"""Moves of the cache are trials: kept where they helped, taken back where they did harm or nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from agentscaler.core.decision import Decision
from agentscaler.core.memory import TrialKind
from agentscaler.core.observation import Health
from agentscaler.core.policy import Mode
from agentscaler.kube.codec import decode, encode
from tests.worlds import LEARNED, MEBIBYTE, POLICY, Loop, cache_bytes

START_SIZE = int((64 * 512) ** 0.5) * MEBIBYTE
EVICTING: dict[str, Any] = {"cache_eviction_rate": 50.0}
EXPIRING: dict[str, Any] = {"cache_expired_rate": 90.0}
EMPTY: dict[str, Any] = {"cache_eviction_rate": 0.0}


def begun() -> Loop:
    """A service that has run long enough under its start values, with a known law of memory."""
    policy = replace(POLICY, replicas=replace(POLICY.replicas, min=2, max=2))
    loop = Loop(policy)
    loop.ticks(30)
    assert loop.memory.settings is not None
    loop.memory = replace(loop.memory, learned=LEARNED)
    return loop


def play(
    loop: Loop, minutes: float, hits: float, *, held: float = 0.97, lookups: float = 100.0, **more: Any
) -> Decision:
    """So long with such a share of hits, the cache filled to a share of its size."""
    for _ in range(round(minutes * 12)):
        size = cache_bytes(loop.decisions[-1])
        signals = {"cache_bytes": held * size, "cache_hit_ratio": hits, "cache_miss_rate": lookups * (1 - hits)}
        decision = loop.tick(**(signals | more))
    return decision


def grown() -> Loop:
    loop = begun()
    before = cache_bytes(loop.decisions[-1])
    assert cache_bytes(play(loop, 0.1, 0.3, **EVICTING)) == int(1.5 * before)
    return loop


class TestALargerCache:
    def test_it_is_kept_and_grows_on_where_more_is_found(self) -> None:
        loop = grown()
        size = cache_bytes(loop.decisions[-1])
        play(loop, 3, 0.36, **EVICTING)
        assert cache_bytes(loop.decisions[-1]) > size

    def test_it_is_taken_back_where_no_more_is_found(self) -> None:
        loop = begun()
        before = loop.decisions[-1].settings.cache
        play(loop, 0.1, 0.3, **EVICTING)
        decision = play(loop, 7.1, 0.301, **EVICTING)
        assert decision.settings.cache == before
        (step,) = [step for each in loop.decisions for step in each.steps if step.rule == "judge-trial"]
        assert "30.1 % of the lookups hit, 30.0 % before" in step.message

    def test_it_has_time_to_fill(self) -> None:
        loop = grown()
        size = cache_bytes(loop.decisions[-1])
        assert cache_bytes(play(loop, 50, 0.3, held=0.7)) == size
        assert loop.memory.trial is not None

    def test_where_few_lookups_tell_nothing_it_is_kept(self) -> None:
        loop = begun()
        play(loop, 0.1, 0.3, lookups=0.5, cache_eviction_rate=0.2)
        size = cache_bytes(loop.decisions[-1])
        assert cache_bytes(play(loop, 10, 0.3, lookups=0.5)) == size
        assert loop.memory.trial is None

    def test_after_a_failure_it_rests_twice_as_long_each_time(self) -> None:
        loop = grown()
        sizes = []
        for _ in range(12 * 60 * 3):
            play(loop, 1 / 12, 0.3, **EVICTING)
            sizes.append(cache_bytes(loop.decisions[-1]))
        tries = sum(b > a for a, b in pairwise(sizes))
        assert tries == 2  # after half an hour and an hour of rest; the next waits for two

    def test_longer_lifetimes_are_taken_back_where_no_more_is_found(self) -> None:
        loop = begun()
        assert play(loop, 0.1, 0.3, **EXPIRING).settings.cache.ttl_seconds == 900
        assert play(loop, 7.1, 0.3, **EXPIRING).settings.cache.ttl_seconds == 900  # it has not lived longer yet
        assert play(loop, 3, 0.3, **EXPIRING).settings.cache.ttl_seconds == 600


class TestASmallerCache:
    def shrunk(self) -> tuple[Loop, int]:
        loop = begun()
        before = cache_bytes(loop.decisions[-1])
        while cache_bytes(loop.decisions[-1]) == before:
            play(loop, 1 / 12, 0.3, held=0.4, **EMPTY)
        assert loop.memory.trial is not None
        return loop, before

    def test_it_is_taken_back_where_less_is_found(self) -> None:
        loop, before = self.shrunk()
        assert cache_bytes(play(loop, 5.1, 0.25, **EMPTY)) == before

    def test_it_is_kept_where_as_much_is_found(self) -> None:
        loop, before = self.shrunk()
        assert cache_bytes(play(loop, 10, 0.3, held=0.8, **EMPTY)) < before
        assert loop.memory.trial is None


class TestWhatEndsATrial:
    def test_memory_danger_moves_the_cache_and_drops_it(self) -> None:
        loop = grown()
        size = cache_bytes(loop.decisions[-1])
        decision = play(loop, 0.1, 0.3, memory_max_bytes=900.0 * MEBIBYTE)
        assert cache_bytes(decision) < size
        assert loop.memory.trial is None

    def test_with_other_pods_nothing_is_compared(self) -> None:
        loop = grown()
        size = cache_bytes(loop.decisions[-1])
        loop.policy = replace(loop.policy, replicas=replace(loop.policy.replicas, min=3, max=3))
        assert cache_bytes(play(loop, 8, 0.3)) == size
        assert loop.memory.trial is None

    def test_settings_that_come_by_a_restart_are_none(self) -> None:
        loop = begun()
        loop.target = replace(loop.target, restart_delivery=True)
        play(loop, 0.1, 0.3, **EVICTING)
        assert loop.memory.trial is None

    def test_advice_alone_is_none(self) -> None:
        loop = begun()
        loop.policy = replace(loop.policy, cache=replace(loop.policy.cache, mode=Mode.RECOMMEND))
        decision = play(loop, 0.1, 0.3, **EVICTING)
        assert decision.recommended.cache != decision.settings.cache
        assert loop.memory.trial is None


@pytest.mark.parametrize("signal", ["cache_hit_ratio", "cache_miss_rate"])
def test_what_is_not_known_ends_no_trial(signal: str) -> None:
    loop = grown()
    size = cache_bytes(loop.decisions[-1])
    signals: dict[str, Any] = {"cache_hit_ratio": 0.1, "cache_miss_rate": 90.0} | {signal: Health.EMPTY}
    decision = loop.tick(seconds=3000.0, **signals)
    assert cache_bytes(decision) == size


def test_a_trial_that_was_not_judged_in_time_stands() -> None:
    """After a night without lookups the caches have expired: that is not the move's fault."""
    loop, _ = TestASmallerCache().shrunk()
    size = cache_bytes(loop.decisions[-1])
    for _ in range(30):
        loop.tick(seconds=60.0, cache_hit_ratio=Health.EMPTY, cache_miss_rate=0.0, cache_bytes=0.4 * size)
    assert cache_bytes(play(loop, 2, 0.05, held=0.1, **EMPTY)) <= size
    assert loop.memory.rests == ()


def test_a_trial_outlives_a_restart() -> None:
    loop = grown()
    loop.memory = decode(encode(loop.memory))
    trial = loop.memory.trial
    assert trial is not None
    assert trial.kind is TrialKind.GROW
    play(loop, 8, 0.3, **EVICTING)
    assert loop.decisions[-1].settings.cache == trial.before
