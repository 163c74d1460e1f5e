"""`agentscaler backtest`: an object of a real API server, its history in a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from agentscaler.cli import app, backtested, past
from e2e.harness.cluster import ControlPlane
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, STEP_SECONDS, Stage

PATH = "/apis/agentscaler.dev/v1alpha1/namespaces/{}/agentdeployments"
NAMESPACE = "backtests"
HOUR = 3600.0
PODS = ("researcher-7d4b9c-aaaaa", "researcher-7d4b9c-bbbbb", "researcher-7d4b9c-ccccc")
HOLE = (HOUR, HOUR + 1800)
"""Seconds before now."""
UNTIL = datetime.fromtimestamp(NOW, UTC).isoformat()


@pytest.fixture(scope="module")
def server(cluster: ControlPlane) -> Iterator[Prometheus]:
    """Three hours of two runs a second of ten seconds on three pods; half an hour of it is missing."""
    cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).raise_for_status()
    create(cluster, "researcher", replicas={"min": 2, "max": 30})
    create(cluster, "unseen")
    stage = Stage()
    for pod in PODS:
        for first, last in ((3 * HOUR, HOLE[1]), (HOLE[0], 0.0)):
            stage.agent(pod, NAMESPACE, rate=2 / 3, in_flight=7.0, errors=0.0, first=first, last=last)
    with Prometheus(scrape_interval_seconds=1) as running:
        running.backfill(stage.text)
        yield running


def create(cluster: ControlPlane, name: str, **tuning: Any) -> None:
    body = {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "agent",
                            "image": "example.com/agent:1",
                            "resources": {"limits": {"memory": "4Gi"}},
                        }
                    ]
                }
            },
            "tuning": tuning,
        },
    }
    cluster.request("POST", PATH.format(NAMESPACE), body).raise_for_status()


def backtest(cluster: ControlPlane, url: str, *arguments: object, name: str = "researcher") -> Result:
    common = ("--prometheus", url, "--until", UNTIL, "--scrape-seconds", STEP_SECONDS, "--seeds", 1)
    words = ("backtest", f"{NAMESPACE}/{name}", "--kubeconfig", cluster.kubeconfig, *common, *arguments)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_load_that_was_is_judged_under_both_policies_and_the_hole_is_marked(
    cluster: ControlPlane, server: Prometheus, tmp_path: Path
) -> None:
    rows_file, report = tmp_path / "rows.json", tmp_path / "out.html"
    result = backtest(cluster, server.url, "--since", "3h", "--json", rows_file, "--report", report)
    assert result.exit_code == 0, result.output
    assert "2.5 of 3.0 hours are known" in result.stdout
    # Of the waits 80 % end within a second and 98 % within ten.
    assert "As it was: 7.5 replica-hours in the known time, and 12.00 % of runs waited over 5 s." in result.stdout
    assert result.stdout.count("Not judged:") == 1
    assert "their memory limit is 4096 MiB" in result.stdout
    rows = {row["policy"]: row for row in json.loads(rows_file.read_text())}
    assert list(rows) == ["agentscaler", "hpa-inflight"]
    assert {row["trace"] for row in rows.values()} == {f"{NAMESPACE}/researcher"}
    # With what was refused 29 runs at a time, for two and a half hours: the HPA takes six pods of 8 workers for them.
    assert rows["hpa-inflight"]["replica_hours"] == pytest.approx(15, rel=0.05)
    assert 2.5 * 29 / 8 < rows["agentscaler"]["replica_hours"] < 20
    assert all(row["violation_percent"] < 1 for row in rows.values())
    html = report.read_text()
    assert f"Backtest of {NAMESPACE}/researcher" in html
    assert "Not judged:" in html
    figure = json.loads(html.split('class="figure">')[2].split("</script>")[0])
    (hole,) = figure["layout"]["shapes"]
    begin, end = (datetime.fromisoformat(hole[each]).replace(tzinfo=UTC).timestamp() for each in ("x0", "x1"))
    assert begin == pytest.approx(NOW - HOLE[1], abs=180)
    assert end == pytest.approx(NOW - HOLE[0], abs=180)


def test_a_changed_manifest_is_judged_beside_the_one_in_force(
    cluster: ControlPlane, server: Prometheus, tmp_path: Path
) -> None:
    body = dict(cluster.get(f"{PATH.format(NAMESPACE)}/researcher"))
    body["spec"]["tuning"]["replicas"] |= {"min": 9, "max": 9}
    changed, rows_file = tmp_path / "nine.yaml", tmp_path / "rows.json"
    changed.write_text(yaml.safe_dump({key: body[key] for key in ("apiVersion", "kind", "metadata", "spec")}))
    result = backtest(cluster, server.url, "--since", "50m", "--with", changed, "--json", rows_file)
    assert result.exit_code == 0, result.output
    rows = {row["policy"]: row for row in json.loads(rows_file.read_text())}
    assert list(rows) == ["agentscaler", "hpa-inflight", "nine.yaml"]
    assert rows["nine.yaml"]["replica_hours"] == pytest.approx(9 * 50 / 60, rel=0.1)
    assert rows["agentscaler"]["replica_hours"] < rows["nine.yaml"]["replica_hours"]


def test_a_schedule_meets_the_history_at_its_own_time(
    cluster: ControlPlane, server: Prometheus, tmp_path: Path
) -> None:
    begin, end = (datetime.fromtimestamp(NOW - ago, UTC).strftime("%H:%M") for ago in (25 * 60, 5 * 60))
    spec = dict(cluster.get(f"{PATH.format(NAMESPACE)}/researcher")["spec"])
    schedule = {"start": begin, "end": end, "timeZone": "UTC", "min": 25, "max": 25}
    spec["tuning"] = {"replicas": {"min": 2, "max": 30, "schedules": [schedule]}}
    changed, rows_file = tmp_path / "scheduled.yaml", tmp_path / "rows.json"
    changed.write_text(yaml.safe_dump({"kind": "AgentDeployment", "metadata": {"name": "x"}, "spec": spec}))
    result = backtest(cluster, server.url, "--since", "50m", "--with", changed, "--json", rows_file)
    assert result.exit_code == 0, result.output
    hours = {row["policy"]: row["replica_hours"] for row in json.loads(rows_file.read_text())}
    assert hours["scheduled.yaml"] > hours["agentscaler"] + (25 - 9) * 20 / 60


def test_a_history_that_no_server_answers_at_once_is_read_in_parts(
    cluster: ControlPlane, server: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "whole.json", tmp_path / "parts.json"]
    for file, points in zip(files, (10_000, 7), strict=True):
        monkeypatch.setattr(past, "POINTS_IN_QUERY", points)
        assert backtest(cluster, server.url, "--since", "3h", "--json", file).exit_code == 0
    assert files[0].read_text() == files[1].read_text()


def test_more_requests_than_memory_holds_are_refused_with_the_mend(
    cluster: ControlPlane, server: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtested, "MOST_REQUESTS", 5000)
    result = backtest(cluster, server.url, "--since", "3h")
    assert result.exit_code == 2
    assert "--since that is 2.2 times shorter" in result.stderr


def test_an_object_without_history_is_told_what_to_check(cluster: ControlPlane, server: Prometheus) -> None:
    result = backtest(cluster, server.url, "--since", "1h", name="unseen")
    assert result.exit_code == 1
    assert f"Prometheus knows nothing of {NAMESPACE}/unseen" in result.stderr


def test_a_server_that_does_not_answer_is_named(cluster: ControlPlane, server: Prometheus) -> None:
    assert server.url
    result = backtest(cluster, "http://127.0.0.1:1", "--since", "1h")
    assert result.exit_code == 1
    assert "http://127.0.0.1:1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "soon"], "30m to 31d"),
        (["--since", "1h", "--until", "tomorrow"], "2026-01-31T12:00:00Z"),
        (["--since", "1h", "--with", "/does/not/exist.yaml"], "exist.yaml"),
    ],
)
def test_wrong_input_exits_2_and_says_what_to_write(
    cluster: ControlPlane, server: Prometheus, arguments: list[str], said: str
) -> None:
    result = backtest(cluster, server.url, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_without_a_server_the_flag_is_named(cluster: ControlPlane, server: Prometheus) -> None:
    assert server.url
    arguments = ["backtest", f"{NAMESPACE}/researcher", "--kubeconfig", str(cluster.kubeconfig)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--prometheus URL" in result.stderr
