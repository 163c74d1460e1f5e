"""The busy level, which replicas are sized for, follows what memory has taught."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from agentscaler.core.assess import assess
from agentscaler.core.capacity import RESERVE, WORTH_A_ROLL
from agentscaler.core.learn import MemoryLaw
from agentscaler.core.level import STEP_SECONDS
from agentscaler.core.policy import Mode, ReplicaPolicy, WorkerPolicy
from tests.worlds import LEARNED, MEBIBYTE, POLICY, TARGET, Loop, observe, workers

TEN = replace(
    POLICY,
    workers=WorkerPolicy(min=2, max=64, initial=10),
    replicas=ReplicaPolicy(mode=Mode.OFF, min=1, max=2, manual=2),
)
ROOMY = replace(TARGET, memory_limit_bytes=2048 * MEBIBYTE)


def kept(runs: float = 4.0) -> dict[str, Any]:
    """As the law has it: 150 MiB and 20 MiB a run."""
    held = (150.0 + 20.0 * runs) * MEBIBYTE
    return {
        "in_flight": 2 * runs,
        "in_flight_max": runs,
        "request_rate_60": 4 * runs,
        "request_rate_300": 4 * runs,
        "memory_mean_bytes": held,
        "memory_max_bytes": held,
        "cache_bytes": 0.0,
        "worker_limit": 10.0,
    }


def learned(loop: Loop) -> Loop:
    loop.ticks(20, **kept())
    loop.memory = replace(loop.memory, learned=LEARNED)
    return loop


def level(loop: Loop) -> int:
    return loop.memory.learned.busy_level or 10


def climbed(loop: Loop, ticks: int = 720, **values: Any) -> list[tuple[float, int]]:
    """The level and its time whenever it moved."""
    moves = [(loop.now, level(loop))]
    for _ in range(ticks):
        loop.tick(**(kept() | values))
        if level(loop) != moves[-1][1]:
            moves.append((loop.now, level(loop)))
    return moves


def test_it_climbs_step_by_step_while_all_is_calm() -> None:
    moves = climbed(learned(Loop(TEN, ROOMY)))
    assert len(moves) > 4
    for (before, low), (after, high) in pairwise(moves[1:]):
        assert 0 < high - low <= max(1, low // 10)
        assert after - before >= STEP_SECONDS


def test_it_leaves_the_reserve_for_bursts_open() -> None:
    loop = learned(Loop(TEN, ROOMY))
    settings = loop.ticks(900, **kept()).settings
    assert settings.workers is not None
    assert settings.workers >= RESERVE * level(loop) - 1
    assert level(loop) > 20


def test_it_stands_still_while_runs_wait() -> None:
    loop = learned(Loop(TEN, ROOMY))
    assert len(climbed(loop, 360, queue_depth=200.0, in_flight=20.0)) == 1


def test_it_stands_still_while_runs_are_slower_than_promised() -> None:
    slow = replace(TEN, objectives=replace(TEN.objectives, latency=TEN.objectives.queue_wait))
    assert len(climbed(learned(Loop(slow, ROOMY)), 360, latency=5.0)) == 1


def test_it_falls_at_once_when_less_is_safe() -> None:
    loop = learned(Loop(TEN, ROOMY))
    loop.ticks(360, **kept())
    high = level(loop)
    loop.target = replace(loop.target, memory_limit_bytes=700 * MEBIBYTE)
    loop.tick(**kept())
    assert level(loop) == 10 < high, "the start value: below it memory safety acts by itself"


def test_it_stays_within_the_users_bounds() -> None:
    loop = learned(Loop(TEN, ROOMY))
    loop.ticks(360, **kept())
    loop.policy = replace(TEN, workers=WorkerPolicy(min=2, max=12, initial=10), replicas=ReplicaPolicy(min=1, max=9))
    decision = loop.ticks(3, **kept())
    assert decision.settings.workers is not None
    assert decision.settings.workers <= 12
    assert level(loop) <= 12


def test_a_load_that_is_steady_for_hours_forgets_nothing() -> None:
    """No spread, no regression: the reserve stays open, and the level still falls with what is safe."""
    loop = learned(Loop(TEN, ROOMY))
    for _ in range(600):
        decision = loop.tick(**kept(), seconds=60.0)
    assert decision.settings.workers is not None
    assert decision.settings.workers > level(loop) > 20
    loop.target = replace(loop.target, memory_limit_bytes=700 * MEBIBYTE)
    loop.tick(**kept())
    assert level(loop) == 10


def test_nothing_is_learned_where_workers_are_not_ours() -> None:
    for mode in (Mode.OFF, Mode.RECOMMEND):
        theirs = replace(TEN, workers=replace(TEN.workers, mode=mode))
        assert len(climbed(learned(Loop(theirs, ROOMY)), 360)) == 1


def test_it_stands_still_where_no_pod_can_be_saved() -> None:
    least = replace(TEN, replicas=ReplicaPolicy(mode=Mode.OFF, min=2, max=4, manual=2))
    assert len(climbed(learned(Loop(least, ROOMY)))) == 1


def heavy(runs: float, per_run_mebibytes: float = 80.0) -> dict[str, Any]:
    """Runs that take four times what they took."""
    held = (150.0 + per_run_mebibytes * runs) * MEBIBYTE
    return kept(runs) | {"memory_mean_bytes": held, "memory_max_bytes": held}


def test_a_start_that_memory_refutes_is_left_and_not_come_back_to() -> None:
    loop = learned(Loop(TEN, TARGET))
    for runs in (2.0, 6.0, 3.0, 7.0) * 30:  # the law learns what runs take now
        loop.tick(**heavy(runs))
    assert level(loop) == 10
    loop.tick(**heavy(10.0))  # 950 of 819 MiB
    below = level(loop)
    assert below < 10
    loop.ticks(180, **heavy(5.0))
    assert level(loop) <= below


def test_a_start_that_only_the_law_doubts_stands() -> None:
    loop = learned(Loop(TEN, TARGET))
    for runs in (2.0, 6.0, 3.0, 7.0) * 60:
        loop.tick(**heavy(runs))
    assert level(loop) == 10


def test_a_rare_run_may_use_what_lies_between_objective_and_limit_once_it_is_known_well() -> None:
    law = MemoryLaw(150.0, 20.0, excess_bytes=100.0)
    careful, known = law.runs_that_fit(800.0, 0.0, 4), replace(law, headroom_bytes=150.0).runs_that_fit(800.0, 0.0, 4)
    assert (careful, known) == (27, 30)
    assert 150.0 + 20.0 * known + 2 * 100.0 <= 950.0, "one that is twice as bad stays inside the limit"
    assert replace(law, headroom_bytes=1000.0).runs_that_fit(800.0, 0.0, 4) == 32, "what runs usually hold does not"


def test_a_tail_that_fills_the_headroom_stays_below_the_objective() -> None:
    law = MemoryLaw(150.0, 20.0, excess_bytes=200.0, headroom_bytes=150.0)
    assert law.runs_that_fit(800.0, 0.0, 4) == replace(law, headroom_bytes=0.0).runs_that_fit(800.0, 0.0, 4)


def test_the_tail_is_known_after_two_hours() -> None:
    loop = Loop(TEN, ROOMY)
    tails = []
    for _ in range(4):
        for tick in range(360):
            loop.tick(**kept(2.0 if tick % 2 else 6.0))
        s = assess(loop.policy, loop.target, observe(loop.now + 5), loop.memory, loop.now + 5)
        assert s.law is not None
        tails.append(s.law.headroom_bytes / (0.2 * 2048 * MEBIBYTE))
    assert tails[0] < 0.5 < tails[1] < tails[2] <= tails[3] == pytest.approx(1.0)


def obeyed(loop: Loop, ticks: int = 720, start: int = 10, **values: Any) -> list[int]:
    """The workers whenever they moved, of pods that take what was decided."""
    moves = [start]
    for _ in range(ticks):
        decision = loop.tick(**(kept() | {"worker_limit": float(moves[-1])} | values))
        if workers(decision) != moves[-1]:
            moves.append(workers(decision))
    return moves


def test_settings_that_come_by_a_restart_move_seldom_and_by_what_is_worth_one() -> None:
    hot = obeyed(learned(Loop(TEN, ROOMY)))
    rolled = obeyed(learned(Loop(TEN, replace(ROOMY, restart_delivery=True))))
    assert len(hot) > 2 * len(rolled) > 2
    for low, high in pairwise(rolled):
        assert high >= WORTH_A_ROLL * low


def test_the_reserve_alone_is_worth_no_restart_and_a_users_minimum_is() -> None:
    loop = learned(Loop(TEN, replace(ROOMY, restart_delivery=True)))
    assert obeyed(loop, 12) == [10]
    loop.policy = replace(TEN, workers=replace(TEN.workers, min=11))
    assert obeyed(loop, 12) == [10, 11]


def test_the_reserve_stays_open_where_closing_it_would_take_a_restart() -> None:
    loop = learned(Loop(TEN, replace(ROOMY, restart_delivery=True)))
    grown = obeyed(loop, 12, queue_depth=300.0, in_flight=20.0)[-1]
    assert grown > 2 * 10
    assert obeyed(loop, 240, start=grown) == [grown]
