"""The size while nobody knows the demand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health
from agentscaler.core.policy import Fallback, Policy
from agentscaler.core.target import Pod
from tests.worlds import BUSY, POLICY, TARGET, Loop, blind, without_hold


def falling_back(replicas: int = 6, threshold: int = 3) -> Policy:
    policy = without_hold(POLICY)
    return replace(policy, replicas=replace(policy.replicas, fallback=Fallback(threshold, replicas)))


def test_so_many_failures_in_a_row_give_the_size_and_not_one_less() -> None:
    loop = Loop(falling_back())
    loop.ticks(30)
    before = loop.target.replicas
    assert [loop.tick(blind()).settings.replicas for _ in range(4)] == [before, before, 6, 6]
    fell = loop.decisions[-2]
    assert fell.reason is Reason.FALLBACK
    assert "3 observations" in fell.summary


def test_one_observation_that_tells_the_demand_starts_the_count_anew() -> None:
    loop = Loop(falling_back())
    loop.ticks(30)
    before = loop.target.replicas
    for _ in range(5):
        loop.tick(blind())
        loop.tick(blind())
        assert loop.tick().settings.replicas == before


def test_what_runs_already_is_never_reduced_to_it() -> None:
    loop = Loop(falling_back(replicas=1), target=replace(TARGET, replicas=8, ready_replicas=8))
    for _ in range(50):
        assert loop.tick(blind()).settings.replicas == 8


def test_demand_that_is_known_in_part_is_no_failure() -> None:
    loop = Loop(falling_back())
    loop.ticks(30)
    before = loop.target.replicas
    assert loop.ticks(20, pods_reporting=0.5).settings.replicas == before


@pytest.mark.parametrize("health", [Health.STALE, Health.ERROR, Health.INVALID, Health.EMPTY])
def test_every_way_not_to_know_counts(health: Health) -> None:
    loop = Loop(falling_back())
    for _ in range(3):
        decision = loop.tick(blind(health=health))
    assert decision.settings.replicas == 6


def test_it_stays_within_the_bounds() -> None:
    loop = Loop(falling_back(replicas=60))
    for _ in range(3):
        decision = loop.tick(blind())
    assert decision.settings.replicas == POLICY.replicas.max


def test_pods_that_do_not_come_are_not_ordered_again() -> None:
    pods = tuple(Pod(f"p{i}", 0.0, None, "Unschedulable: no node") for i in range(2))
    loop = Loop(falling_back(), target=replace(TARGET, ready_replicas=0, pods=pods))
    for _ in range(3):
        loop.target = replace(loop.target, ready_replicas=0)
        decision = loop.tick(blind())
    assert decision.settings.replicas == 2


def test_when_demand_is_known_again_it_decides_after_a_full_window() -> None:
    loop = Loop(falling_back())
    for _ in range(3):
        loop.tick(blind())
    loop.tick()
    assert loop.target.replicas == 6
    assert loop.ticks(30).settings.replicas < 6
    assert loop.ticks(30, **BUSY).settings.replicas > 3


def test_a_service_without_pods_is_left_without() -> None:
    loop = Loop(falling_back(), target=replace(TARGET, replicas=0, ready_replicas=0))
    loop.policy = replace(loop.policy, replicas=replace(loop.policy.replicas, manual=0))
    for _ in range(10):
        assert loop.tick(blind()).settings.replicas == 0
    loop.policy = replace(loop.policy, replicas=replace(loop.policy.replicas, manual=1))
    sizes = [loop.tick(blind()).settings.replicas for _ in range(4)]
    assert sizes == [1, 1, 1, 6]  # what could not be seen while there was nothing to see is no failure
