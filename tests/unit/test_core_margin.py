"""How much is kept free: it follows from how often runs were late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentscaler.core.margin import AIM, LEAST, MOST, NEUTRAL, judge, late_share
from agentscaler.core.margin import margin as kept_free
from agentscaler.core.memory import Lateness, Learned
from agentscaler.core.observation import Health
from agentscaler.core.policy import Objectives, QuantileObjective
from tests.worlds import observe

OBJECTIVES = Objectives(queue_wait=QuantileObjective(0.99, 1.0))
HOUR = 3600.0


def after(hours: float, wait: float, lateness: Lateness | None = None, rate: float = 4.0) -> Lateness:
    lateness = lateness or Lateness()
    for _ in range(round(hours * 240)):
        lateness = judge(lateness, OBJECTIVES, observe(queue_wait=wait, request_rate_60=rate), 15.0)
    return lateness


def margin(lateness: Lateness, reserve: float = 1.0) -> float:
    return kept_free(Learned(lateness=lateness), OBJECTIVES, reserve=reserve).deviations


def test_the_margin_begins_where_as_many_are_late_as_may_be() -> None:
    assert margin(Lateness()) == pytest.approx(NEUTRAL)


def test_hours_without_a_late_run_make_it_smaller_step_by_step() -> None:
    margins = [margin(after(hours, 0.1)) for hours in (1, 3, 12)]
    assert margins == sorted(margins, reverse=True)
    assert LEAST < margins[-1] < NEUTRAL


def test_late_runs_make_it_larger() -> None:
    assert margin(after(1, 5.0)) > NEUTRAL


def test_one_early_loss_does_not_keep_too_much_for_ever() -> None:
    lost = after(0.05, 30.0)
    shocked, a_day_later = margin(lost), margin(after(24, 0.1, lost))
    assert shocked > NEUTRAL
    assert a_day_later < NEUTRAL


def test_a_broken_promise_outweighs_what_capacity_costs() -> None:
    aim = AIM * 0.01
    none, twice = Lateness(1e9, 0.0, HOUR), Lateness(1e9, 2 * aim * 1e9, HOUR)
    assert margin(twice) - NEUTRAL > 3 * (NEUTRAL - margin(none)) > 0


def test_open_slots_for_bursts_are_not_kept_free_twice() -> None:
    reserves = [margin(Lateness(), reserve) for reserve in (0.5, 1.0, 1.25, 1.5, 3.0)]
    assert reserves == sorted(reserves, reverse=True)
    assert reserves[0] == reserves[1]
    assert reserves[3] == reserves[4] < reserves[1]


@pytest.mark.parametrize("lateness", [Lateness(1e9, 1e9, HOUR), Lateness(1e9, 0.0, HOUR), Lateness(0.0, 0.0, HOUR)])
@pytest.mark.parametrize("reserve", [1.0, 9.0])
def test_it_never_leaves_its_bounds(lateness: Lateness, reserve: float) -> None:
    assert LEAST <= margin(lateness, reserve) <= MOST


@pytest.mark.parametrize(("wait", "share"), [(0.0, 0.0), (1.0, 0.0), (2.0, 0.04), (1000.0, 0.5)])
def test_the_share_of_late_runs_follows_from_the_quantile(wait: float, share: float) -> None:
    assert late_share(OBJECTIVES, observe(queue_wait=wait)) == pytest.approx(share)


def test_the_share_of_late_runs_is_as_counted_where_it_is_known() -> None:
    """Half of a minute's runs may wait for a backlog of four seconds: no tail of a power law."""
    assert late_share(OBJECTIVES, observe(queue_wait=4.0, late_ratio=0.5)) == 0.5
    assert late_share(OBJECTIVES, observe(queue_wait=4.0, late_ratio=Health.EMPTY)) == pytest.approx(0.16)


def test_what_is_not_known_or_not_promised_teaches_nothing() -> None:
    before = after(1, 5.0)
    assert judge(before, OBJECTIVES, observe(queue_wait=Health.STALE), 15.0) == before
    assert judge(before, OBJECTIVES, observe(queue_wait=9.0, request_rate_60=Health.ERROR), 15.0) == before
    assert judge(before, OBJECTIVES, observe(queue_wait=9.0), -60.0) == before
    assert judge(before, replace(OBJECTIVES, queue_wait=None), observe(queue_wait=9.0), 15.0) == before


def test_what_is_remembered_of_years_is_finite() -> None:
    assert after(240, 0.1).seconds < 12 * HOUR
