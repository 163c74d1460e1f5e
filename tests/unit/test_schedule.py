"""When objects are due."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.schedule import Due, best_shift

START = 1_000_000.0


def due_ticks(due: Due, interval: float, ticks: int, tick: float = 5.0) -> list[int]:
    found = []
    for number in range(ticks):
        now = START + number * tick
        if due.is_now(now, tick):
            due.decided(now, interval, None, tick)
            found.append(number)
    return found


@pytest.mark.parametrize("interval", [5, 15, 60])
def test_an_object_keeps_its_pace(interval: int) -> None:
    found = due_ticks(Due("uid"), interval, 200)
    assert {b - a for a, b in itertools.pairwise(found[1:])} == {interval // 5}


def test_groups_are_spread_over_the_interval() -> None:
    dues = [Due(f"namespace-{number}") for number in range(900)]
    for due in dues:
        due.decided(START, 15, None, 5)
    second = Counter(next(n for n in range(1, 6) if due.is_now(START + n * 5, 5)) for due in dues)
    assert len(second) >= 3
    assert max(second.values()) < 400


def test_objects_of_one_group_are_due_together_whenever_they_came() -> None:
    early, late = Due("agents"), Due("agents")
    early.decided(START, 15, None, 5)
    early.decided(early.at, 15, None, 5)
    late.decided(START + 10, 15, None, 5)
    assert abs(early.at - late.at) % 15 == 0


def test_decisions_move_to_just_behind_the_sample() -> None:
    due = Due("uid")
    due.decided(START, 15, None, 5)
    due.at = START
    sampled = START - 11
    due.decided(START, 15, sampled, 5)
    assert due.at == sampled + 15 + 0.5


def test_decisions_that_follow_the_samples_keep_doing_so() -> None:
    due = Due("uid")
    due.decided(START, 15, START - 11, 5)
    followed = due.at
    due.decided(followed, 15, followed - 1, 5)
    assert due.at == followed + 15


def test_fresh_samples_leave_the_pace_alone() -> None:
    with_samples, without = Due("uid"), Due("uid")
    with_samples.decided(START, 15, START - 2, 5)
    without.decided(START, 15, None, 5)
    assert with_samples.at == without.at


def test_after_a_pause_of_the_process_nothing_is_made_up_for() -> None:
    due = Due("uid")
    due.decided(START, 15, None, 5)
    late = START + 3600
    due.decided(late, 15, None, 5)
    assert late + 2.5 < due.at <= late + 17.5


def test_a_single_fast_object_is_looked_at_just_behind_its_sample() -> None:
    shift = best_shift([START - 3.0], START, 5.0)
    assert (START + shift - (START - 3.0) - 0.5) % 5.0 == pytest.approx(0.0, abs=1e-6)


def test_little_gain_and_many_objects_shift_nothing() -> None:
    assert best_shift([START - 0.7], START, 5.0) == 0.0
    assert best_shift([START - n / 7 for n in range(100)], START, 5.0) == 0.0
    assert best_shift([], START, 5.0) == 0.0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=20), st.floats(1, 60))
def test_a_shift_is_shorter_than_a_tick_and_makes_nothing_worse(ages: list[float], tick: float) -> None:
    samples = [START - age for age in ages]
    shift = best_shift(samples, START, tick)

    def waits(now: float) -> float:
        return sum((now - at - 0.5) % tick for at in samples)

    assert 0 <= shift <= tick
    assert shift == 0.0 or waits(START + shift) < waits(START)
