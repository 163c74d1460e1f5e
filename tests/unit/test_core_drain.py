"""Scale-in spares runs that outlive the grace period of their pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentscaler.api.conditions import Reason
from agentscaler.core.assess import assess
from agentscaler.core.drain import CUT_SHARE, cut_runs
from agentscaler.core.memory import Learned
from agentscaler.core.policy import ReplicaPolicy
from agentscaler.core.settings import Knob
from agentscaler.core.target import Target
from tests.worlds import POLICY, TARGET, Loop, observe, without_hold

HOUR = 3600.0
EIGHT = replace(TARGET, replicas=8, ready_replicas=8)
WIDE = replace(without_hold(), replicas=replace(without_hold().replicas, max=20))


def work(runs: float, service_seconds: float) -> dict[str, Any]:
    rate = runs / service_seconds
    rates = dict.fromkeys((f"request_rate_{window}" for window in (60, 120, 300, 600)), rate)
    return {"in_flight": runs, "in_flight_max": 4.0, "service_time": service_seconds, **rates}


def settled(service_seconds: float, target: Target = EIGHT, runs: float = 12.0) -> Loop:
    """Eight pods, work for four of them; what its runs take is known, and nothing may be cut yet."""
    loop = Loop(WIDE, target)
    learned = Learned(
        service_seconds=service_seconds,
        busy_integral=runs * HOUR,
        completions=runs * HOUR / service_seconds,
    )
    loop.memory = replace(loop.memory, learned=learned)
    return loop


def seconds_until_smaller(loop: Loop, runs: float, service_seconds: float, pace: float = 30.0) -> float:
    size, since = loop.target.replicas, loop.now
    while loop.tick(**work(runs, service_seconds), seconds=pace).settings.replicas >= size:
        assert loop.now - since < 24 * HOUR, "never"
    return loop.now - since


def test_runs_that_end_within_the_grace_period_keep_no_pod() -> None:
    assert seconds_until_smaller(settled(1.0), 12.0, 1.0, pace=5.0) <= WIDE.window_seconds + 10


def test_runs_that_outlive_the_grace_period_keep_their_pods() -> None:
    loop = settled(1200.0)
    decision = loop.ticks(60, **work(12.0, 1200.0))
    assert decision.settings.replicas == 8
    assert Reason.DRAINING in {step.reason for step in decision.steps if step.knob is Knob.REPLICAS}


def test_a_longer_grace_period_lets_pods_go_sooner() -> None:
    patient = replace(EIGHT, grace_seconds=1800.0)
    assert seconds_until_smaller(settled(600.0, patient), 12.0, 600.0) < seconds_until_smaller(
        settled(600.0), 12.0, 600.0
    )


def test_a_pod_goes_in_the_end_and_few_of_all_runs_are_cut() -> None:
    loop = settled(1200.0)
    took = seconds_until_smaller(loop, 12.0, 1200.0)
    assert took < 24 * HOUR
    ended = took * 12.0 / 1200.0
    assert 8 - loop.target.replicas <= max(2 * CUT_SHARE * ended, 1)


def test_runs_that_never_end_keep_a_pod_for_no_more_than_a_day() -> None:
    hung = work(12.0, 1200.0) | dict.fromkeys((f"request_rate_{window}" for window in (60, 120, 300, 600)), 0.0)
    loop = settled(1200.0)
    since = loop.now
    while loop.tick(**hung, seconds=30.0).settings.replicas >= 8:
        assert loop.now - since < 24 * HOUR


def test_one_long_run_keeps_one_pod_and_no_other() -> None:
    loop = settled(1200.0)
    assert loop.ticks(60, **work(1.0, 1200.0)).settings.replicas == 1


def test_what_may_be_cut_does_not_add_up_without_end() -> None:
    loop = Loop(replace(POLICY, replicas=ReplicaPolicy(min=2, max=2)))
    for _ in range(200):
        loop.tick(seconds=60.0, **work(8.0, 20.0))
    saved = loop.memory.cut_tokens
    for _ in range(600):
        loop.tick(seconds=60.0, **work(8.0, 20.0))
    assert loop.memory.cut_tokens <= saved + 1e-6


def test_the_users_bounds_go_before_the_runs() -> None:
    loop = settled(1200.0)
    loop.ticks(20, **work(12.0, 1200.0))
    loop.policy = replace(WIDE, replicas=replace(WIDE.replicas, max=5))
    assert loop.tick(**work(12.0, 1200.0)).settings.replicas == 5


def test_the_histogram_of_durations_tells_how_many_outlive_their_pod() -> None:
    """A mean of a minute each time: all alike, by no histogram an exponential law, or few that take very long."""
    alike = ((55.0, 0.0), (65.0, 1.0), (1000.0, 1.0))
    tail = ((1.0, 0.0), (10.0, 0.93), (600.0, 0.93), (1000.0, 1.0))

    def cut(buckets: tuple[tuple[float, float], ...]) -> float:
        loop = settled(60.0, replace(EIGHT, grace_seconds=65.0))
        seen = replace(observe(loop.now + 5, **work(24.0, 60.0)), service_buckets=buckets)
        return cut_runs(assess(WIDE, loop.target, seen, loop.memory, loop.now + 5))

    assert cut(alike) < 0.05 < cut(()) < cut(tail)


def test_next_to_no_work_keeps_no_pod() -> None:
    loop = settled(1200.0)
    loop.memory = replace(loop.memory, cut_tokens=1.0)
    assert loop.ticks(60, **work(1e-310, 1200.0)).settings.replicas == WIDE.replicas.min
