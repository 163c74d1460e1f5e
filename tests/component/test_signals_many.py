"""A thousand objects cost as many queries as one, and history comes out of the same server."""

from __future__ import annotations

import asyncio

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, SignalName
from agentscaler.frameworks.preset import Metric, MetricKind
from agentscaler.signals.plan import MOST_QUERIES
from agentscaler.signals.request import Override
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request

SOME = (0, 1, 499, 998, 999)


async def test_a_thousand_objects_cost_no_more_queries_than_one(prometheus: Prometheus) -> None:
    stage = Stage()
    for number in SOME:
        stage.agent(f"w{number}-5d9c7b-abcde", namespace=f"team-{number % 7}", in_flight=number)
    await asyncio.to_thread(prometheus.backfill, stage.text)
    everything = [request(f"w{number}", f"team-{number % 7}") for number in range(1000)]
    signals = collector(prometheus.url)
    sent: list[int] = []
    for asked in (everything[:1], everything):
        before = signals.queries
        seen = await signals.collect(asked, NOW)
        sent.append(signals.queries - before)
        assert signals.last_tick_queries == {("main", "generic"): sent[-1]}
    await signals.close()
    assert sent[0] == sent[1] <= MOST_QUERIES
    assert signals.failures == 0
    for number in SOME:
        assert seen[f"team-{number % 7}/w{number}"].value(SignalName.IN_FLIGHT) == number
    assert seen["team-2/w2"].signal(SignalName.IN_FLIGHT).health is Health.EMPTY


async def test_queries_beyond_the_budget_are_refused_for_those_who_ask_for_them(prometheus: Prometheus) -> None:
    stage = Stage()
    stage.agent("usual-5d9c7b-abcde")
    await asyncio.to_thread(prometheus.backfill, stage.text)
    asked = [request("usual", window_seconds=window) for window in (120,)]
    asked += [
        request(f"own-{n}", overrides=(Override("in_flight", Metric(f"busy_{n}", MetricKind.GAUGE)),))
        for n in range(30)
    ]
    asked += [request(f"fine-{n}", latency_quantile=round(0.9 + n / 100, 2)) for n in range(9)]
    signals = collector(prometheus.url)
    seen = await signals.collect(asked, NOW)
    assert signals.queries <= MOST_QUERIES
    before = signals.queries
    again = await signals.collect(list(reversed(asked)), NOW)
    assert signals.queries - before <= MOST_QUERIES
    await signals.close()
    assert seen["agents/usual"].problems == ()
    refused = {uid for uid, o in seen.items() if Reason.TOO_MANY_QUERIES in dict(o.problems)}
    assert refused == {uid for uid, o in again.items() if Reason.TOO_MANY_QUERIES in dict(o.problems)}
    assert 15 < len([uid for uid in refused if "own-" in uid]) < 30
    assert len([uid for uid in refused if "fine-" in uid]) == 5
    for uid in refused:
        errors = {name for name, signal in seen[uid].signals.items() if signal.health is Health.ERROR}
        assert errors in (
            {SignalName.IN_FLIGHT, SignalName.IN_FLIGHT_MAX, SignalName.PODS_REPORTING},
            {SignalName.LATENCY},
        )


async def test_history_is_what_ticks_would_have_seen(prometheus: Prometheus) -> None:
    stage = Stage()
    at = {"namespace": "agents", "pod": "researcher-5d9c7b-abcde", "job": "agents", "instance": "a"}
    ok = {**at, "status": "success"}
    # load rises by 1 each minute; the series are away from 300 to 200 s before now
    stage.series("agent_inflight_requests", at, lambda o: None if 900 < o < 1000 else float(o // 60))
    stage.series("agent_requests_total", ok, lambda o: None if 900 < o < 1000 else 2.0 * o)
    stage.gauge("process_resident_memory_bytes", 5e8, at)
    await asyncio.to_thread(prometheus.backfill, stage.text)
    signals = collector(prometheus.url)
    past = await signals.history([request(), request("unknown")], NOW)
    await signals.close()
    assert past["agents/unknown"] == ()
    observations = past["agents/researcher"]
    assert [o.evaluated_at for o in observations] == [NOW - 600 + 15 * n for n in range(41)]
    for observation in observations:
        offset = 1200 - (NOW - observation.evaluated_at)
        load = observation.value(SignalName.IN_FLIGHT)
        if 915 <= offset < 1000:
            assert load is None
            assert observation.value(SignalName.REQUEST_RATE_60) is None
        elif not 900 < offset < 1000:
            assert load == offset // 60
        if offset < 900:
            assert observation.value(SignalName.REQUEST_RATE_60) == pytest.approx(2)
        assert observation.value(SignalName.MEMORY_MAX_BYTES) == 5e8


async def test_history_of_a_dead_server_is_empty_and_no_error() -> None:
    signals = collector("http://127.0.0.1:1")
    assert await signals.history([request(), request("x", server="nowhere")], NOW) == {
        "agents/researcher": (),
        "agents/x": (),
    }
    await signals.close()
