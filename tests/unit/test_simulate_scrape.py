"""What a policy sees: Prometheus' windows, worked out by hand."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from agentscaler.simulate.model import Variant
from agentscaler.simulate.scrape import histogram_quantile
from agentscaler.simulate.world import Orders
from tests.simulated import workload, world

# One run of 1 s begins every 2 s: by 15 k seconds 7.5 k have ended.
STEADY = [2.0 * i for i in range(200)]


def test_values_are_one_scrape_old() -> None:
    w = world(workload([16.0], [20.0]), 1)
    w.advance(15.0)
    assert w.view().gauge("in_flight") == 0.0
    w.advance(30.0)
    view = w.view()
    assert (view.observed_at, view.gauge("in_flight")) == (15.0, 0.0)
    w.advance(45.0)
    view = w.view()
    assert (view.observed_at, view.gauge("in_flight")) == (30.0, 1.0)


def test_nothing_is_known_before_a_scrape_is_old_enough() -> None:
    w = world(workload([1.0], [20.0]), 1)
    w.advance(14.0)
    view = w.view()
    assert view.gauge("in_flight") is None
    assert view.rate("completed", 60) is None
    assert view.quantile("queue_wait", 0.99, 120) is None


def test_a_rate_is_extended_to_the_edge_of_a_full_window() -> None:
    w = world(workload(STEADY, 1.0), 1)
    w.advance(135.0)
    # Samples of 75, 90, 105 and 120 s: 38, 45, 53 and 60 runs have ended; 22 in 45 s.
    assert w.view().rate("completed", 60) == pytest.approx(22 / 45)


def test_a_rate_of_a_series_younger_than_the_window_is_too_low() -> None:
    w = world(workload(STEADY, 1.0), 1)
    w.advance(75.0)
    # Five samples from 0 to 60 s, 30 runs; the window of 300 s is longer, so only half an interval is added.
    assert w.view().rate("completed", 300) == pytest.approx(30 * (60 + 7.5) / 60 / 300)


def test_what_a_pod_did_before_its_first_scrape_is_lost() -> None:
    w = world(workload([16.0, 17.0, 18.0, 40.0], 1.0, start_up=1.0), 0)
    w.advance(15.0)
    w.order(Orders(1))
    w.advance(75.0)
    # The pod's first scrape at 30 s already shows three runs; only the fourth one is an increase.
    assert w.view().rate("completed", 60) == pytest.approx(1 / 45)


def test_the_mean_of_a_gauge_is_that_of_its_samples() -> None:
    w = world(workload([31.0], [30.0]), 1)
    w.advance(75.0)
    assert w.view().mean("in_flight", 60) == pytest.approx((0 + 0 + 1 + 1) / 4)


def test_scrapes_may_be_faster_than_decisions() -> None:
    w = world(workload([16.0], [20.0]), 1, Variant(scrape_seconds=5.0))
    w.advance(25.0)
    view = w.view()
    assert (view.observed_at, view.gauge("in_flight")) == (20.0, 1.0)


def test_gauges_of_pods_that_leave_count_until_they_are_gone() -> None:
    w = world(workload([0.0, 0.0], [60.0, 60.0]), 2, Variant().with_workers(1))
    w.advance(10.0)
    w.order(Orders(1))
    w.advance(45.0)
    view = w.view()
    assert (view.gauge("in_flight"), view.gauge("in_flight_serving"), view.gauge("pods")) == (2.0, 1.0, 2.0)
    assert (view.replicas, view.ready_replicas, view.gauge("serving_pods")) == (1, 1, 1.0)


def test_live_statistics_are_means_of_whole_seconds() -> None:
    w = world(workload([0.5, 1.0], [1.0, 10.0]), 1, live=True)
    w.advance(3.2)
    live = w.view().live
    assert live is not None
    assert list(live.concurrency) == pytest.approx([0.5, 1.5, 1.0])


def test_quantiles_are_those_of_prometheus() -> None:
    counts = np.zeros(17)
    counts[0] = 98
    counts[8] = 2  # 3 to 5 s
    assert histogram_quantile(0.99, counts) == pytest.approx(4.0)
    assert histogram_quantile(0.5, counts) == pytest.approx(0.05 * 50 / 98)
    assert isnan(histogram_quantile(0.5, np.zeros(17)))
    counts[16] = 100
    assert histogram_quantile(0.9, counts) == 600.0
