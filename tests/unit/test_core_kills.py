"""Pods that are killed for memory: fewer workers, whatever else is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.core.decision import Decision
from agentscaler.core.kills import REST_SECONDS, TOGETHER_SECONDS
from agentscaler.core.observation import Health, Signal, SignalName
from agentscaler.core.policy import Mode, WorkerPolicy
from agentscaler.core.target import Pod
from tests.worlds import BUSY, MEBIBYTE, POLICY, Loop, blind, condition, workers

NO_SIGNALS = blind()


def loop_of(pods: int = 4, workers: int = 20) -> Loop:
    """Pods that have worked for a while under so many workers, and are busy."""
    loop = Loop(replace(POLICY, replicas=replace(POLICY.replicas, min=pods, max=40)))
    loop.ticks(30, **BUSY)
    set_workers(loop, workers)
    return loop


def set_workers(loop: Loop, workers: int) -> None:
    assert loop.memory.settings is not None
    loop.memory = replace(loop.memory, settings=replace(loop.memory.settings, workers=workers))


def killed(
    loop: Loop, count: int, *, seconds_ago: float = 5.0, pending: int = 0, observation: Any = NO_SIGNALS
) -> Decision:
    """A tick in which so many of the pods have been killed for memory, and `pending` others have never started."""
    at = loop.now + 5 - seconds_ago
    born = loop.now - 900
    pods = [
        Pod(f"p{i}", born, None if i < count else born + 30, killed_at=at if i < count else None)
        for i in range(loop.target.replicas)
    ]
    waiting = [Pod(f"new{i}", loop.now - 60, problem="Unschedulable: no room") for i in range(pending)]
    loop.target = replace(loop.target, pods=(*pods, *waiting), ready_replicas=loop.target.replicas - count)
    return loop.tick(observation)


def die(loop: Loop, after_seconds: float = 30.0) -> int:
    """All pods are killed once more; the workers of then."""
    loop.now += after_seconds
    return workers(killed(loop, loop.target.replicas))


def live(loop: Loop, seconds: float, **values: Any) -> None:
    """All pods are ready again, and busy."""
    loop.target = replace(loop.target, pods=(), ready_replicas=loop.target.replicas)
    loop.ticks(int(seconds // 5), **BUSY, **values)


def cap(loop: Loop) -> int | None:
    return None if loop.memory.kill_cap is None else loop.memory.kill_cap.workers


def test_pods_that_die_get_fewer_workers_though_nothing_else_is_known() -> None:
    loop = loop_of()
    before = loop.target.replicas
    decision = killed(loop, before)
    assert workers(decision) == 12
    assert decision.settings.replicas == before
    assert decision.reason is Reason.MEMORY_PRESSURE
    assert "pods are killed for memory" in decision.summary


@pytest.mark.parametrize("pods", [2, 4, 40, 200])
def test_they_get_fewer_and_fewer_until_they_live(pods: int) -> None:
    loop = loop_of()
    loop.policy = replace(loop.policy, replicas=replace(loop.policy.replicas, max=200))
    loop.target = replace(loop.target, replicas=pods, ready_replicas=pods)
    assert [die(loop) for _ in range(6)] == [12, 7, 4, 2, 2, 2], "the least by policy is 2"
    told = condition(loop.decisions[-1], ConditionType.SCALING_LIMITED)
    assert told.status
    assert "raise the limit" in told.message


def test_a_kill_is_answered_once() -> None:
    loop = loop_of()
    first = workers(killed(loop, 4))
    for seconds in (10.0, 15.0, 20.0):
        assert workers(killed(loop, 4, seconds_ago=seconds)) == first, "they had not begun with the cut"


@pytest.mark.parametrize(("count", "fewer"), [(1, False), (2, True)])
def test_one_pod_of_many_is_a_rare_run(count: int, fewer: bool) -> None:
    loop = loop_of(pods=4)
    loop.target = replace(loop.target, replicas=4, ready_replicas=4)
    assert (workers(killed(loop, count)) < 20) is fewer


@pytest.mark.parametrize("pause", [30, 290])
def test_the_only_pod_is_killed_twice_before_it_gets_fewer_and_then_once(pause: float) -> None:
    loop = loop_of(pods=1)
    loop.target = replace(loop.target, replicas=1, ready_replicas=1)
    assert [die(loop, pause) for _ in range(3)] == [20, 12, 7]


def test_kills_of_pods_that_are_seen_to_have_room_are_rare_runs_until_each_has_died_three_times() -> None:
    loop = loop_of(pods=2)
    loop.target = replace(loop.target, replicas=2, ready_replicas=2)
    mean = {SignalName.MEMORY_MEAN_BYTES: Signal(400.0 * MEBIBYTE, Health.FRESH, loop.now)}
    room = replace(NO_SIGNALS, signals={**NO_SIGNALS.signals, **mean})
    counts = []
    for _ in range(4):
        loop.now += 30
        counts.append(workers(killed(loop, 2, observation=room)))
        loop.target = replace(loop.target, replicas=2)
    assert counts == [20, 20, 12, 7]


def test_pods_that_never_started_do_not_count() -> None:
    loop = loop_of(pods=4)
    loop.target = replace(loop.target, replicas=4, ready_replicas=4)
    assert workers(killed(loop, 2, pending=6)) == 12


def test_kills_that_were_rare_take_nothing_later() -> None:
    loop = loop_of(pods=8)
    loop.target = replace(loop.target, replicas=8, ready_replicas=8)
    assert workers(killed(loop, 3)) == 20
    loop.target = replace(loop.target, replicas=4, ready_replicas=4, pods=())
    for _ in range(200):
        assert workers(loop.tick(NO_SIGNALS)) == 20


def test_kills_of_long_ago_take_nothing() -> None:
    loop = loop_of()
    assert workers(killed(loop, loop.target.replicas, seconds_ago=TOGETHER_SECONDS)) == 20


def test_a_clock_that_is_ahead_hides_no_kill() -> None:
    assert workers(killed(loop_of(), 4, seconds_ago=-60)) < 20


@pytest.mark.parametrize("memory", [{}, {"memory_max_bytes": Health.EMPTY, "memory_mean_bytes": Health.EMPTY}])
def test_pods_that_live_get_their_workers_back_step_by_step(memory: dict[str, Any]) -> None:
    loop = loop_of()
    assert die(loop) == 12
    live(loop, REST_SECONDS - 10, **memory)
    assert cap(loop) == 12
    live(loop, 15, **memory)
    assert cap(loop) == 15
    live(loop, 5 * REST_SECONDS, **memory)
    assert cap(loop) is None


def test_while_most_pods_are_down_nothing_rises() -> None:
    loop = loop_of(pods=4)
    loop.target = replace(loop.target, replicas=4, ready_replicas=4)
    assert workers(killed(loop, 3)) == 12
    for _ in range(100):
        loop.target = replace(loop.target, replicas=4, ready_replicas=1)
        loop.tick(NO_SIGNALS)
    assert cap(loop) == 12


def test_a_rise_that_kills_is_taken_back_and_the_next_one_waits_twice_as_long() -> None:
    loop = loop_of()
    die(loop)
    live(loop, REST_SECONDS + 5)
    assert cap(loop) == 15
    set_workers(loop, 15)
    assert die(loop) == 11
    live(loop, 2 * REST_SECONDS - 10)
    assert cap(loop) == 11
    live(loop, 15)
    assert cap(loop) == 13


def test_where_settings_come_by_a_restart_a_cut_waits_until_the_last_one_is_in_force() -> None:
    loop = loop_of()
    loop.target = replace(loop.target, restart_delivery=True)
    assert [die(loop) for _ in range(3)] == [12, 12, 12]
    live(loop, 10, worker_limit=12.0)
    assert die(loop) == 7


def test_workers_that_are_switched_off_stay() -> None:
    loop = loop_of()
    loop.policy = replace(loop.policy, workers=WorkerPolicy(mode=Mode.OFF))
    assert killed(loop, loop.target.replicas).settings.workers is None


def test_advice_stays_as_long_as_the_cap() -> None:
    loop = loop_of()
    loop.policy = replace(loop.policy, workers=replace(loop.policy.workers, mode=Mode.RECOMMEND, initial=20))
    killed(loop, loop.target.replicas)
    for _ in range(3):
        loop.target = replace(loop.target, pods=())
        decision = loop.tick(NO_SIGNALS)
        assert (decision.settings.workers, decision.recommended.workers) == (20, 12)


def test_a_full_pause_stops_this_too() -> None:
    loop = loop_of()
    loop.policy = replace(loop.policy, paused_scale_in=True, paused_scale_out=True)
    assert die(loop) == 20
    assert loop.memory.kill_cap is None
