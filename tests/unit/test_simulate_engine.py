"""The simulated service, one law at a time."""

from __future__ import annotations

from dataclasses import replace
from math import factorial

import numpy as np
import pytest

from agentscaler.core.settings import Breaker
from agentscaler.simulate import state as c
from agentscaler.simulate.model import GIBIBYTE, RESILIENCE4J, MemoryLaw, Queue, StartUp, Variant, Workers
from agentscaler.simulate.policies import Static
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.run import play, prepare, simulate
from agentscaler.simulate.workload import draw
from agentscaler.simulate.world import Orders, TooManyPodsError, World
from tests.simulated import workload, world

ONE_SLOT = Variant().with_workers(1)
EAGER = Breaker(
    failure_rate_threshold_percent=50,
    wait_duration_in_open_state_seconds=10,
    sliding_window_seconds=60,
    minimum_number_of_calls=4,
    permitted_calls_in_half_open_state=1,
)


def fates(w: World) -> list[int]:
    return [int(f) for f in w.state.fate]


def poisson(requests: int, rate: float, mean: float, seed: int = 1) -> Trace:
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, requests))
    return Trace("poisson", arrivals, float(arrivals[-1]) + 1, service_seconds=rng.exponential(mean, requests))


class Chaos:
    """Orders at random."""

    name = "chaos"
    interval_seconds = 15.0
    scale_in = "random"
    breaker = EAGER

    def __init__(self) -> None:
        self._rng = np.random.default_rng(3)

    def act(self, _view: object, _now: float) -> Orders:
        return Orders(int(self._rng.integers(1, 7)), int(self._rng.integers(1, 40)))


def test_the_first_free_worker_serves_who_came_first() -> None:
    w = world(workload([0.0, 1.0, 2.0], [10.0, 10.0, 1.0]), 1, ONE_SLOT)
    w.advance(100.0)
    assert fates(w) == [c.DONE] * 3
    assert list(w.state.wait) == pytest.approx([0.0, 9.0, 18.0])
    assert (w.state.ints[c.LATE], w.state.ints[c.VIOLATIONS]) == (2, 2)


def test_who_waits_for_a_minute_gives_up() -> None:
    w = world(workload([0.0, 1.0, 30.0], [65.0, 5.0, 5.0]), 1, ONE_SLOT)
    w.advance(200.0)
    assert fates(w) == [c.DONE, c.TIMED_OUT, c.DONE]
    assert list(w.state.wait) == pytest.approx([0.0, 60.0, 35.0])
    assert w.state.ints[c.VIOLATIONS] == 2


def test_a_pod_serves_after_its_start_up_and_is_billed_from_its_order() -> None:
    w = world(workload([0.0, 1.0], [100.0, 5.0], start_up=30.0), 1, ONE_SLOT)
    w.advance(10.0)
    w.order(Orders(2))
    w.advance(39.9)
    assert fates(w) == [c.RUNNING, c.WAITING]
    w.advance(60.0)
    assert fates(w)[1] == c.DONE
    assert w.state.wait[1] == pytest.approx(39.0)
    assert w.billed_seconds() == pytest.approx(60.0 + 50.0)


def test_what_outlives_the_grace_is_lost_and_billed_until_then() -> None:
    w = world(workload([0.0], [1000.0]), 1, ONE_SLOT)
    w.advance(10.0)
    w.order(Orders(0))
    w.advance(500.0)
    assert fates(w) == [c.KILLED]
    assert w.billed_seconds() == pytest.approx(130.0)
    assert w.state.world[c.LOST_SECONDS] == pytest.approx(130.0)


def test_a_run_that_ends_in_time_ends_the_pod() -> None:
    w = world(workload([0.0], [40.0]), 1, ONE_SLOT)
    w.advance(10.0)
    w.order(Orders(0))
    w.advance(500.0)
    assert fates(w) == [c.DONE]
    assert w.billed_seconds() == pytest.approx(40.0)


def test_idle_pods_go_first_where_the_policy_asks_for_it() -> None:
    w = world(workload([0.0] * 3, [300.0] * 3), 4, ONE_SLOT, scale_in="idle")
    w.advance(31.0)
    w.order(Orders(3))
    assert w.state.ints[c.LIVE] == 3
    assert fates(w) == [c.RUNNING] * 3


