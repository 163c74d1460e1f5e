"""Records through the API server's proxy, which may lead to a standby."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from agentscaler.cli.cluster import Cluster
from agentscaler.cli.operator import DEFAULT_SERVICE, records

RECORD = {"decision": {"current": 1, "settings": 2}}


class ApiServer(HTTPServer):
    """Answers 503 as long as it is told to, then with one record; remembers the paths."""

    standbys = 0
    status = 503

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status = self.server.status if len(self.server.asked) <= self.server.standbys else 200
        body = json.dumps({"records": [RECORD]} if status == 200 else {"error": "stands by"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (as above)
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    with Cluster(str(kubeconfig)) as made:
        yield made


def test_a_standby_is_asked_past(server: ApiServer, cluster: Cluster) -> None:
    server.standbys = 3
    found = records(cluster, "agents", "researcher", url=None, service=DEFAULT_SERVICE)
    assert found.newest == RECORD
    assert len(server.asked) == 4
    path = (
        "/api/v1/namespaces/agentscaler-system/services/agentscaler:8080/proxy/records?namespace=agents&name=researcher"
    )
    assert set(server.asked) == {path}


@pytest.mark.parametrize(("status", "times"), [(503, 8), (403, 1)])
def test_a_service_that_never_answers_is_named(server: ApiServer, cluster: Cluster, status: int, times: int) -> None:
    server.standbys, server.status = 99, status
    found = records(cluster, "agents", "researcher", url=None, service=DEFAULT_SERVICE)
    assert found.newest is None
    assert DEFAULT_SERVICE in found.problem
    assert len(server.asked) == times
