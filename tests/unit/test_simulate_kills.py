"""Pods that die of memory all at once, in virtual time: what waits for them must not kill them again for ever."""

from __future__ import annotations

import numpy as np

from agentscaler.simulate import arrivals
from agentscaler.simulate import state as c
from agentscaler.simulate.model import GIBIBYTE, Variant, Workers
from agentscaler.simulate.product import Agentscaler
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.run import Timeline, play, prepare

SECONDS = 3600
RATE = 2.0


def test_pods_that_die_with_the_workers_they_start_with_soon_live_with_fewer() -> None:
    """Eight runs need 1.8 GB, and a pod may hold one."""
    times = arrivals.poisson(np.full(SECONDS, RATE), 1.0, np.random.default_rng(1))
    trace = Trace("steady", times, float(SECONDS), service_seconds=np.full(len(times), 6.0))
    case = prepare(trace, Variant(workers=Workers.FREE, memory_limit_bytes=GIBIBYTE), 0, reference=False)
    timeline = Timeline()
    world, _, _ = play(case, Agentscaler(), timeline)
    assert timeline.workers[0] == 8
    settled = next(at for at, seconds in enumerate(timeline.seconds) if seconds > 900)
    assert max(timeline.workers[settled:]) <= 4
    kills = np.array(timeline.oom_kills)
    assert 0 < kills[settled] < 30
    assert kills[-1] - kills[settled] <= 5, "a rare run may still be too much"
    done = world.state.ints[c.DONE_N] / len(times)
    assert done > 0.9
