"""Arrivals by conservation of flow, and forecasts weighed by their own errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentscaler.core.forecast import KEPT_SECONDS, arrival_rate, arrival_rates, foresee, rate_of_this_moment
from agentscaler.core.memory import Forecast, Foresight
from agentscaler.core.observation import Health, Observation
from tests.worlds import START, observe

LEAD = 30.0
FULL = START - 10_000
"""Since long ago: every window is full."""


def seen(
    at: float, *, ended: float | tuple[float, float, float, float], busy: float, queued: float = 0.0
) -> Observation:
    rates = ended if isinstance(ended, tuple) else (ended,) * 4
    named = dict(
        zip(("request_rate_60", "request_rate_120", "request_rate_300", "request_rate_600"), rates, strict=True)
    )
    return observe(START + at, in_flight=busy, queue_depth=queued, **named)


def watched(observations: list[Observation], foresight: Foresight | None = None) -> Foresight:
    foresight = foresight or Foresight(since=FULL)
    for each in observations:
        foresight = foresee(foresight, each, each.evaluated_at, lead_seconds=LEAD)
    return foresight


def test_a_backlog_does_not_hide_arrivals() -> None:
    """Ten a second come, four a second end: the queue grows by six a second."""
    story = [seen(at, ended=4.0, busy=8.0, queued=6.0 * at) for at in range(0, 125, 5)]
    assert arrival_rates(watched(story), story[-1])[:2] == pytest.approx((10.0, 10.0))


def test_a_burst_is_told_from_runs_that_hang() -> None:
    """Five a second come and end, a second each. Then five times as many come; or none ends any more."""
    calm = [seen(at, ended=5.0, busy=5.0) for at in range(0, 65, 5)]
    burst = seen(65, ended=5.0 + 20.0 * 5 / 60, busy=25.0)
    assert rate_of_this_moment(watched([*calm, burst]), passing=25.0) > 20.0
    hung = seen(65, ended=5.0 - 5.0 * 5 / 60, busy=25.0)
    assert rate_of_this_moment(watched([*calm, hung]), passing=25.0) == pytest.approx(5.0, rel=0.2)


def test_a_queue_that_drains_is_no_arrival() -> None:
    story = [seen(at, ended=10.0, busy=8.0, queued=600.0 - 4.0 * at) for at in range(0, 125, 5)]
    assert arrival_rates(watched(story), story[-1])[:2] == pytest.approx((6.0, 6.0))


def test_arrivals_are_never_below_zero() -> None:
    story = [seen(0, ended=1.0, busy=500.0), seen(60, ended=0.0, busy=0.0)]
    assert min(arrival_rates(watched(story), story[-1])) == 0.0


def test_the_forecast_that_erred_least_weighs_most() -> None:
    ten_minutes_knew = Foresight(errors=(1.0, 1.0, 1.0, 0.0, 1.0, 1.0), since=FULL)
    minute_knew = Foresight(errors=(0.0, 1.0, 1.0, 1.0, 1.0, 1.0), since=FULL)
    now = seen(0, ended=(8.0, 8.0, 8.0, 4.0), busy=8.0)
    assert arrival_rate(ten_minutes_knew, now, LEAD) == pytest.approx(4.0, rel=0.01)
    assert arrival_rate(minute_knew, now, LEAD) == pytest.approx(8.0, rel=0.01)


def test_a_forecast_that_was_too_low_weighs_less_than_one_that_was_as_much_too_high() -> None:
    story = [seen(at, ended=4.0, busy=8.0) for at in range(0, 405, 5)]
    at, guesses = START + 400 - LEAD, (2.0, 6.0, 4.0, 4.0, 4.0, 4.0)
    foresight = replace(watched(story[:-1]), pending=(Forecast(at, guesses),), scored_at=START + 300)
    low, high, *_ = watched(story[-1:], foresight).errors
    assert low > 2 * high > 0


def test_a_steady_rise_is_looked_ahead() -> None:
    """The last minute shows what was, half a minute ago; an order takes effect half a minute from now."""

    def rising(at: float) -> Observation:
        rates = tuple(2.0 + max(at - window / 2, 0.0) / 60 for window in (60, 120, 300, 600))
        return seen(at, ended=(rates[0], rates[1], rates[2], rates[3]), busy=8.0)

    story = [rising(at) for at in range(0, 3605, 5)]
    rate = arrival_rate(watched(story), story[-1], LEAD)
    assert rate is not None
    assert rate > arrival_rates(watched(story), story[-1])[0]


def test_a_forecast_that_came_due_in_a_gap_is_not_judged_by_what_is_there_after_it() -> None:
    before = watched([seen(at, ended=4.0, busy=8.0) for at in range(0, 405, 5)])
    after = watched([seen(900, ended=40.0, busy=80.0)], before)
    assert max(after.errors) <= max(before.errors)


def test_a_scrape_that_is_looked_at_twice_counts_once() -> None:
    once = seen(0, ended=4.0, busy=8.0)
    again = foresee(watched([once]), once, START + 5, lead_seconds=LEAD)
    assert len(again.work) == 1


def test_without_the_last_minute_nothing_is_foreseen() -> None:
    blind = observe(request_rate_60=Health.EMPTY)
    assert arrival_rate(Foresight(since=FULL), blind, LEAD) is None
    assert foresee(Foresight(), blind, START, lead_seconds=LEAD) == Foresight()


def test_what_is_remembered_is_of_minutes() -> None:
    foresight = watched([seen(at, ended=4.0, busy=8.0) for at in range(0, 7200, 5)])
    assert foresight.work[-1].at - foresight.work[0].at < KEPT_SECONDS
    assert all(START + 7195 - each.at < LEAD + 5 for each in foresight.pending)
