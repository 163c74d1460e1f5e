"""The whole operator as a process, on the real API server, a real Prometheus and real agents, for test_operator_*.

One stage serves all of these modules: what needs a window of a minute to pass is begun in one and seen in another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import yaml

from agentscaler.kube.paths import AGENT_DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS
from e2e.harness.cluster import ControlPlane
from e2e.harness.fleet import Fleet
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, Process, free_port, wait_until
from e2e.harness.prometheus import Prometheus
from e2e.harness.upstream import Upstream
from e2e.harness.workspace import Workspace
from tests.component.operator_proxy import Fault, Proxy
from tests.component.operator_service import (
    NAMESPACE,
    TIME_SCALE,
    Json,
    Service,
    Watcher,
    reference,
    template,
)

ROOT = Path(__file__).parents[2]
TICK_SECONDS = 1
RIVAL: Json = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "rival", "namespace": NAMESPACE},
    "spec": {
        "scaleTargetRef": reference("contested"),
        "minReplicas": 1,
        "maxReplicas": 2,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }
        ],
    },
}
"""An HPA that is there before the operator: autoscalers are looked for at the start and every 30 s."""


class Stage:
    """All parts; a context manager."""

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        self.stack = ExitStack()
        self.services: dict[str, Service] = {}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.directory = self.stack.enter_context(Workspace(None, "stage")).path
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self.cluster.apply([namespace, RIVAL])
        self.upstream = self.stack.enter_context(Upstream(time_scale=TIME_SCALE))
        self.ill_upstream = self.stack.enter_context(Upstream(time_scale=TIME_SCALE))
        self.fleet = self.stack.enter_context(Fleet(self.cluster.kubeconfig, self.upstream.url, namespace=NAMESPACE))
        self.prometheus = self.stack.enter_context(
            Prometheus(scrape_interval_seconds=1, http_sd_urls=[self.fleet.sd_url])
        )
        self.proxy = self.stack.enter_context(Proxy(self.prometheus.url))
        self.watcher = Watcher(self.cluster)
        self.stack.callback(self.watcher.close)
        self.port = free_port()
        self.operator = self._operator()
        self.stack.callback(self.operator.stop)
        self.operator.start_serving(f"http://127.0.0.1:{self.port}/readyz", "the operator")

    def _operator(self) -> Process:
        urls = {"default": self.prometheus.url} | {str(fault): self.proxy.url(fault) for fault in Fault}
        servers = {name: {"url": url, "scrapeIntervalSeconds": 1, "timeoutSeconds": 3} for name, url in urls.items()}
        config = self.directory / "operator.yaml"
        config.write_text(
            yaml.safe_dump({"prometheus": servers, "tickSeconds": TICK_SECONDS, "healthAddress": "127.0.0.1"})
        )
        argv = [
            sys.executable,
            "-m",
            "agentscaler",
            "run",
            "--config",
            str(config),
            "--kubeconfig",
            str(self.cluster.kubeconfig),
        ]
        return Process(
            [*argv, "--namespace", NAMESPACE, "--port", str(self.port)],
            self.directory / "operator.log",
            env={"PYTHONPATH": f"{ROOT / 'operator'}:{os.environ.get('PYTHONPATH', '')}"},
            cwd=ROOT,
        )

    def operator_metric(self, name: str) -> float:
        """A metric of the operator, summed over its labels; 0 while it does not answer."""
        try:
            lines = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=REQUEST_SECONDS).text.splitlines()
        except requests.RequestException:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def records(self, name: str) -> list[Json]:
        """The full records that the operator has of one object, oldest first."""
        where = {"namespace": NAMESPACE, "name": name}
        answer = requests.get(f"http://127.0.0.1:{self.port}/records", params=where, timeout=REQUEST_SECONDS)
        answer.raise_for_status()
        return cast("list[Json]", answer.json()["records"])

    def until_ticks(self, more: int = 3) -> None:
        """Wait until the operator has looked at everything so many times again."""
        name = "agentscaler_tick_duration_seconds_count"
        before = self.operator_metric(name)
        wait_until(lambda: self.operator_metric(name) >= before + more, PATIENCE_SECONDS, f"{more} ticks")

    def close(self) -> None:
        """End everything; nothing of it stays in the cluster."""
        for service in self.services.values():
            self.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(NAMESPACE, service.name))
        namespace = f"/api/v1/namespaces/{NAMESPACE}"
        self.cluster.request("DELETE", namespace)
        # Its pods need the fleet for their end, and the next stage of this worker needs the name.
        gone = f"the end of namespace {NAMESPACE}"
        wait_until(lambda: self.cluster.request("GET", namespace).status_code == 404, PATIENCE_SECONDS, gone)
        self.stack.close()

    def service(self, name: str, *, target: str | None = None, **spec: Any) -> Service:
        """The AgentDeployment of that name; made where it is not there yet."""
        if name not in self.services:
            self.cluster.apply(self.manifest(name, **spec))
            self.services[name] = Service(self, name, target or name)
        return self.services[name]

    def remove_rival(self) -> None:
        """Take the HPA away; it may have gone already."""
        self.cluster.request("DELETE", HORIZONTAL_POD_AUTOSCALERS.path(NAMESPACE, "rival"))

    @staticmethod
    def manifest(name: str, **spec: Any) -> Json:
        metadata = {"name": name, "namespace": NAMESPACE}
        if "scaleTargetRef" not in spec:
            spec = {"template": template(), **spec}
        return {"apiVersion": "agentscaler.dev/v1alpha1", "kind": "AgentDeployment", "metadata": metadata, "spec": spec}

    def merge(self, path: str, body: Json) -> None:
        """A merge patch as somebody."""
        answer = self.cluster.request("PATCH", path, body, "application/merge-patch+json", {"fieldManager": "someone"})
        answer.raise_for_status()


_running: list[Stage] = []


def shared_stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    """The body of each module's fixture: the one stage of a group, ended with the last module that uses it."""
    if not _running:
        _running.append(Stage(cluster))
    yield _running[0]
    groups = {item.path: item.get_closest_marker("xdist_group") for item in request.session.items}
    users = [path for path, group in groups.items() if group == groups[request.path]]
    if request.path == users[-1]:
        _running.pop().close()


def growing(stage: Stage, name: str, **spec: Any) -> Service:
    """A service with one agent of two workers that may grow to three of eight; only care keeps it from shrinking."""
    return stage.service(
        name,
        **spec,
        signals={"windowSeconds": 60},
        tuning={
            "intervalSeconds": 5,
            "replicas": {"min": 1, "max": 3, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
            "workers": {"min": 2, "max": 8, "initial": 2},
        },
    )


def contested(stage: Stage) -> Service:
    """A service whose Deployment an HPA scales as well; nothing else is known of it."""
    tuning = {"intervalSeconds": 5, "replicas": {"min": 1, "max": 9}}
    return stage.service("contested", template=template(real=False), tuning=tuning)
