"""What scenarios on kind conclude from what they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from e2e.kind.timeline import Agent, Size, Timeline, Written

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster


def timeline() -> Timeline:
    return Timeline(cast("KindCluster", None), "agents", "researcher")


def written(at: float, workers: int, generation: int = 1) -> Written:
    return Written(at, {"generation": generation, "workers": {"maxConcurrent": workers}}, {})


def test_sizes_between_two_moments_begin_with_the_one_that_stood_and_tell_each_change_once() -> None:
    seen = timeline()
    seen.sizes = [Size(float(at), replicas, replicas, 1) for at, replicas in enumerate((2, 2, 4, 4, 3, 4))]
    assert seen.replicas_between(0, 10) == [2, 4, 3, 4]
    assert seen.replicas_between(3, 5) == [4, 3]
    assert seen.replicas_between(5, 5) == [3]
    assert seen.replicas == 4


def test_a_fall_and_rise_of_workers_is_seen() -> None:
    seen = timeline()
    seen.written = [written(1, 8), written(2, 4), written(3, 8)]
    assert seen.workers_between(1.5, 4) == [8, 4, 8]


def test_a_pod_that_never_reported_a_write_counts_as_never_and_one_that_came_later_does_not_count() -> None:
    seen = timeline()
    write = written(10.0, 8, generation=2)
    seen.agents = [
        Agent(9.5, "quick", 4, 1, 0, 0),
        Agent(9.6, "deaf", 4, 1, 0, 0),
        Agent(10.5, "quick", 8, 2, 0, 0),
        Agent(11.0, "deaf", 4, 1, 0, 0),
        Agent(11.5, "late", 8, 2, 0, 0),
    ]
    assert seen.in_force_after(write) == {"quick": 0.5, "deaf": float("inf")}
