"""The parts of one measurement: control plane, Prometheus, exporter, operator, and the objects."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests
import yaml

from benchmarks.scale.watch import Watch
from e2e.harness.administrator import checked, is_true
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import Process, free_port, wait_until
from e2e.harness.prometheus import Prometheus
from e2e.harness.workspace import Workspace

ROOT = Path(__file__).parents[2]
AGENT_DEPLOYMENTS = "/apis/agentscaler.dev/v1alpha1"
APPS = "/apis/apps/v1"
SCRAPE_SECONDS = 5
TICK_SECONDS = 5
INTERVAL_SECONDS = 15
FAST_INTERVAL_SECONDS = 5
PORTS = 10
OBJECTS_A_NAMESPACE = 100
PODS_A_NODE = 800
START_SECONDS = 60.0
POSTERS = 8

# Work of a service in runs: it fits into one pod of 8 workers, noise included.
WORKERS = 8
LEAST_RUNS, MOST_RUNS = 1.0, 4.0
FAST_RUNS = 4.0
REACTING = 12
"""Objects with the short interval; their work is raised in the last phase."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One AgentDeployment of the benchmark."""

    namespace: str
    name: str
    runs: float
    interval_seconds: int

    @property
    def key(self) -> str:
        """As the exporter names it."""
        return f"{self.namespace}/{self.name}"

    @property
    def manifest(self) -> dict[str, Any]:
        """The object."""
        resources = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "2Gi"}}
        container = {"name": "agent", "image": "agent:1", "resources": resources}
        return {
            "apiVersion": "agentscaler.dev/v1alpha1",
            "kind": "AgentDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "template": {"spec": {"containers": [container]}},
                "tuning": {"intervalSeconds": self.interval_seconds, "workers": {"initial": WORKERS}},
            },
        }


def agents(count: int) -> list[Agent]:
    """The objects: the first few react, the others hold different amounts of work."""
    made = []
    for number in range(count):
        fast = number < REACTING
        part = (number * 0.618034) % 1.0  # spread evenly, whatever the count
        made.append(
            Agent(
                namespace=f"agents-{number // OBJECTS_A_NAMESPACE}",
                name=f"agent-{number}",
                runs=FAST_RUNS if fast else LEAST_RUNS + (MOST_RUNS - LEAST_RUNS) * part,
                interval_seconds=FAST_INTERVAL_SECONDS if fast else INTERVAL_SECONDS,
            )
        )
    return made


class Stage:
    """Everything runs but the objects; a context manager.

    Attributes:
        agents: The objects.
        cluster: The control plane.
        prometheus: Scrapes the exporter.
        operator: The process that is measured.
        operator_url: Its own port.
    """

    def __init__(self, objects: int, log: Path | None = None) -> None:
        self._log = log
        self.agents = agents(objects)
        self._stack = ExitStack()
        self.cluster = ControlPlane(nodes=1 + -(-objects // PODS_A_NODE))
        ports = [free_port() for _ in range(PORTS)]
        self._exporter_url = f"http://127.0.0.1:{ports[0]}"
        self.prometheus = Prometheus(
            scrape_interval_seconds=SCRAPE_SECONDS,
            static_targets=[(f"127.0.0.1:{port}", {}) for port in ports],
        )
        self._http = requests.Session()
        self._http.trust_env = False
        port = free_port()
        self.operator_url = f"http://127.0.0.1:{port}"
        self._ports, self._port = ports, port

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = stack.enter_context(Workspace(None, "scale")).path
            stack.enter_context(self.cluster)
            self.cluster.install_crds()
            for namespace in sorted({agent.namespace for agent in self.agents}):
                checked(self.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}))
            self._start_exporter(directory, stack)
            stack.enter_context(self.prometheus)
            self._start_operator(directory, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def post(self) -> None:
        """Create all objects, as fast as the API server takes them."""
        with ThreadPoolExecutor(POSTERS) as threads:
            for answer in threads.map(self._create, self.agents):
                checked(answer)

    def set_runs(self, agent: Agent, runs: float) -> float:
        """Give a service other work; returns the time since when it has it, Unix seconds."""
        answer = self._http.post(f"{self._exporter_url}/runs", json={"service": agent.key, "runs": runs}, timeout=10)
        answer.raise_for_status()
        return float(answer.json()["at"])

    def watch_ready(self) -> Watch:
        """Follow which objects are Ready."""
        return Watch(self.cluster, f"{AGENT_DEPLOYMENTS}/agentdeployments", lambda body: is_true(body, "Ready"))

    def watch_scaled_out(self) -> Watch:
        """Follow which Deployments ask for more than one replica."""
        return Watch(self.cluster, f"{APPS}/deployments", lambda body: bool(body["spec"]["replicas"] > 1))

    def operator_metrics(self) -> str:
        """What the operator says of itself."""
        answer = self._http.get(f"{self.operator_url}/metrics", timeout=10)
        answer.raise_for_status()
        return answer.text

    def _create(self, agent: Agent) -> requests.Response:
        path = f"{AGENT_DEPLOYMENTS}/namespaces/{agent.namespace}/agentdeployments"
        return self.cluster.request("POST", path, agent.manifest)

    def _start_exporter(self, directory: Path, stack: ExitStack) -> None:
        runs = directory / "runs.json"
        runs.write_text(json.dumps({agent.key: agent.runs for agent in self.agents}))
        ports = [f"--port={port}" for port in self._ports]
        argv = [sys.executable, "-m", "benchmarks.scale.exporter", f"--kubeconfig={self.cluster.kubeconfig}"]
        exporter = Process([*argv, f"--runs={runs}", *ports], directory / "exporter.log", cwd=ROOT)
        exporter.start()
        stack.callback(exporter.stop)
        self.exporter = exporter
        wait_until(lambda: self._answers(exporter, f"{self._exporter_url}/metrics"), START_SECONDS, "the exporter")

    def _start_operator(self, directory: Path, stack: ExitStack) -> None:
        server = {"url": self.prometheus.url, "scrapeIntervalSeconds": SCRAPE_SECONDS}
        config = directory / "operator.yaml"
        config.write_text(yaml.safe_dump({"prometheus": {"default": server}, "tickSeconds": TICK_SECONDS}))
        argv = [sys.executable, "-m", "agentscaler", "run", "--config", str(config)]
        self.operator = Process(
            [*argv, "--kubeconfig", str(self.cluster.kubeconfig), "--port", str(self._port)],
            self._log or directory / "operator.log",
            env={"PYTHONPATH": str(ROOT / "operator"), "AGENTSCALER_HEALTH_ADDRESS": "127.0.0.1"},
        )
        self.operator.start()
        stack.callback(self.operator.stop)
        ready = f"{self.operator_url}/readyz"
        wait_until(lambda: self._answers(self.operator, ready), START_SECONDS, "the operator")

    def _answers(self, process: Process, url: str) -> bool:
        process.check()
        try:
            return self._http.get(url, timeout=5).ok
        except requests.RequestException:
            return False
