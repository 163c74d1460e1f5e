"""Servers that demand credentials: a real Prometheus where it can, and an HTTP server for what it cannot."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from aiohttp import web
from requests.auth import HTTPBasicAuth

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Observation, SignalName
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.collector import Collector
from agentscaler.signals.credentials import lacking
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, wait_until
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request, server

UID = "agents/researcher"
IN_FLIGHT = 5.0
PASSWORD, OTHER_PASSWORD = "s3cret-ü", "0ther-s3cret"
HASHES = {
    PASSWORD: "$2b$05$abcdefghijklmnopqrstuuXitf3f3nu4ymbAHXILlKpjxD4kZIIAu",
    OTHER_PASSWORD: "$2b$05$abcdefghijklmnopqrstuuPU2O1xdClF7fXnvrU/VcXyo7VgdtJIG",
}
"""bcrypt, as Prometheus keeps passwords."""


class Clock:
    """Monotonic seconds; each reading is behind every pause of the back-off."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def later(self) -> None:
        self.seconds += 60.0


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self.certificate, self._key = self._make("ca")

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key."""
        return self._make(name, "-CA", str(self.certificate), "-CAkey", str(self._key))

    def _make(self, name: str, *signed: str) -> tuple[Path, Path]:
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate),
             "-addext", "subjectAltName=IP:127.0.0.1", *signed],
            check=True, capture_output=True,
        )  # fmt: skip
        return certificate, key


class Guarded:
    """A Prometheus that demands TLS both ways and a password."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "authority")
        self._web = directory / "web.yml"
        self._own = self.authority.issue("server")
        self.files = {name: directory / name for name in ("user", "password", "ca.pem", "tls.crt", "tls.key")}
        self.files["user"].write_text("operator\n")
        self.mount(self.authority, "client")
        self.expect(self.authority, PASSWORD)
        self.prometheus = Prometheus(
            directory / "prometheus", scrape_interval_seconds=1, extra_flags=[f"--web.config.file={self._web}"]
        )
        self.prometheus.url = self.prometheus.url.replace("http:", "https:")

    def mount(self, authority: Authority, name: str) -> None:
        """Put the client's certificate where the operator reads it, as the kubelet would."""
        certificate, key = authority.issue(name)
        for file, content in (("ca.pem", authority.certificate), ("tls.crt", certificate), ("tls.key", key)):
            self.files[file].write_bytes(content.read_bytes())

    def expect(self, authority: Authority, password: str) -> None:
        certificate, key = authority.issue("server")
        tls = {
            "cert_file": str(certificate),
            "key_file": str(key),
            "client_ca_file": str(authority.certificate),
            "client_auth_type": "RequireAndVerifyClientCert",
        }
        users = {"operator": HASHES[password]}
        self._web.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": users}))

    def start(self, authority: Authority, password: str) -> None:
        def answers() -> bool:
            self.prometheus.process.check()
            try:
                return requests.get(
                    f"{self.prometheus.url}/-/ready",
                    auth=HTTPBasicAuth(b"operator", password.encode()),
                    verify=str(authority.certificate),
                    cert=(str(certificate), str(key)),
                    timeout=REQUEST_SECONDS,
                ).ok
            except requests.RequestException:
                return False

        certificate, key = authority.issue("administrator")
        self.prometheus.process.start()
        wait_until(answers, PATIENCE_SECONDS, "Prometheus")

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "username_file": str(self.files["user"]),
            "password_file": str(self.files["password"]),
            "ca_file": str(self.files["ca.pem"]),
            "cert_file": str(self.files["tls.crt"]),
            "key_file": str(self.files["tls.key"]),
        }


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


@dataclass
class Demanding:
    """Answers as a Prometheus does, and keeps the headers and the client's name of each request."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)

    async def handle(self, asked: web.Request) -> web.Response:
        await asked.read()
        self.headers.append(dict(asked.headers))
        certificate = asked.get_extra_info("peercert") or {}
        self.clients += [pair[1] for part in certificate.get("subject", ()) for pair in part]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": []}})

    async def run(self, context: ssl.SSLContext | None) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
        return runner


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
