"""What runs are worth, and what the clairvoyant pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agentscaler.simulate.clairvoyant import clairvoyant_hours, fluid_hours, static_replicas
from agentscaler.simulate.model import Variant, Workers
from agentscaler.simulate.policies import Static
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.run import Timeline, play, prepare, simulate
from agentscaler.simulate.score import ROW_FIELDS, Actions
from agentscaler.simulate.world import Orders

MODEL = Variant().model


def trace(rate: float = 2.0, seconds: float = 1800.0, service: float = 8.0) -> Trace:
    rng = np.random.default_rng(2)
    n = int(rate * seconds)
    return Trace("steady", np.sort(rng.random(n) * seconds), seconds, service_seconds=rng.exponential(service, n))


class Alternating:
    """One pod more, one pod less."""

    name = "alternating"

    def __init__(self, interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self._more = False

    def act(self, _view: object, _now: float) -> Orders:
        self._more = not self._more
        return Orders(4 if self._more else 3, workers=9 if self._more else 8)


def test_the_clairvoyant_lies_between_the_fluid_bound_and_the_best_constant() -> None:
    case = prepare(trace(), Variant(), 0)
    assert case.clairvoyant_hours is not None
    constant = static_replicas(case.workload, MODEL) * case.workload.duration_seconds / 3600
    assert fluid_hours(case.workload, MODEL) < case.clairvoyant_hours <= constant


def test_the_clairvoyant_needs_its_pods_a_start_up_ahead() -> None:
    # Nothing, then at once 80 calls of a minute: ten pods that have to be there half a minute before.
    arrivals = np.concatenate([np.arange(0.0, 600.0, 20.0), np.full(80, 600.0)])
    burst = Trace("burst", arrivals, 900.0, service_seconds=np.where(arrivals == 600.0, 60.0, 1.0))
    hours = clairvoyant_hours(prepare(burst, Variant(), 0, reference=False).workload, MODEL)
    assert hours * 3600 >= 9 * (60 + 30) + 800


def test_a_constant_size_that_keeps_the_gate_is_the_fewest() -> None:
    case = prepare(trace(), Variant(), 0, reference=False)
    fewest = static_replicas(case.workload, MODEL)
    # The engine starts with pods of the first five minutes and bills by pod, so only the lateness is compared.
    assert simulate(case, Static(fewest)).late_percent <= 1.5
    assert simulate(case, Static(fewest - 1)).late_percent > 1.0


def test_rows_have_the_published_fields_and_add_up() -> None:
    case = prepare(trace(), Variant(), 0)
    row = simulate(case, Static(1))
    assert tuple(row.published()) == ROW_FIELDS
    assert row.late_percent == pytest.approx(100 * (row.late + row.timed_out) / row.offered)
    assert row.violation_percent == pytest.approx(row.late_percent)
    assert row.cost_ratio is not None
    assert case.clairvoyant_hours is not None
    assert row.cost_ratio * case.clairvoyant_hours == pytest.approx(row.replica_hours)


def test_actions_reversals_and_worker_changes_are_counted_per_hour() -> None:
    case = prepare(trace(), replace(Variant(), workers=Workers.FREE), 0, reference=False)
    assert case.workload.first_replicas(MODEL) == 3
    _, quick, _ = play(case, Alternating(60.0))
    _, slow, _ = play(case, Alternating(400.0))
    assert len(quick.replicas) == quick.workers == 30
    assert quick.reversals == 29
    assert slow.reversals == 0


def test_a_reversal_goes_back_within_five_minutes() -> None:
    assert Actions([(0.0, 2), (100.0, -1)]).reversals == 1
    assert Actions([(0.0, 2), (300.0, -1)]).reversals == 0
    assert Actions([(0.0, 2), (100.0, 1), (200.0, -1), (250.0, -1)]).reversals == 2


def test_a_timeline_has_one_entry_for_each_decision() -> None:
    case = prepare(trace(), Variant(), 0, reference=False)
    noted = Timeline()
    row = simulate(case, Static(2), noted)
    assert len(noted.seconds) == len(noted.running) == len(noted.pod_seconds) == 120
    assert noted.late[-1] <= row.late
    assert set(noted.wanted[1:]) == {2}
