"""Schedules: when they hold, what they do to the bounds, and what a pause makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.core.decide import decide
from agentscaler.core.memory import Memory
from agentscaler.core.policy import Policy, ReplicaPolicy, Schedule
from agentscaler.core.schedules import is_active, window
from tests.effort import examples
from tests.worlds import BUSY, NO_HOLD, POLICY, START, TARGET, Loop, blind, condition, observe

# START is a Monday, 13:46:40 UTC.
EVERY_DAY = tuple(range(7))
QUIET: dict[str, Any] = {
    "in_flight": 0.0,
    "in_flight_max": 0.0,
    "request_rate_60": 0.0,
    "request_rate_300": 0.0,
    "request_rate_600": 0.0,
}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def schedule(start: str = "13:00", end: str = "15:00", zone: str = "UTC", **fields: Any) -> Schedule:
    first, last = (60 * int(time[:2]) + int(time[3:]) for time in (start, end))
    given: dict[str, Any] = {"name": "night", "days": EVERY_DAY} | fields
    return Schedule(start_minute=first, end_minute=last, time_zone=zone, **given)


def scheduled(*schedules: Schedule, low: int = 1, high: int = 10) -> Policy:
    return replace(POLICY, replicas=ReplicaPolicy(min=low, max=high, schedules=schedules, behavior=NO_HOLD))


def test_it_holds_from_its_first_minute_to_the_one_before_its_end() -> None:
    one = schedule("08:30", "17:00", "Europe/Berlin")
    held = [is_active(one, at(f"2026-07-01T{time}")) for time in ("06:29:59", "06:30:00", "14:59:59", "15:00:00")]
    assert held == [False, True, True, False]


def test_days_are_those_on_which_it_begins_and_it_may_end_on_the_next() -> None:
    friday = schedule("22:00", "06:00", days=(4,))
    times = ("2026-01-02T21:59", "2026-01-02T22:00", "2026-01-03T05:59", "2026-01-03T06:00", "2026-01-03T23:00")
    assert [is_active(friday, at(time)) for time in times] == [False, True, True, False, False]
    assert not is_active(friday, at("2026-01-02T03:00"))  # the night from Thursday


def test_a_whole_day_ends_at_midnight() -> None:
    sunday = schedule("00:00", "24:00", "America/New_York", days=(6,))
    times = ("2026-01-04T04:59", "2026-01-04T05:00", "2026-01-05T04:59", "2026-01-05T05:00")
    assert [is_active(sunday, at(time)) for time in times] == [False, True, True, False]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        # 29 March: the clock jumps from 02:00 to 03:00, at 01:00 UTC.
        ("01:00", "04:00", "2026-03-29T00:00", "2026-03-29T01:59"),
        ("02:30", "06:00", "2026-03-29T01:30", "2026-03-29T03:59"),
        ("22:00", "02:30", "2026-03-28T21:00", "2026-03-29T01:29"),
        # 25 October: it goes back from 03:00 to 02:00, at 01:00 UTC.
        ("01:00", "04:00", "2026-10-24T23:00", "2026-10-25T02:59"),
        ("02:30", "06:00", "2026-10-25T00:30", "2026-10-25T04:59"),
        ("22:00", "02:30", "2026-10-24T20:00", "2026-10-25T00:29"),
    ],
)
def test_a_change_of_the_clock_leaves_one_window(start: str, end: str, first: str, last: str) -> None:
    one = schedule(start, end, "Europe/Berlin")
    begin = at(first) - 6 * 3600
    minutes = [begin + 60 * minute for minute in range(18 * 60) if is_active(one, begin + 60 * minute)]
    assert (minutes[0], minutes[-1]) == (at(first), at(last))
    assert minutes[-1] - minutes[0] == 60 * (len(minutes) - 1)


TIMES = st.integers(0, 24 * 60 - 1)


@given(
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati"]),
    TIMES,
    TIMES,
    st.sets(st.integers(0, 6), min_size=1),
    st.floats(at("2020-01-01"), at("2030-01-01")),
)
@examples(300)
def test_it_holds_when_the_clock_on_the_wall_says_so(
    zone: str, start: int, end: int, days: set[int], now: float
) -> None:
    assume(start != end)
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    near = [datetime.fromtimestamp(now + 86_400 * away, local.tzinfo).utcoffset() for away in (-2, -1, 1, 2)]
    assume(set(near) == {local.utcoffset()})
    minute = local.hour * 60 + local.minute
    yesterday = (local - timedelta(days=1)).weekday()
    if start < end:
        said = local.weekday() in days and start <= minute < end
    else:
        said = (local.weekday() in days and minute >= start) or (yesterday in days and minute < end)
    one = Schedule("one", tuple(sorted(days)), start, end, zone, min=1)
    assert is_active(one, now) == said


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(5, None)], (5, 10)),
        ([(20, None)], (20, 20)),
        ([(None, 4)], (2, 4)),
        ([(None, 0)], (0, 0)),
        ([(0, None)], (0, 10)),
        ([(3, 8), (5, 6)], (5, 6)),
        ([(None, 1), (3, None)], (3, 3)),  # they cross: promised capacity goes before cost
    ],
)
def test_of_several_schedules_the_highest_minimum_and_the_lowest_maximum_count(
    bounds: list[tuple[int | None, int | None]], expected: tuple[int, int]
) -> None:
    schedules = tuple(schedule(min=low, max=high) for low, high in bounds)
    late = schedule("15:00", "16:00", min=9, max=9)
    found = window(ReplicaPolicy(min=2, max=10, schedules=(*schedules, late)), START)
    assert found is not None
    assert (found.min, found.max) == expected


def test_outside_of_every_schedule_the_ordinary_bounds_hold() -> None:
    assert window(ReplicaPolicy(schedules=(schedule("15:00", "16:00", min=5),)), START) is None
    assert Loop(scheduled(schedule("15:00", "16:00", min=5))).tick().settings.replicas == 2


def test_a_minimum_is_reached_at_once_and_named() -> None:
    decision = Loop(scheduled(schedule(min=7))).tick()
    assert decision.settings.replicas == 7
    assert decision.reason is Reason.SCHEDULED
    assert "schedule night sets 7..10 replicas" in decision.summary


def test_a_maximum_holds_against_demand_and_says_so() -> None:
    decision = Loop(scheduled(schedule(max=3))).ticks(40, **(BUSY | {"in_flight": 200.0}))
    assert decision.settings.replicas == 3
    limited = condition(decision, ConditionType.SCALING_LIMITED)
    assert (limited.reason, "night" in limited.message) == (Reason.SCHEDULED, True)


def test_a_maximum_of_zero_stops_the_service_until_its_end_whatever_the_signals_say() -> None:
    loop = Loop(scheduled(schedule("13:47", "13:50", max=0), low=3))
    loop.ticks(2, **BUSY)
    before = loop.target.replicas
    assert before >= 3
    stopped = loop.ticks(3, **BUSY)
    assert stopped.settings.replicas == 0
    assert condition(stopped, ConditionType.SCALING_ACTIVE).reason is Reason.SCALED_TO_ZERO
    while loop.now < at("1970-01-12T13:49:55"):
        assert loop.tick(blind()).settings.replicas == 0
    assert loop.decisions[-1].reason is Reason.SCALED_TO_ZERO
    assert loop.tick(blind()).settings.replicas == 3


def test_a_minimum_of_zero_rests_without_work_and_not_before() -> None:
    loop = Loop(scheduled(schedule(min=0)))
    assert loop.ticks(30).settings.replicas >= 1
    just_ended = QUIET | {"request_rate_600": 0.5}
    assert loop.ticks(30, **just_ended).settings.replicas == 1
    assert loop.tick(**QUIET).settings.replicas == 0
    # Leftovers in the signals of pods that go wake nobody, nor does blindness.
    assert loop.tick(**BUSY).settings.replicas == 0
    assert loop.tick(blind()).settings.replicas == 0


def test_a_minimum_of_zero_does_not_rest_on_what_is_not_known() -> None:
    loop = Loop(scheduled(schedule(min=0)))
    loop.ticks(30)
    assert loop.ticks(200, **{name: value for name, value in QUIET.items() if "600" not in name}).settings.replicas == 1
    assert loop.tick(blind()).settings.replicas == 1


def test_a_resting_service_is_woken_by_hand() -> None:
    loop = Loop(scheduled(schedule(min=0)))
    loop.ticks(30)
    loop.ticks(2, **QUIET)
    assert loop.target.replicas == 0
    loop.policy = replace(loop.policy, replicas=replace(loop.policy.replicas, manual=3))
    assert loop.tick(blind()).settings.replicas == 3
    assert loop.tick(blind()).settings.replicas == 3


def test_an_unknown_time_zone_is_named_and_the_rest_goes_on() -> None:
    wrong, right = schedule(zone="Europe/Atlantis", min=9), schedule(name="day", min=4)
    decision = Loop(scheduled(wrong, right)).tick()
    assert decision.settings.replicas == 4
    stalled = condition(decision, ConditionType.STALLED)
    assert stalled.reason is Reason.INVALID_SCHEDULE
    assert "spec.tuning.replicas.schedules[0].timeZone" in stalled.message
    assert "Europe/Atlantis" in stalled.message


@pytest.mark.parametrize("name", ["Europe", "../../etc/passwd", "Europe/Berlin/", "posixrules/x", "\0"])
def test_what_is_no_time_zone_is_never_an_error(name: str) -> None:
    assert Loop(scheduled(schedule(zone=name, min=9))).tick().settings.replicas == 2


def test_a_pause_keeps_schedules_from_its_directions() -> None:
    def size(one: Schedule, replicas: int, *, inward: bool = False, outward: bool = False) -> int:
        policy = replace(scheduled(one, low=2), paused_scale_in=inward, paused_scale_out=outward)
        target = replace(TARGET, replicas=replicas, ready_replicas=replicas)
        return decide(policy, target, observe(START), Memory(manual_replicas=1), START).settings.replicas

    assert size(schedule(max=0), 5, inward=True) == 5
    assert size(schedule(max=0), 5, inward=True, outward=True) == 5
    assert size(schedule(max=0), 5, outward=True) == 0
    assert size(schedule(min=8), 5, outward=True) == 5
    assert size(schedule(min=8), 5, inward=True, outward=True) == 5
    assert size(schedule(min=8), 5, inward=True) == 8
    over = schedule("01:00", "02:00", max=0)
    assert size(over, 0, inward=True, outward=True) == 0
    assert size(over, 0) == 2


def test_zero_by_hand_goes_before_a_schedule() -> None:
    policy = scheduled(schedule(min=4))
    policy = replace(policy, replicas=replace(policy.replicas, manual=0))
    assert Loop(policy).tick().settings.replicas == 0
