"""What a restart must not lose, and must not learn anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentscaler.core.decide import decide
from agentscaler.core.memory import Foresight, Memory, Moments
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Behavior, ScalingRules
from agentscaler.core.recall import recall
from agentscaler.core.settings import Settings
from agentscaler.kube.codec import decode, encode
from tests.flow import Flow
from tests.worlds import BUSY, POLICY, START, TARGET, Loop, blind, observe, workers

HOLD_SECONDS = 300
PATIENT = replace(
    POLICY,
    replicas=replace(
        POLICY.replicas,
        behavior=Behavior(scale_up=ScalingRules(), scale_down=ScalingRules(stabilization_window_seconds=HOLD_SECONDS)),
    ),
)


def history(until: float, *, busy_seconds: float, quiet_seconds: float) -> tuple[Observation, ...]:
    """What Prometheus knows of a peak and of the quiet after it, every 15 s."""
    first = until - busy_seconds - quiet_seconds
    times = [first + 15 * step for step in range(int((until - first) // 15))]
    return tuple(observe(at, **(BUSY if at < until - quiet_seconds else {})) for at in times)


def restarted(loop: Loop, past: tuple[Observation, ...], in_force: Settings | None) -> None:
    kept = replace(loop.memory, needs=(), worker_needs=(), known_since=None)
    loop.memory = recall(loop.policy, loop.target, past, kept, in_force=in_force)


def test_a_peak_before_the_restart_holds_replicas_for_the_whole_stabilization_window() -> None:
    loop = Loop(PATIENT)
    peak = loop.ticks(40, **BUSY).settings.replicas
    quiet_since = loop.now
    loop.now += 90
    restarted(loop, history(loop.now, busy_seconds=120, quiet_seconds=90), loop.memory.settings)
    while loop.tick().settings.replicas >= peak:
        pass
    assert loop.now - quiet_since >= HOLD_SECONDS - 15


def test_a_size_whose_reason_nobody_remembers_is_held_for_the_whole_window() -> None:
    loop = Loop(PATIENT, target=replace(TARGET, replicas=8, ready_replicas=8))
    restarted(loop, history(loop.now, busy_seconds=0, quiet_seconds=120), None)
    since = loop.now
    while loop.tick().settings.replicas >= 8:
        pass
    assert loop.now - since >= HOLD_SECONDS - 15


def test_workers_that_were_needed_before_the_restart_are_kept_for_two_minutes() -> None:
    def falls_after(*, remembers: bool) -> float:
        loop = Loop(replace(POLICY, replicas=replace(POLICY.replicas, min=2, max=2)))
        peak = workers(loop.ticks(40, **BUSY))
        past = history(loop.now, busy_seconds=120, quiet_seconds=0)
        restarted(loop, past if remembers else (), loop.memory.settings)
        since = loop.now
        while workers(loop.tick()) >= peak:
            pass
        return loop.now - since

    assert falls_after(remembers=True) > falls_after(remembers=False)


def test_what_pods_work_under_weighs_more_than_what_status_remembers() -> None:
    loop = Loop()
    settings = loop.ticks(5).settings
    in_force = replace(settings, workers=(settings.workers or 0) + 3)
    assert recall(POLICY, loop.target, (), loop.memory, in_force=in_force).settings == in_force
    assert recall(POLICY, loop.target, (), loop.memory).settings == loop.memory.settings


def test_the_past_teaches_the_service_time_and_no_law_of_memory() -> None:
    past = history(START, busy_seconds=300, quiet_seconds=300)
    learned = recall(POLICY, TARGET, past, Memory()).learned
    assert learned.completions > 0
    assert (learned.memory, learned.memory_excess_bytes) == (Moments(), 0.0)


def test_a_window_that_reaches_back_behind_a_gap_tells_no_trend_and_no_fall() -> None:
    """Sixteen a second for two minutes and nothing before: the longer windows show 6.4 and 3.2."""
    young: dict[str, Any] = {"in_flight": 8.0, "in_flight_max": 4.0, "request_rate_60": 16.0, "request_rate_120": 16.0}
    young |= {"request_rate_300": 6.4, "request_rate_600": 3.2}

    def foreseen(*, gap: bool) -> float:
        loop = Loop()
        loop.ticks(200, in_flight=8.0, in_flight_max=4.0, request_rate_60=16.0, request_rate_300=16.0)
        if gap:
            loop.tick(blind())
        forecast = loop.tick(**young).forecast
        assert forecast is not None
        return forecast.arrival_rate

    assert foreseen(gap=True) == pytest.approx(16.0)
    assert foreseen(gap=False) != pytest.approx(16.0, rel=0.01)


def test_a_rising_load_is_foreseen_the_same_after_a_restart() -> None:
    flow = Flow(lambda at: 2.0 + at / 60, policy=replace(PATIENT, interval_seconds=15))
    flow.run(1800)
    expected = flow.decisions[-1].forecast
    kept = decode(encode(flow.decisions[-2].memory))
    past = tuple(seen for seen in flow.seen[:-1] if flow.now - seen.evaluated_at <= 620)
    recalled = recall(flow.policy, flow.target, past, kept, in_force=kept.settings)
    forgotten = replace(recalled, foresight=Foresight())
    again, poorer = (
        decide(flow.policy, flow.target, flow.seen[-1], memory, flow.now).forecast for memory in (recalled, forgotten)
    )
    assert expected is not None
    assert again is not None
    assert poorer is not None
    assert again.arrival_rate == pytest.approx(expected.arrival_rate, rel=0.02)
    assert poorer.arrival_rate < 0.98 * expected.arrival_rate, "or the recalled foresight proves nothing"
