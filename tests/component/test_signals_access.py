"""How the operator shows a server who it is, and what it believes of the server."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from aiohttp import web

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import SignalName
from tests.component.signals_fake import Fake, answering, assert_unknown, once, seen_by
from tests.component.signals_stage import collector


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
    assert_unknown(observation, Reason.SERVER_NOT_CONFIGURED)
    assert "cannot be read" in observation.problems[0][1]
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
