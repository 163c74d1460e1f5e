"""A service's history as a load: what came, how long it ran, what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agentscaler.simulate.backtest import History, Span, judged, laws, spans, together, trace
from agentscaler.simulate.model import MEGABYTE, ServiceModel
from agentscaler.simulate.score import Row
from agentscaler.simulate.steps import Steps, joined, losses, shortened

STEP = 60.0
NAN = float("nan")


def history(minutes: int = 60, **values: Any) -> History:
    """Two runs a second of ten seconds on three pods; values are for all minutes, or one for each."""
    plain: dict[str, Any] = {
        "completed": 2.0,
        "in_flight": 20.0,
        "queued": 0.0,
        "refused": NAN,
        "refused_by_breaker": NAN,
        "service_seconds": 10.0,
        "workers": 8.0,
        "pods": 3.0,
        "memory_mean_bytes": NAN,
        "memory_max_bytes": NAN,
    }
    durations = values.pop("durations", ())
    arrays: dict[str, Any] = {
        name: np.broadcast_to(np.array(value, float), minutes).copy() for name, value in (plain | values).items()
    }
    return History(name="agents/one", started_at=0.0, step_seconds=STEP, durations=durations, **arrays)


def with_hole(first: int, last: int, **values: Any) -> History:
    made = history(**values)
    made.in_flight[first:last] = NAN
    return made


def test_what_ended_and_what_the_load_grew_by_is_what_came() -> None:
    made = history(minutes=30, completed=[1.0] * 10 + [2.0] * 20, in_flight=[10.0] * 10 + [20.0] * 20)
    counts = np.histogram(trace(made, Span(0, 30), seed=1).arrivals_seconds, bins=30, range=(0, 1800))[0]
    assert counts.sum() == 10 * 60 + 20 * 120 + 10
    assert (counts[0], counts[10], counts[20]) == (60, 130, 120)


def test_a_queue_that_builds_up_is_load_that_came() -> None:
    queued = [0.0] * 10 + [60.0] * 10 + [0.0] * 10
    made = history(minutes=30, queued=queued)
    counts = np.histogram(trace(made, Span(0, 30), seed=1).arrivals_seconds, bins=30, range=(0, 1800))[0]
    assert (counts[9], counts[10], counts[20]) == (120, 180, 60)


def test_gauges_that_lag_the_counters_lose_and_invent_no_run() -> None:
    rng = np.random.default_rng(3)
    in_flight = 20.0 + rng.normal(0, 15, 60).clip(-20, 40)
    in_flight[0] = in_flight[-1] = 20.0
    made = history(in_flight=in_flight)
    found = trace(made, Span(0, 60), seed=1)
    assert len(found) == pytest.approx(7200, abs=60)
    assert (np.diff(found.arrivals_seconds) >= 0).all()
    assert found.duration_seconds == 3600


def test_runs_refused_for_want_of_room_came_too_and_those_of_a_breaker_are_not_counted() -> None:
    assert len(trace(history(refused=1.0), Span(0, 60), seed=1)) == 3 * 3600
    assert len(trace(history(refused_by_breaker=50.0), Span(0, 60), seed=1)) == 2 * 3600


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    first, again, other = (trace(history(), Span(0, 60), seed=seed) for seed in (1, 1, 2))
    assert first.service_seconds is not None
    assert other.service_seconds is not None
    assert (first.arrivals_seconds == again.arrivals_seconds).all()
    assert (first.service_seconds == again.service_seconds).all()
    assert (first.service_seconds != other.service_seconds).any()


@pytest.mark.parametrize(
    "durations", [(), ((1.0, 0.1), (5.0, 0.4), (20.0, 0.9), (60.0, 1.0)), ((5.0, 0.5), (30.0, 0.8))]
)
def test_durations_have_the_measured_mean_of_their_time(durations: tuple[tuple[float, float], ...]) -> None:
    made = history(minutes=120, durations=durations, service_seconds=[10.0] * 60 + [20.0] * 60)
    found = trace(made, Span(0, 120), seed=1)
    assert found.service_seconds is not None
    early = found.arrivals_seconds < 3500
    late = found.arrivals_seconds > 3700
    assert found.service_seconds[early].mean() == pytest.approx(10, rel=0.06)
    assert found.service_seconds[late].mean() == pytest.approx(20, rel=0.06)


def test_durations_keep_the_shape_of_the_histogram() -> None:
    durations = ((2.0, 0.5), (20.0, 0.5), (40.0, 1.0))
    seconds = trace(history(minutes=600, durations=durations), Span(0, 600), seed=1).service_seconds
    assert seconds is not None
    assert np.mean((seconds > np.quantile(seconds, 0.49) * 2) & (seconds < seconds.max() / 2.5)) < 0.03


def test_without_a_measured_duration_littles_law_stands_in() -> None:
    made = history(service_seconds=NAN)
    assert made.mean_service_seconds == pytest.approx(10)
    seconds = trace(made, Span(0, 60), seed=1).service_seconds
    assert seconds is not None
    assert seconds.mean() == pytest.approx(10, rel=0.06)


def test_holes_split_the_history_and_short_pieces_are_not_judged() -> None:
    made = with_hole(20, 25)
    made.completed[35] = NAN
    assert spans(made) == [Span(0, 20), Span(25, 35), Span(36, 60)]
    assert spans(made, known=False) == [Span(20, 25), Span(35, 36)]
    assert judged(made) == [Span(0, 20), Span(36, 60)]


def test_an_unknown_queue_is_a_hole_only_where_a_queue_is_exported() -> None:
    lost = history(queued=[0.0] * 30 + [NAN] * 30)
    assert judged(lost) == [Span(0, 30)]
    assert judged(replace(lost, queued=None)) == [Span(0, 60)]


def test_a_service_without_a_run_is_not_judged() -> None:
    assert judged(history(completed=0.0, in_flight=0.0)) == []


def test_only_pods_of_the_known_time_count_as_used() -> None:
    assert with_hole(30, 60).replica_hours == pytest.approx(1.5)


def test_what_really_waited_is_read_off_the_histogram() -> None:
    made = replace(history(), waits=((1.0, 0.8), (10.0, 0.98)))
    assert made.waited_longer_percent(1.0) == pytest.approx(20)
    assert made.waited_longer_percent(5.5) == pytest.approx(11)
    assert made.waited_longer_percent(11.0) is None
    assert history().waited_longer_percent(5.0) is None


def test_the_law_of_memory_is_the_line_through_what_was_seen() -> None:
    in_flight = np.linspace(0, 24, 60)
    made = history(in_flight=in_flight, memory_mean_bytes=(300 + 50 * in_flight / 3) * MEGABYTE, workers=[6.0] * 60)
    found = laws(made, ServiceModel())
    law = found.model
    assert found.memory_known
    assert (law.workers, round(law.base_mb), round(law.run_mb)) == (6, 300, 50)
    assert law.peak_p90_mb / law.run_mb == pytest.approx(ServiceModel().peak_p90_mb / ServiceModel().run_mb)
    assert "300 MB and 50 MB for each run" in found.notes[0]


def test_memory_that_says_nothing_of_a_run_kills_nobody_and_frees_no_worker() -> None:
    found = laws(history(workers=NAN), ServiceModel())
    assert found.model.base_mb + 64 * found.model.heavy_most_mb < 1
    assert not found.memory_known
    assert "8 are taken for granted" in found.notes[0]
    assert "workers stay as they are" in found.notes[1]


def a_row(**values: Any) -> Row:
    plain: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__, 0.0)
    plain |= {"trace": "t", "policy": "p", "seed": 0, "workers": "free", "memory": "typical", "startup": "fixed"}
    return Row(**(plain | {"outages": False, "cost_ratio": None} | values))


def test_pieces_weigh_by_their_requests_and_hours() -> None:
    rows = [
        a_row(offered=100, late_percent=4.0, replica_hours=2.0, cost_ratio=2.0, actions_per_hour=9.0, oom_kills=1),
        a_row(offered=300, late_percent=0.0, replica_hours=4.0, cost_ratio=1.0, actions_per_hour=1.0, oom_kills=2),
    ]
    whole = together(rows, [1.0, 3.0])
    assert (whole["late_percent"], whole["replica_hours"], whole["oom_kills"]) == (1.0, 6.0, 3)
    assert (whole["cost_ratio"], whole["actions_per_hour"]) == (1.2, 3.0)
    assert together([rows[0], a_row(offered=1)], [1.0, 1.0])["cost_ratio"] is None


def test_joined_pieces_have_nothing_between_them() -> None:
    n = 8
    names = [name for name in Steps.__dataclass_fields__ if name != "step_seconds"]
    piece = Steps(step_seconds=15.0, **{name: np.ones(n) for name in names})
    whole = joined([(0.0, piece), (240.0, piece)], 360.0)
    assert len(whole.arrivals) == 24
    assert whole.arrivals.sum() == 16
    assert np.isnan(whole.ready[8:16]).all()
    assert np.isfinite(whole.ready[16:]).all()
    assert shortened(whole, 6).arrivals.sum() == 16
    assert sum(each.violations for each in losses(whole)) == 80
