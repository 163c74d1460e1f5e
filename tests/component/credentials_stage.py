"""Servers that demand credentials, and who issues them."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml
from aiohttp import web
from requests.auth import HTTPBasicAuth

from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, wait_until
from e2e.harness.prometheus import Prometheus

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
