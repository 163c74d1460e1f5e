"""A server that fails: what the objects get to know, how often it is asked, and how it recovers.

A real Prometheus is killed and brought back; what it cannot be made to do on demand a small HTTP server does.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.collector import Collector
from agentscaler.signals.plan import MOST_QUERIES
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request, server

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
UID = "agents/researcher"


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Fake:
    """Answers queries as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.handler: Handler = answering()
        self.seen: list[tuple[web.Request, dict[str, str]]] = []
        self.url = ""

    async def handle(self, asked: web.Request) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await asked.post()).items()}
        self.seen.append((asked, form))
        return await self.handler(asked)


def envelope(**fields: Any) -> dict[str, Any]:
    row = {
        "metric": {"namespace": "agents", "obj": "researcher", "signal": "inFlight"},
        "value": [NOW, "5"],
    }
    times = [
        {"metric": {**row["metric"], "signal": name}, "value": [NOW, str(NOW)]}  # type: ignore[dict-item]  # both rows are dicts
        for name in ("newest", "oldest")
    ]
    return {"status": "success", "data": {"resultType": "vector", "result": [row, *times]}, **fields}


def answering(
    status: int = 200, text: str | None = None, headers: dict[str, str] | None = None, **fields: Any
) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        body = json.dumps(envelope(**fields)) if text is None else text
        return web.Response(status=status, text=body, headers=headers, content_type="application/json")

    return handler


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[Fake]:
    server_ = Fake()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server_.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server_.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server_
    await runner.cleanup()


async def seen_by(signals: Collector) -> Observation:
    return (await signals.collect([request()], NOW))[UID]


async def once(fake: Fake, handler: Handler, **fields: object) -> Observation:
    fake.handler = handler
    signals = collector(fake.url, **fields)
    observation = await seen_by(signals)
    await signals.close()
    return observation


def assert_unknown(observation: Observation, reason: Reason) -> None:
    assert {signal.health for signal in observation.signals.values()} == {Health.ERROR}
    assert [got for got, _ in observation.problems] == [reason]
    assert all(observation.value(name) is None for name in SignalName)


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
    assert loop.time() - began < 3
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


async def test_secrets_are_read_for_each_call_and_follow_no_redirect(fake: Fake, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    signals = collector(fake.url, bearer_token_file=str(token))
    await seen_by(signals)
    token.write_text("two\n")
    await seen_by(signals)
    assert [asked.headers["Authorization"] for asked, _ in (fake.seen[0], fake.seen[-1])] == [
        "Bearer one",
        "Bearer two",
    ]
    token.unlink()
    observation = await seen_by(signals)
    assert_unknown(observation, Reason.QUERY_FAILED)
    assert "cannot read the secret file" in observation.problems[0][1]
    fake.handler = answering(302, headers={"Location": f"{fake.url}/elsewhere"})
    token.write_text("three")
    await once(fake, fake.handler, bearer_token_file=str(token))
    assert all("elsewhere" not in asked.path for asked, _ in fake.seen)
    await signals.close()


async def test_a_password_is_sent_as_basic_authorization(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    await once(fake, answering(), username="me", password_file=str(tmp_path / "password"))
    assert fake.seen[0][0].headers["Authorization"] == "Basic bWU6c2VjcmV0"


def certificate(directory: Path, name: str, issuer: str | None) -> None:
    """A key and a certificate for 127.0.0.1, signed by the issuer or by itself."""
    signed = ["-CA", str(directory / f"{issuer}.pem"), "-CAkey", str(directory / f"{issuer}.key")] if issuer else []
    extensions = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.pem"),
         *extensions, *signed],
        check=True, capture_output=True,
    )  # fmt: skip


async def test_certificates_are_checked_both_ways(tmp_path: Path) -> None:
    for name, issuer in (("ca", None), ("server", "ca"), ("client", "ca")):
        certificate(tmp_path, name, issuer)
    files = {name: str(tmp_path / name) for name in ("ca.pem", "client.pem", "client.key")}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["ca.pem"])
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    fake = Fake()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    fake.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    both = {"ca_file": files["ca.pem"], "cert_file": files["client.pem"], "key_file": files["client.key"]}
    try:
        assert (await once(fake, answering(), **both)).value(SignalName.IN_FLIGHT) == 5
        for lacking in ("ca_file", "cert_file"):
            fields = {name: value for name, value in both.items() if name != lacking}
            fields = fields if lacking == "ca_file" else {"ca_file": both["ca_file"]}
            assert_unknown(await once(fake, answering(), **fields), Reason.QUERY_FAILED)
        missing = await once(fake, answering(), ca_file=str(tmp_path / "nowhere.pem"))
        assert "nowhere.pem" in missing.problems[0][1]
    finally:
        await runner.cleanup()


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
