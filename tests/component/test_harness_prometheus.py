"""The harness' Prometheus: samples of the past, discovered targets, a server that is killed."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests

from e2e.harness.process import PATIENCE_SECONDS, wait_until
from e2e.harness.prometheus import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_prometheus_answers_over_backfilled_samples(prometheus: Prometheus) -> None:
    now = int(time.time())
    lines = [f'agent_queue_depth{{pod="a-1"}} {second // 10} {now - 3600 + second}' for second in range(0, 3000, 10)]
    prometheus.backfill("\n".join(["# TYPE agent_queue_depth gauge", *lines, "# EOF", ""]))
    [series] = prometheus.query("count_over_time(agent_queue_depth[2h])")
    assert series["metric"] == {"pod": "a-1"}
    assert float(series["value"][1]) == 300
    [series] = prometheus.query("agent_queue_depth", time=now - 3600 + 1000)
    assert float(series["value"][1]) == 100


def test_a_bad_backfill_is_refused_with_the_reason(prometheus: Prometheus) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        prometheus.backfill("what is this\n")
    assert raised.value.__notes__ != [""]


def test_a_refused_query_says_why(prometheus: Prometheus) -> None:
    with pytest.raises(requests.HTTPError, match="parse error"):
        prometheus.query("sum(")


class Exporter(http.server.BaseHTTPRequestHandler):
    """A pod's /metrics and the service discovery that names it."""

    metrics = """# TYPE agent_queue_wait_seconds histogram
agent_queue_wait_seconds_bucket{le="0.5"} 3
agent_queue_wait_seconds_bucket{le="1"} 4
agent_queue_wait_seconds_bucket{le="+Inf"} 4
agent_queue_wait_seconds_sum 2
agent_queue_wait_seconds_count 4
"""

    def do_GET(self) -> None:
        address = self.headers["Host"]
        labels = {"job": "agents", "namespace": "ns", "pod": "a-1"}
        body, content_type = self.metrics, "text/plain; version=0.0.4"
        if self.path == "/sd":
            body, content_type = json.dumps([{"targets": [address], "labels": labels}]), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def exporter() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/sd"
        finally:
            server.shutdown()
            thread.join()


def test_discovered_targets_keep_their_labels_and_native_histograms_stand_beside_classic_ones() -> None:
    with exporter() as url, Prometheus(scrape_interval_seconds=1, http_sd_urls=[url], native_histograms=True) as server:
        [native] = wait_until(lambda: server.query("agent_queue_wait_seconds"), PATIENCE_SECONDS, "the first scrape")
        assert {key: native["metric"][key] for key in ("job", "namespace", "pod")} == {
            "job": "agents",
            "namespace": "ns",
            "pod": "a-1",
        }
        assert native["histogram"][1]["count"] == "4"
        assert len(server.query("agent_queue_wait_seconds_bucket")) == 3


def test_prometheus_keeps_its_series_over_a_kill() -> None:
    with exporter() as url, Prometheus(scrape_interval_seconds=1, http_sd_urls=[url]) as server:
        assert wait_until(lambda: server.query("up"), PATIENCE_SECONDS, "the first scrape")
        before = server.url
        server.process.kill()
        assert not server.ready()
        server.process.start()
        server.wait_ready()
        assert server.url == before
        assert server.query("count_over_time(up[5m])")