def test_a_pod_above_its_limit_is_killed_with_all_its_runs_and_starts_again() -> None:
    # 150 + 3 x 210 MB fit into 1 GiB; with one run at its peak of 700 MB they do not.
    given = workload([0.0, 0.0, 0.0, 60.0], [20.0, 20.0, 20.0, 1.0], peak=[700.0, 210.0, 210.0, 210.0], peak_start=0.5)
    w = world(given, 1, Variant(memory_limit_bytes=GIBIBYTE))
    w.advance(9.0)
    assert fates(w)[:3] == [c.RUNNING] * 3
    w.advance(39.0)
    assert fates(w)[:3] == [c.KILLED] * 3
    assert w.view().ready_replicas == 0
    w.advance(62.0)
    assert fates(w)[3] == c.DONE
    assert (w.state.ints[c.OOM_KILLS], w.state.ints[c.KILLED_N]) == (1, 3)
    assert w.billed_seconds() == pytest.approx(62.0)


def test_above_its_cpu_limit_everything_in_a_pod_is_slower() -> None:
    w = world(workload([0.0, 0.0], [10.0, 10.0], cores=4.0), 1)
    w.advance(19.9)
    assert fates(w) == [c.RUNNING] * 2
    w.advance(20.1)
    assert fates(w) == [c.DONE] * 2


def test_settings_are_in_force_three_seconds_after_the_order() -> None:
    w = world(workload([0.0, 0.0], [100.0, 5.0]), 1, ONE_SLOT)
    w.advance(10.0)
    w.order(Orders(1, workers=2))
    w.advance(50.0)
    assert w.state.wait[1] == pytest.approx(13.0)


def test_what_the_provider_fails_in_any_case_is_nobodys_violation() -> None:
    given = workload([10.0, 20.0, 200.0], 5.0, outages=[(0.0, 100.0, 0.3)], fail_draw=[0.1, 0.9, 0.1])
    w = world(given, 1)
    w.advance(300.0)
    assert fates(w) == [c.FAILED, c.DONE, c.DONE]
    assert (w.state.ints[c.VIOLATIONS], w.state.ints[c.UNAVOIDABLE], w.state.ints[c.WASTED_CALLS]) == (0, 1, 1)


def test_a_request_kept_waiting_into_an_outage_is_a_violation() -> None:
    given = workload([0.0, 1.0], [4.0, 5.0], outages=[(3.0, 100.0, 1.0)], fail_draw=[0.5, 0.5])
    w = world(given, 1, ONE_SLOT)
    w.advance(300.0)
    assert fates(w) == [c.DONE, c.FAILED]
    assert (w.state.ints[c.VIOLATIONS], w.state.ints[c.UNAVOIDABLE]) == (1, 0)


def test_calls_that_hang_hold_their_worker_for_half_a_minute() -> None:
    given = workload([0.0, 1.0], 5.0, outages=[(0.0, 1.0, 1.0)], kind_draw=0.9)
    w = world(given, 1, ONE_SLOT)
    w.advance(300.0)
    assert fates(w) == [c.FAILED, c.DONE]
    assert w.state.wait[1] == pytest.approx(29.0)


def test_a_breaker_refuses_after_failures_and_closes_after_a_good_trial() -> None:
    arrivals = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 30.0, 40.0]
    given = workload(arrivals, 1.0, outages=[(0.0, 20.0, 1.0)], fail_draw=0.0)
    w = world(given, 1, breaker=EAGER)
    w.advance(100.0)
    # Four failed calls open it at 7 s; what comes at 8 and 10 s is refused, what comes at 30 s is the trial.
    assert fates(w) == [c.FAILED] * 4 + [c.REFUSED] * 2 + [c.DONE] * 2
    assert w.state.ints[c.HEALTHY_REFUSALS] == 0


def test_a_breaker_that_counts_calls_needs_a_full_window() -> None:
    given = workload([float(t) for t in range(0, 240, 2)], 1.0, outages=[(0.0, 240.0, 1.0)], fail_draw=0.0)
    w = world(given, 1, breaker=RESILIENCE4J)
    w.advance(400.0)
    assert fates(w).count(c.FAILED) == 100


def test_calls_beyond_the_providers_rate_are_throttled() -> None:
    given = workload([0.1 * i for i in range(30)], 1.0)
    w = world(given, 4, Variant(calls_per_minute=10.0))
    w.advance(100.0)
    assert fates(w).count(c.DONE) == 10
    assert sum(w.state.counters[:, c.CALLS_429]) == 20


def test_pods_may_have_queues_of_their_own() -> None:
    variant = replace(ONE_SLOT, queue=Queue.POD)
    w = world(workload([0.0, 0.0, 1.0, 2.0], [10.0, 20.0, 5.0, 1.0]), 2, variant)
    w.advance(100.0)
    # The third joins one queue, the fourth the other one, though the first pod is free again before.
    assert sorted(w.state.wait[2:]) == pytest.approx([9.0, 18.0])


