"""The engine against a few plain lines that say the same: waits to the microsecond."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import pytest

from agentscaler.simulate import state as c
from agentscaler.simulate import synthetic
from agentscaler.simulate.model import ServiceModel, Variant
from agentscaler.simulate.state import Floats
from agentscaler.simulate.workload import draw
from agentscaler.simulate.world import World

CALM = Variant(model=ServiceModel(cpu_limit_cores=1e9), memory_limit_bytes=2**50)


def waits(arrivals: Floats, service: Floats, workers: int) -> Floats:
    """First come, first served; who would wait more than a minute gives up after it."""
    free = [0.0] * workers
    waited = np.empty(len(arrivals))
    for i, (came, seconds) in enumerate(zip(arrivals, service, strict=True)):
        start = max(came, free[0])
        waited[i] = min(start - came, 60.0)
        if start - came <= 60.0:
            heapq.heapreplace(free, start + seconds)
    return waited


@pytest.mark.parametrize(("load", "pods"), [("step", 4), ("step", 8), ("recurring", 3), ("bursts", 6)])
def test_waits_in_the_engine_are_those_of_a_plain_queue(load: str, pods: int) -> None:
    trace = synthetic.trace(load, seed=3).first(1800)
    workload = draw(trace, CALM, 3)
    world = World(workload, CALM, replicas=pods)
    world.advance(trace.duration_seconds + 60)
    expected = waits(trace.arrivals_seconds, workload.requests["service"], 8 * pods)
    assert np.allclose(world.state.wait, expected, atol=1e-4)
    assert world.state.ints[c.TIMED_OUT_N] == (expected == 60.0).sum()
    assert world.billed_seconds() == pytest.approx(pods * (trace.duration_seconds + 60))


def test_fewer_workers_a_pod_wait_like_fewer_pods() -> None:
    trace = synthetic.trace("step", seed=4).first(900)
    four = replace(CALM, model=replace(CALM.model, workers=4))
    worlds = [World(draw(trace, variant, 4), variant, replicas=pods) for variant, pods in ((CALM, 3), (four, 6))]
    for world in worlds:
        world.advance(960)
    assert np.allclose(worlds[0].state.wait, worlds[1].state.wait, atol=1e-4)
