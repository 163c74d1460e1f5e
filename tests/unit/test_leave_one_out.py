"""Which constants are picked, on figures made by hand; and that they act in the core."""

from __future__ import annotations

import numpy as np
import pytest

from agentscaler.core import capacity, hold, level
from agentscaler.core.margin import margin
from agentscaler.core.memory import Lateness, Learned
from agentscaler.core.policy import Objectives, QuantileObjective
from agentscaler.simulate import policies
from agentscaler.simulate.model import Variant, Workers
from agentscaler.simulate.product import Agentscaler
from agentscaler.simulate.recording import Trace
from benchmarks.control import leave_one_out as loo
from benchmarks.control.bars import RAMP
from benchmarks.control.constants import POLICY, Configuration, With, constants, shipped
from benchmarks.control.leave_one_out import Figure
from benchmarks.control.natures import NATURES, dispersion

CHEAP, DEAR = Configuration((("reserve", 1.1),)), Configuration((("reserve", 1.5),))


def figure(cost: float, violations: float = 0.0) -> Figure:
    return Figure(violations, cost, gate=1.0)


def test_the_cheapest_within_the_gate_is_picked() -> None:
    figures = {
        DEAR: {"a": [figure(1.5, 0.2)], "b": [figure(1.5, 0.2)]},
        CHEAP: {"a": [figure(1.1, 0.9)], "b": [figure(1.1, 1.2)]},
    }
    assert loo.pick(figures, ["a"]) == CHEAP
    assert loo.pick(figures, ["a", "b"]) == DEAR


def test_where_none_keeps_the_gate_the_one_that_breaks_it_least_is_picked() -> None:
    figures = {DEAR: {"a": [figure(1.5, 1.3)]}, CHEAP: {"a": [figure(1.1, 1.6)]}}
    assert loo.pick(figures, ["a"]) == DEAR


def test_a_trace_has_no_say_in_what_is_picked_for_it() -> None:
    figures = {
        DEAR: {"a": [figure(1.5)] * 2, "b": [figure(1.5)] * 2, "hard": [figure(1.5, 0.5)] * 2},
        CHEAP: {"a": [figure(1.1)] * 2, "b": [figure(1.1)] * 2, "hard": [figure(1.1, 4.0)] * 2},
    }
    assert loo.left_out(figures) == {"a": DEAR, "b": DEAR, "hard": CHEAP}
    text = loo.markdown(figures)
    assert "| hard | reserve 1.1 | ~~1.10~~ @4.00 | 1.50 @0.50 | ~~1.10~~ @4.00 | 1.50 @0.50 |" in text
    assert "| chosen without the trace that it is judged on | 1.353 | 1 of 3 | 1.353 | 1 of 3 |" in text


def test_costs_of_all_variants_count() -> None:
    figures = {
        DEAR: {"a": [figure(1.0), figure(1.0)]},
        CHEAP: {"a": [figure(0.9), figure(1.3)]},
    }
    assert loo.pick(figures, ["a"]) == DEAR


def test_the_ramp_may_have_more_where_workers_are_frozen() -> None:
    assert loo.gate(RAMP, Workers.FROZEN) == 1.5
    assert loo.gate(RAMP, Workers.FREE) == loo.gate("a", Workers.FROZEN) == 1.0


def test_the_shipped_configuration_runs_as_it_is() -> None:
    first, *others = loo.configurations()
    assert dict(first.values) == shipped()
    assert first.entry(frozen=False).policy == "agentscaler"
    assert first.entry(frozen=False).parameters == ()
    assert first not in others
    assert {other.entry(frozen=False).policy for other in others} == {POLICY}


def in_force() -> tuple[float, ...]:
    return (capacity.RESERVE, vars(level)["RESERVE"], hold.LEAST_HOLD_SECONDS, hold.HELD_START_UPS)


def test_constants_act_where_the_core_reads_them_and_only_for_a_while() -> None:
    late = Learned(lateness=Lateness(runs=1e6, late=1e4, seconds=3600.0))
    promised = Objectives(queue_wait=QuantileObjective(0.99, 5.0))
    before, usual = in_force(), margin(late, promised)
    with constants({"reserve": 2.0, "tighten": 1.0, "hold": 240.0}):
        assert in_force() == (2.0, 2.0, 240.0, 8.0)
        assert margin(late, promised).deviations < usual.deviations
    assert (in_force(), margin(late, promised)) == (before, usual)


def test_a_failure_leaves_the_core_as_it_was() -> None:
    with pytest.raises(KeyError), constants({"reserve": 2.0}):
        raise KeyError
    assert shipped()["reserve"] == capacity.RESERVE


def test_a_policy_with_other_constants_holds_peaks_for_another_time() -> None:
    policy = policies.make(POLICY, hold=240.0)
    assert isinstance(policy, With)
    policy.begin(Variant(), 3)
    plain = Agentscaler()
    plain.begin(Variant(), 3)
    assert (plain.memory.learned.hold_seconds, policy.memory.learned.hold_seconds) == (120.0, 240.0)


def test_every_nature_is_burstier_than_poisson_and_differs_by_seed() -> None:
    for nature in NATURES:
        first, second = nature.trace(0), nature.trace(1)
        assert len(first) > 1000
        assert np.all(np.diff(first.arrivals_seconds) >= 0)
        assert first.arrivals_seconds[-1] < first.duration_seconds
        assert not np.array_equal(first.arrivals_seconds, second.arrivals_seconds)
        assert np.array_equal(first.arrivals_seconds, nature.trace(0).arrivals_seconds)
        assert dispersion(first) > 2.0


def test_the_dispersion_of_poisson_is_one() -> None:
    rng = np.random.default_rng(1)
    times = np.sort(rng.random(200_000) * 36_000)
    assert dispersion(Trace("p", times, 36_000.0)) == pytest.approx(1.0, abs=0.2)
