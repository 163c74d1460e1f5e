"""When objects are due."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.schedule import Due, best_shift, phases

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
    found = due_ticks(Due(phase=0.7), interval, 200)
    assert {b - a for a, b in itertools.pairwise(found[1:])} == {interval // 5}


@pytest.mark.parametrize("sizes", [[100] * 10, [1] * 900, [300, 10, 10, 300, 290], [7] * 3])
@pytest.mark.parametrize("offset", [0.0, 1.3, 4.9])
def test_as_many_objects_are_due_in_each_tick(sizes: list[int], offset: float) -> None:
    groups = [f"namespace-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    phase_of = phases(groups)
    dues = [Due(phase=phase_of[group]) for group in groups]
    ticks: Counter[int] = Counter()
    for due in dues:
        due.decided(START + offset, 15, None, 5)
        ticks[next(n for n in range(1, 6) if due.is_now(START + offset + n * 5, 5))] += 1
    assert len(ticks) == 3
    assert max(ticks.values()) <= len(groups) / 3 + max(sizes)


def test_a_new_object_hardly_moves_the_phases() -> None:
    groups = [f"namespace-{number % 10}" for number in range(1000)]
    before, after = phases(groups), phases([*groups, "another"])
    assert phases([]) == {}
    assert max(abs(before[group] - after[group]) for group in before) < 0.002


def test_objects_of_one_group_are_due_together_whenever_they_came() -> None:
    early, late = Due(phase=0.4), Due(phase=0.4)
    early.decided(START, 15, None, 5)
    early.decided(early.at, 15, None, 5)
    late.decided(START + 10, 15, None, 5)
    assert abs(early.at - late.at) % 15 == 0


def test_decisions_move_to_just_behind_the_sample() -> None:
    due = Due(phase=0.7)
    due.decided(START, 15, None, 5)
    due.at = START
    sampled = START - 11
    due.decided(START, 15, sampled, 5)
    assert due.at == sampled + 15 + 0.5


def test_decisions_that_follow_the_samples_keep_doing_so() -> None:
    due = Due(phase=0.7)
    due.decided(START, 15, START - 11, 5)
    followed = due.at
    due.decided(followed, 15, followed - 1, 5)
    assert due.at == followed + 15


def test_fresh_samples_leave_the_pace_alone() -> None:
    with_samples, without = Due(phase=0.7), Due(phase=0.7)
    with_samples.decided(START, 15, START - 2, 5)
    without.decided(START, 15, None, 5)
    assert with_samples.at == without.at


def test_after_a_pause_of_the_process_nothing_is_made_up_for() -> None:
    due = Due(phase=0.7)
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