def test_every_request_ends_exactly_once() -> None:
    variant = Variant(workers=Workers.FREE, memory=MemoryLaw.HEAVY, startup=StartUp.LOGNORMAL, outages=True)
    for queue in Queue:
        case = prepare(poisson(3000, 3.0, 12.0), replace(variant, queue=queue), 5, reference=False)
        w, _, _ = play(case, Chaos())
        w.advance(w.now + 2000.0)
        ended = np.bincount(w.state.fate, minlength=7)
        assert ended[c.WAITING] == ended[c.RUNNING] == 0
        ints = w.state.ints
        counted = [ints[n] for n in (c.DONE_N, c.TIMED_OUT_N, c.FAILED_N, c.KILLED_N, c.REFUSED_N)]
        assert list(ended[c.DONE :]) == counted
        assert sum(counted) == 3000
        assert min(counted) > 0
        assert ints[c.RUNNING_N] == ints[c.QUEUED_N] == 0
        assert ints[c.VIOLATIONS] + ints[c.UNAVOIDABLE] <= 3000


def test_the_same_seed_gives_the_same_run_and_policies_share_their_draws() -> None:
    variant = Variant(workers=Workers.FREE, memory=MemoryLaw.HEAVY, startup=StartUp.LOGNORMAL, outages=True)
    trace = poisson(2000, 2.0, 10.0)
    first, second = (prepare(trace, variant, 5, reference=False) for _ in range(2))
    assert simulate(first, Chaos()) == simulate(second, Chaos())
    assert simulate(first, "agentscaler") == simulate(second, "agentscaler")
    fresh = draw(trace, variant, 5)
    for name, values in first.workload.requests.items():
        assert np.array_equal(values, fresh.requests[name]), name
    other = draw(trace, variant, 6)
    assert not np.array_equal(other.requests["peak"], fresh.requests["peak"])


def test_mean_waits_are_those_of_erlang() -> None:
    load, servers, mean = 6.4, 8, 1.0
    case = prepare(poisson(120_000, load, mean), Variant(), 0, reference=False)
    w, _, _ = play(case, Static(1))
    blocked = load**servers / factorial(servers) * servers / (servers - load)
    wait = blocked / (sum(load**k / factorial(k) for k in range(servers)) + blocked)
    assert float(np.nanmean(w.state.wait)) == pytest.approx(wait * mean / (servers - load), rel=0.08)


def test_memory_laws_have_the_measured_quantiles() -> None:
    model, uniform = Variant().model, np.array([0.5, 0.9, 0.99, 0.9999])
    assert list(model.peaks(uniform, MemoryLaw.HEAVY)) == pytest.approx([291, 441, 2050, 4060], rel=0.01)
    assert list(model.peaks(uniform, MemoryLaw.TYPICAL))[:2] == pytest.approx([291, 441], rel=0.01)
    assert max(model.peaks(uniform, MemoryLaw.TYPICAL)) <= 1000
    many = model.cores(np.random.default_rng(0).random(200_000))
    assert float(many.mean()) == pytest.approx(0.13, rel=0.02)


def test_a_pod_of_unknown_load_does_not_go_first_as_if_it_were_idle() -> None:
    w = world(workload([0.0, 0.0, 38.5, 39.0], [300.0, 14.0, 1.5, 300.0]), 2, ONE_SLOT, scale_in="idle")
    w.advance(8.0)
    w.order(Orders(3))
    w.advance(41.0)
    # The pod that came at 38 s took the last run and has not been scraped; of the two others one is known to be idle.
    w.order(Orders(2))
    assert fates(w) == [c.RUNNING, c.DONE, c.DONE, c.RUNNING]
    assert w.state.ints[c.LIVE] == 2


def test_live_statistics_leave_out_pods_that_leave() -> None:
    w = world(workload([0.0, 0.0], [60.0, 60.0]), 2, ONE_SLOT, live=True)
    w.advance(10.0)
    w.order(Orders(1))
    w.advance(12.5)
    live = w.view().live
    assert live is not None
    assert list(live.concurrency[-3:]) == pytest.approx([2.0, 1.0, 1.0])


def test_requests_of_a_pod_that_goes_keep_their_turn() -> None:
    variant = replace(ONE_SLOT, queue=Queue.POD)
    w = world(workload([0.0, 0.0, 1.0, 2.0, 3.0, 4.0], [30.0] * 6), 2, variant)
    w.advance(10.0)
    w.order(Orders(1))
    w.advance(300.0)
    waits = [float(wait) for wait in w.state.wait[2:]]
    starts = [arrival + wait for arrival, wait in zip([1.0, 2.0, 3.0, 4.0], waits, strict=True)]
    assert starts == sorted(starts)
    assert sorted(fates(w)) == [c.DONE] * 4 + [c.TIMED_OUT] * 2


def test_more_pods_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(TooManyPodsError, match="at most"):
        world(workload([0.0], 1.0), 1).order(Orders(5000))
