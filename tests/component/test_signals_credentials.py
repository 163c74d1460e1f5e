"""Servers that demand credentials: a real Prometheus where it can, and an HTTP server for what it cannot."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Observation, SignalName
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.collector import Collector
from agentscaler.signals.credentials import lacking
from tests.component.credentials_stage import OTHER_PASSWORD, PASSWORD, Authority, Clock, Demanding, Guarded
from tests.component.signals_stage import NOW, Stage, collector, request, server

UID = "agents/researcher"
IN_FLIGHT = 5.0


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    stage = Stage()
    stage.agent("researcher-5d9c7b-abcde", in_flight=IN_FLIGHT)
    try:
        made.prometheus.backfill(stage.text)
        made.start(made.authority, PASSWORD)
        yield made
    finally:
        made.prometheus.stop()


async def seen_by(signals: Collector) -> Observation:
    return (await signals.collect([request()], NOW))[UID]


def problem(observation: Observation) -> tuple[str, str]:
    assert observation.value(SignalName.IN_FLIGHT) is None
    ((reason, message),) = observation.problems
    return reason, message


async def test_a_prometheus_with_a_password_and_tls_both_ways_is_read_and_its_secrets_rotate(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    signals = Collector({"main": server(guarded.prometheus.url, **guarded.fields)}, PRESETS, clock=clock)

    reason, message = problem(await seen_by(signals))
    assert reason == Reason.SERVER_NOT_CONFIGURED
    assert f"prometheus.main.passwordFile: file {guarded.files['password']} cannot be read" in message
    assert "add the Secret or its key" in message
    assert signals.lacking() in message
    assert signals.queries == 0

    guarded.files["password"].write_text(f"{OTHER_PASSWORD}\n")
    assert signals.lacking() == ""
    reason, message = problem(await seen_by(signals))
    assert reason == Reason.QUERY_REFUSED
    assert "answered 401" in message
    assert "check the server's credentials" in message

    guarded.files["password"].write_text(f"{PASSWORD}\n")
    clock.later()
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == IN_FLIGHT

    guarded.expect(guarded.authority, OTHER_PASSWORD)
    assert problem(await seen_by(signals))[0] == Reason.QUERY_REFUSED
    guarded.files["password"].write_text(OTHER_PASSWORD)
    clock.later()
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == IN_FLIGHT

    other = Authority(tmp_path / "other")
    guarded.expect(other, OTHER_PASSWORD)
    await asyncio.to_thread(guarded.prometheus.process.stop)
    await asyncio.to_thread(guarded.start, other, OTHER_PASSWORD)
    reason, message = problem(await seen_by(signals))
    assert reason == Reason.QUERY_FAILED
    assert "TLS failed" in message
    guarded.mount(other, "client")
    clock.later()
    assert (await seen_by(signals)).value(SignalName.IN_FLIGHT) == IN_FLIGHT
    await signals.close()
    for secret in (PASSWORD, OTHER_PASSWORD):
        assert secret not in caplog.text


@pytest.fixture
async def demanding() -> AsyncIterator[Demanding]:
    made = Demanding()
    runner = await made.run(None)
    yield made
    await runner.cleanup()


async def test_headers_and_tokens_are_sent_with_each_query_and_read_anew(demanding: Demanding, tmp_path: Path) -> None:
    key, token = tmp_path / "key", tmp_path / "token"
    key.write_text("one\n")
    token.write_text("first")
    signals = collector(
        demanding.url,
        headers=(("X-Scope-OrgID", "team"),),
        header_files=(("X-Api-Key", str(key)),),
        bearer_token_file=str(token),
    )
    await seen_by(signals)
    key.write_text("two")
    token.write_text("second")
    await seen_by(signals)
    await signals.close()
    names = ("X-Scope-OrgID", "X-Api-Key", "Authorization")
    sent = [tuple(headers[name] for name in names) for headers in demanding.headers]
    assert set(sent) == {("team", "one", "Bearer first"), ("team", "two", "Bearer second")}


async def test_a_client_certificate_that_was_renewed_is_shown_though_the_connection_still_stands(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def mount(name: str) -> None:
        issued, its_key = authority.issue(name)
        certificate.write_bytes(issued.read_bytes())
        key.write_bytes(its_key.read_bytes())

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(*authority.issue("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    demanding = Demanding()
    runner = await demanding.run(context)
    mount("old")
    fields = {"ca_file": str(authority.certificate), "cert_file": str(certificate), "key_file": str(key)}
    signals = collector(demanding.url, **fields)
    await seen_by(signals)
    assert set(demanding.clients) == {"old"}
    demanding.clients.clear()
    mount("new")
    await seen_by(signals)
    assert set(demanding.clients) == {"new"}
    await signals.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory): add the Secret or its key"),
        (b"", "is empty: put the value into the Secret"),
        (b"\n", "is empty: put the value into the Secret"),
        (b"s3cret\ns3cret", "holds no text that a header can carry"),
        ("s3cret-ü".encode(), "holds no text that a header can carry"),
        (b"s3cret\xff", "is no text"),
    ],
)
@pytest.mark.parametrize("kind", ["bearer_token_file", "header_files"])
async def test_a_file_that_cannot_be_used_is_named_and_its_content_is_not(  # noqa: PLR0917 (fixtures)
    demanding: Demanding, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, content: bytes | None, words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    fields: dict[str, Any] = {kind: str(path) if kind == "bearer_token_file" else (("X-Api-Key", str(path)),)}
    signals = collector(demanding.url, **fields)
    observation = await seen_by(signals)
    reason, message = problem(observation)
    assert reason == Reason.SERVER_NOT_CONFIGURED
    assert f"file {path} {words}" in message
    assert demanding.headers == []
    assert "s3cret" not in caplog.text + repr(observation)
    assert [record.levelname for record in caplog.records if "cannot be asked" in record.message] == ["ERROR"]
    path.write_bytes(b"good")
    await seen_by(signals)
    assert demanding.headers
    await signals.close()


async def test_a_server_without_an_address_and_no_server_at_all_say_what_to_set() -> None:
    signals = collector("")
    reason, message = problem(await seen_by(signals))
    assert (reason, signals.lacking()) == (
        Reason.SERVER_NOT_CONFIGURED,
        "prometheus.main.url is not set: write http://host:port",
    )
    assert signals.lacking() in message
    await signals.close()
    none = Collector({}, PRESETS)
    reason, message = problem(await seen_by(none))
    assert reason == Reason.UNKNOWN_PROMETHEUS
    assert message == none.lacking()
    assert "set prometheus.default.url" in message
    await none.close()


def test_a_directory_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    assert "Is a directory" in lacking(server("http://a:1", ca_file=str(tmp_path)))
