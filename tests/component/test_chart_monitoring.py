"""The chart's rules, alerts and dashboard, on real figures of an operator that runs as the chart sets it up."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import yaml

from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from charts import dashboard
from e2e.harness import tools
from e2e.harness.cluster import ControlPlane
from e2e.harness.fleet import Fleet
from e2e.harness.load import Load
from e2e.harness.process import REQUEST_SECONDS, Process, free_port, wait_until
from e2e.harness.prometheus import Prometheus
from tests.component.helm import CHART, RELEASE, ROOT, Helm, Json, of
from tests.component.operator_process import as_rbac, until_in_force
from tests.component.operator_service import template

RULES = CHART / "files" / "rules.yaml"
CASES = Path(__file__).with_name("chart_alerts.yaml")
RUNBOOK = ROOT / "docs" / "runbook.md"
PATIENCE_SECONDS = 120.0
NAMESPACE = "monitored"
JOB = "agentscaler"
RIGHTS = {"ServiceAccount", "Role", "RoleBinding"}


def alerts() -> set[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def promtool(*args: str, directory: Path) -> str:
    binary = tools.ensure("promtool")["promtool"]
    finished = subprocess.run([binary, *args], capture_output=True, text=True, check=False, cwd=directory)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_the_rules_are_well_formed(tmp_path: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES), directory=tmp_path)


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.read_text())
    (tmp_path / "cases.yaml").write_text(CASES.read_text())
    promtool("test", "rules", "cases.yaml", directory=tmp_path)
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test.get("alert_rule_test", ())]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts()


def test_the_runbook_has_an_entry_for_each_alert() -> None:
    headings = re.findall(r"^## (\S+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alerts())


def test_an_alert_leads_to_its_entry(tmp_path: Path) -> None:
    values = {"prometheusRule": {"enabled": True, "runbookUrl": "https://example.org/runbook.md", "labels": {"a": "b"}}}
    made = of(Helm("helm", tmp_path).template(values), "PrometheusRule")
    assert made["metadata"]["labels"]["a"] == "b"
    rules = [rule for group in made["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert {rule["alert"] for rule in rules} == alerts()
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"https://example.org/runbook.md#{rule['alert'].lower()}"


def test_the_dashboard_is_what_its_source_says() -> None:
    written = json.loads(dashboard.FILE.read_text())
    assert written == dashboard.render()
    places = [panel["gridPos"] for panel in written["panels"]]
    taken = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(taken) == len(set(taken)), "panels overlap"
    assert max(x for x, _ in taken) < dashboard.COLUMNS


class Stage(NamedTuple):
    """An operator under the rights and the configuration of the chart, real agents, and a Prometheus that sees both."""

    cluster: ControlPlane
    prometheus: Prometheus
    operator: Process

    def until(self, condition: Callable[[], Any], what: str) -> None:
        def holds() -> Any:
            self.operator.check()
            return condition()

        wait_until(holds, PATIENCE_SECONDS, what)

    def values(self, promql: str) -> list[float]:
        """The values of a query; for the rates of a dashboard, which a person reads later, over what is there."""
        for name, value in {"job": JOB, "namespace": NAMESPACE, "name": "researcher", "__rate_interval": "20s"}.items():
            promql = promql.replace(f"${name}", value)
        return [float(sample["value"][1]) for sample in self.prometheus.query(promql)]


def manifests() -> list[Json]:
    """An agent that gets load, and one whose target an HPA drives as well."""
    tuning = {"intervalSeconds": 5, "replicas": {"min": 1, "max": 3}, "workers": {"initial": 2}}
    agents = [
        {
            "apiVersion": "agentscaler.dev/v1alpha1",
            "kind": "AgentDeployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"template": template(real=real), "tuning": tuning, "signals": {"windowSeconds": 60}},
        }
        for name, real in (("researcher", True), ("contested", False))
    ]
    rival = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "rival", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "contested"},
            "maxReplicas": 2,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}},
                }
            ],
        },
    }
    return [rival, *agents]


@pytest.fixture(scope="module")
def stage(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("monitored")
    with ExitStack() as stack:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        stack.callback(cluster.request, "DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        port = free_port()
        upstream = Process(
            [sys.executable, "-m", "e2e.agents.upstream", "--port", str(port), "--time-scale", "0.2"],
            directory / "upstream.log",
            cwd=ROOT,
        )
        stack.callback(upstream.stop)
        url = f"http://127.0.0.1:{port}"
        upstream.start_serving(f"{url}/stats", "the upstream")
        fleet = stack.enter_context(Fleet(cluster.kubeconfig, url, namespace=NAMESPACE))
        health = free_port()
        prometheus = stack.enter_context(
            Prometheus(
                scrape_interval_seconds=1,
                http_sd_urls=[fleet.sd_url],
                static_targets=[(f"127.0.0.1:{health}", {"job": JOB, "namespace": "system"})],
                rules=RULES.read_text(),
            )
        )
        objects = Helm("helm", directory).template(
            {
                "prometheus": {"main": {"url": prometheus.url, "scrapeIntervalSeconds": 1}},
                "namespaces": [NAMESPACE],
                "settings": {
                    "objectMetrics": True,
                    "tickSeconds": 1,
                    "healthAddress": "127.0.0.1",
                    "healthPort": health,
                },
            },
            namespace=NAMESPACE,
        )
        cluster.apply([each for each in objects if each["kind"] in RIGHTS])
        config = directory / "operator.yaml"
        config.write_text(of(objects, "ConfigMap")["data"]["operator.yaml"])
        until_in_force(cluster, NAMESPACE, as_rbac(), RELEASE)
        kubeconfig = cluster.user_kubeconfig(NAMESPACE, RELEASE)
        operator = Process(
            [sys.executable, "-m", "agentscaler", "run", "--config", config, "--kubeconfig", kubeconfig],
            directory / "operator.log",
            env={"PYTHONPATH": f"{ROOT / 'operator'}:{os.environ.get('PYTHONPATH', '')}"},
            cwd=ROOT,
        )
        stack.callback(operator.stop)
        operator.start()
        staged = Stage(cluster, prometheus, operator)
        cluster.apply(manifests())
        staged.until(lambda: fleet.endpoints(NAMESPACE, "researcher"), "an agent")
        stack.enter_context(Load(fleet.url, NAMESPACE, "researcher", rate_per_second=3, max_duration_seconds=3600))
        yield staged


def queries() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for panel in dashboard.render()["panels"]
        for target in panel.get("targets", ())
    ]


@pytest.mark.parametrize(("title", "promql"), queries(), ids=lambda text: re.sub(r"\W+", "-", text)[:60])
def test_every_query_of_the_dashboard_has_figures(stage: Stage, title: str, promql: str) -> None:
    def figures() -> bool:
        found = stage.values(promql)
        return bool(found) and all(map(math.isfinite, found))

    stage.until(figures, f"figures of {title}: {promql}")


def test_the_choices_of_the_dashboard_are_there(stage: Stage) -> None:
    for choice in dashboard.render()["templating"]["list"][1:]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", choice["definition"])
        assert asked is not None
        metric, label = asked.groups()
        stage.until(lambda m=metric, n=label: stage.values(f"count by ({n}) ({m})"), choice["definition"])  # type: ignore[misc]  # a loop's own values


def test_the_recording_rules_record(stage: Stage) -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    recorded = [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]
    for name in recorded:
        stage.until(lambda name=name: stage.values(name), name)  # type: ignore[misc]  # as above


def test_no_alert_fires_on_an_operator_that_is_well(stage: Stage) -> None:
    stage.until(lambda: stage.values("agentscaler:tick_duration_seconds:p99"), "rules that were evaluated")
    firing = stage.prometheus.query('ALERTS{alertstate="firing"}')
    assert [each["metric"]["alertname"] for each in firing] == []

    def unwell() -> list[str]:
        url = f"{stage.prometheus.url}/api/v1/rules"
        known = requests.get(url, params={"type": "alert"}, timeout=REQUEST_SECONDS).json()
        rules = [rule for group in known["data"]["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in rules} == alerts()
        return [rule["name"] for rule in rules if rule["health"] != "ok"]

    stage.until(lambda: not unwell(), "the evaluation of all groups of rules")


def test_the_rights_of_the_chart_were_enough(stage: Stage) -> None:
    path = AGENT_DEPLOYMENTS.path(NAMESPACE, "researcher")
    stage.until(lambda: stage.cluster.get(path).get("status", {}).get("settings"), "settings in status")
    assert stage.values('sum (agentscaler_kube_request_failures_total{error="Forbidden"}) or vector(0)') == [0]
    stage.until(lambda: stage.values("agentscaler_leader") == [1], "the Lease")
