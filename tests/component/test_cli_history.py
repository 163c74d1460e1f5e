"""`agentscaler history` on a real API server, with and without the operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentscaler.cli import app
from agentscaler.kube.records import to_json
from e2e.harness.cluster import ControlPlane
from tests.component.test_cli import PATH, create
from tests.unit.test_cli_replay import record
from tests.worlds import START

MOVES = [
    {
        "at": "2026-01-01T00:05:00Z",
        "reason": "Demand",
        "summary": "replicas 2 -> 5: more runs",
        "from": {"replicas": 2},
        "to": {"replicas": 5},
    },
    {
        "at": "2026-01-01T00:00:00Z",
        "reason": "Burst",
        "summary": "workers 4 -> 9: all are busy",
        "from": {"workers": 4},
        "to": {"workers": 9},
    },
]


class Operator(BaseHTTPRequestHandler):
    """Answers /records as the operator does."""

    def do_GET(self) -> None:
        body = json.dumps({"records": [to_json(record(START))]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name in the base class)
        """Say nothing."""


@pytest.fixture
def operator() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Operator) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def history(cluster: ControlPlane, namespace: str, *arguments: str) -> Result:
    words = ["history", "one", "-n", namespace, "--kubeconfig", str(cluster.kubeconfig), *arguments]
    return CliRunner().invoke(app, words)


def moved(cluster: ControlPlane, namespace: str, moves: list[dict[str, Any]]) -> None:
    create(cluster, namespace, "one")
    cluster.request(
        "PATCH",
        f"{PATH.format(namespace)}/one/status",
        {"status": {"records": moves}},
        "application/merge-patch+json",
    ).raise_for_status()


def test_without_the_operator_status_tells_the_moves_oldest_first(cluster: ControlPlane, namespace: str) -> None:
    moved(cluster, namespace, MOVES)
    result = history(cluster, namespace)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("From status only")
    assert "4 -> 9" in lines[2]
    assert "2 -> 5" in lines[3]
    assert "replicas 2 -> 5: more runs" in lines[3]


def test_the_operators_records_come_beside_the_older_moves_of_status(
    cluster: ControlPlane, namespace: str, operator: str
) -> None:
    moved(cluster, namespace, MOVES)
    result = history(cluster, namespace, "--operator-url", operator, "-o", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [(each["source"], each["reason"]) for each in told][1:] == [("status", "Burst"), ("status", "Demand")]
    assert told[0]["source"] == "operator"
    assert told[0]["forecast_runs"] == record().decision.demand_runs


def test_an_object_that_was_never_decided_says_so(cluster: ControlPlane, namespace: str) -> None:
    moved(cluster, namespace, [])
    result = history(cluster, namespace)
    assert result.exit_code == 0
    assert f"No decision of {namespace}/one yet." in result.stdout
