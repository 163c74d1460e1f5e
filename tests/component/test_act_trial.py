"""A trial of the cache, from its begin to its end, on a real API server."""

from __future__ import annotations

from agentscaler.core.observation import SignalName
from tests.component.act_stage import MEBIBYTE, Stage


async def test_a_larger_cache_that_finds_no_more_is_taken_back_and_said(stage: Stage) -> None:
    bounds = {"min": "16Mi", "max": "512Mi", "initial": "64Mi"}
    stage.apply(tuning={"intervalSeconds": 5, "replicas": {"min": 1, "max": 1}, "cache": bounds})
    await stage.settle()
    evicting = {SignalName.CACHE_HIT_RATIO: 0.3, SignalName.CACHE_MISS_RATE: 70.0, SignalName.CACHE_EVICTION_RATE: 60.0}
    stage.agents.values |= {**evicting, SignalName.CACHE_BYTES: 63.0 * MEBIBYTE, SignalName.PODS_REPORTING: 1.0}
    # A law of memory needs pairs of runs and bytes that differ.
    for number in range(40):
        busy = 1.0 + number % 4
        held = (163 + 20 * busy) * MEBIBYTE
        stage.agents.values |= {SignalName.IN_FLIGHT: busy, SignalName.IN_FLIGHT_MAX: busy}
        stage.agents.values |= {SignalName.MEMORY_MAX_BYTES: held, SignalName.MEMORY_MEAN_BYTES: held}
        stage.report()
        await stage.tick()
    await stage.until(lambda: stage.tuning()["cache"]["maxBytes"] == 96 * MEBIBYTE, "a larger cache")
    stage.agents.values[SignalName.CACHE_BYTES] = 95.0 * MEBIBYTE
    for _ in range(7 * 60 // 5 + 2):
        stage.report()
        await stage.tick()
    assert stage.tuning()["cache"]["maxBytes"] == 64 * MEBIBYTE
    assert stage.status()["lastDecision"]["reason"] == "TrialFailed"
    assert any("was a trial: 30.0 % of the lookups hit, 30.0 % before" in note for _, note in stage.events())
