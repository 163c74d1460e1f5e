"""A server that fails: what the objects get to know, how often it is asked, and how it recovers.

A real Prometheus is killed and brought back; what it cannot be made to do on demand a small HTTP server does.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, SignalName
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.collector import Collector
from agentscaler.signals.plan import MOST_QUERIES
from e2e.harness.prometheus import Prometheus
from tests.component.signals_fake import UID, Clock, Fake, answering, assert_unknown, once, seen_by
from tests.component.signals_stage import NOW, Stage, collector, request, server


async def test_the_fake_server_is_believed_when_it_answers_well(fake: Fake) -> None:
    assert (await once(fake, answering())).value(SignalName.IN_FLIGHT) == 5


async def test_queries_are_posted_in_the_body_with_one_time_and_a_time_out(fake: Fake) -> None:
    await once(fake, answering(), headers=(("X-Scope-OrgID", "me"),), parameters=(("dedup", "true"),))
    assert len(fake.seen) <= MOST_QUERIES
    for asked, form in fake.seen:
        assert (asked.method, asked.query_string) == ("POST", "")
        assert asked.headers["X-Scope-OrgID"] == "me"
        assert (form["time"], form["dedup"]) == (f"{NOW:.3f}", "true")
        assert form["timeout"].endswith("ms")


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (400, '{"status":"error","errorType":"bad_data","error":"parse error"}', Reason.QUERY_REFUSED),
        (401, "", Reason.QUERY_REFUSED),
        (403, "", Reason.QUERY_REFUSED),
        (404, "not found", Reason.QUERY_REFUSED),
        (422, '{"status":"error","errorType":"execution","error":"too many samples"}', Reason.QUERY_REFUSED),
        (500, "oops", Reason.QUERY_FAILED),
        (503, '{"status":"error","errorType":"timeout","error":"query timed out"}', Reason.QUERY_FAILED),
        (200, "<html>a login page</html>", Reason.QUERY_FAILED),
        (200, '{"status":"error","error":"in spite of 200"}', Reason.QUERY_FAILED),
        (200, '{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}', Reason.QUERY_FAILED),
        (200, '{"status":"success"', Reason.QUERY_FAILED),
        (200, "[]", Reason.QUERY_FAILED),
        (302, "", Reason.QUERY_FAILED),
    ],
)
async def test_no_proper_answer_is_an_error_and_never_a_number(
    fake: Fake, status: int, text: str, reason: Reason
) -> None:
    headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else None
    assert_unknown(await once(fake, answering(status, text, headers)), reason)


async def test_rows_of_an_unknown_form_do_not_break_the_tick(fake: Fake) -> None:
    rows: list[Any] = [{"metric": {"namespace": "agents", "obj": "researcher"}, "value": [NOW, "5"]}, {"metric": {}}, 7]
    observation = await once(fake, answering(data={"resultType": "vector", "result": rows}))
    assert_unknown(observation, Reason.QUERY_FAILED)


async def test_an_answer_cut_off_is_an_error(fake: Fake) -> None:
    async def cut(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(asked)
        await response.write(b'{"status":"success","data":')
        assert asked.transport is not None
        asked.transport.close()
        return response

    observation = await once(fake, cut)
    assert_unknown(observation, Reason.QUERY_FAILED)


async def test_an_answer_without_end_is_cut_at_the_limit(fake: Fake) -> None:
    observation = await once(fake, answering(padding="x" * 100_000), max_response_bytes=50_000)
    assert_unknown(observation, Reason.QUERY_FAILED)
    assert "exceeds 50000 bytes" in observation.problems[0][1]


@pytest.mark.parametrize("dripping", [False, True])
async def test_a_slow_server_ends_the_tick_in_time(fake: Fake, dripping: bool) -> None:
    async def slow(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if dripping:
            await response.prepare(asked)
            for _ in range(100):
                await response.write(b" " * 300_000)
                await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        return response

    loop = asyncio.get_running_loop()
    began = loop.time()
    observation = await once(fake, slow, timeout_seconds=0.5)
    assert loop.time() - began < 9, "the server itself would have taken longer"
    assert_unknown(observation, Reason.QUERY_FAILED)
    assert observation.problems[0][1] == "Prometheus server main: no answer within 0.5 s"


@pytest.mark.parametrize(
    "fields",
    [{"warnings": ["store 3 did not answer"]}, {"infos": ["partial response"]}, {"isPartial": True}],
    ids=["warnings", "infos", "isPartial"],
)
async def test_a_partial_answer_is_partial(fake: Fake, fields: dict[str, Any]) -> None:
    observation = await once(fake, answering(**fields))
    signal = observation.signal(SignalName.IN_FLIGHT)
    assert (signal.health, signal.value) == (Health.PARTIAL, 5)
    assert observation.value(SignalName.IN_FLIGHT) is None
    assert Reason.SIGNALS_PARTIAL in dict(observation.problems)


async def test_remarks_of_the_evaluation_on_single_series_are_not_partial(fake: Fake) -> None:
    handler = answering(warnings=["PromQL warning: bucket label le is missing"], infos=["PromQL info: no counter"])
    assert (await once(fake, handler)).value(SignalName.IN_FLIGHT) == 5


async def test_one_query_that_fails_blinds_no_other(fake: Fake) -> None:
    async def handler(asked: web.Request) -> web.StreamResponse:
        query = str((await asked.post())["query"])
        return await answering(500 if "agent_queue_wait_seconds_bucket" in query else 200)(asked)

    observation = await once(fake, handler)
    assert observation.signal(SignalName.QUEUE_WAIT).health is Health.ERROR
    assert observation.value(SignalName.IN_FLIGHT) == 5
    assert observation.problems == (("QueryFailed", "Prometheus server main: answered 500"),)


async def test_without_the_age_of_the_samples_nothing_is_trusted(fake: Fake) -> None:
    async def handler(asked: web.Request) -> web.StreamResponse:
        query = str((await asked.post())["query"])
        return await answering(500 if "timestamp(agent_inflight_requests" in query else 200)(asked)

    signal = (await once(fake, handler)).signal(SignalName.IN_FLIGHT)
    assert (signal.health, signal.value) == (Health.ERROR, None)
    assert signal.detail == "the age of the samples is not known: answered 500"


async def test_a_failing_server_is_probed_once_a_tick_with_growing_pauses_and_comes_back(fake: Fake) -> None:
    clock = Clock()
    signals = Collector({"main": server(fake.url)}, PRESETS, clock=clock)
    fake.handler = answering(500)
    await seen_by(signals)
    whole = len(fake.seen)
    asked: list[int] = []
    for _ in range(60):
        clock.seconds += 1
        before = len(fake.seen)
        observation = await seen_by(signals)
        assert_unknown(observation, Reason.QUERY_FAILED)
        asked.append(len(fake.seen) - before)
    assert set(asked) == {0, 1}
    assert sum(asked) <= 8
    fake.handler = answering()
    clock.seconds += 15
    before = len(fake.seen)
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == 5
    assert whole - 1 <= len(fake.seen) - before <= whole
    await signals.close()


async def test_a_server_that_asks_for_a_pause_gets_it(fake: Fake) -> None:
    clock = Clock()
    signals = Collector({"main": server(fake.url)}, PRESETS, clock=clock)
    fake.handler = answering(429, headers={"Retry-After": "20"})
    await seen_by(signals)
    before = len(fake.seen)
    clock.seconds += 19
    assert_unknown(await seen_by(signals), Reason.QUERY_FAILED)
    assert len(fake.seen) == before
    clock.seconds += 2
    fake.handler = answering()
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == 5
    await signals.close()


async def test_a_server_that_nobody_configured_is_a_problem_of_its_object_only(fake: Fake) -> None:
    signals = collector(fake.url)
    seen = await signals.collect([request(), request("stray", server="nowhere")], NOW)
    await signals.close()
    assert_unknown(seen["agents/stray"], Reason.UNKNOWN_PROMETHEUS)
    assert "choose one of: main" in seen["agents/stray"].problems[0][1]
    assert seen[UID].value(SignalName.IN_FLIGHT) == 5


async def test_a_bad_server_does_not_touch_the_objects_of_a_good_one(fake: Fake) -> None:
    servers = {"main": server(fake.url), "bad": server("http://127.0.0.1:1", name="bad")}
    signals = Collector(servers, PRESETS)
    seen = await signals.collect([request(), request("other", server="bad")], NOW)
    await signals.close()
    assert_unknown(seen["agents/other"], Reason.QUERY_FAILED)
    assert seen["agents/other"].problems[0][1] == "Prometheus server bad: no connection: connection refused"
    assert seen[UID].value(SignalName.IN_FLIGHT) == 5


async def test_a_killed_prometheus_is_unknown_and_back_without_a_restart(prometheus: Prometheus) -> None:
    stage = Stage()
    stage.agent("researcher-5d9c7b-abcde", in_flight=5)
    prometheus.backfill(stage.text)
    clock = Clock()
    signals = Collector({"main": server(prometheus.url)}, PRESETS, clock=clock)
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == 5
    await asyncio.to_thread(prometheus.process.kill)
    assert_unknown(await seen_by(signals), Reason.QUERY_FAILED)
    clock.seconds += 1
    assert_unknown(await seen_by(signals), Reason.QUERY_FAILED)
    await asyncio.to_thread(prometheus.start)
    clock.seconds += 15
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == 5
    await signals.close()
