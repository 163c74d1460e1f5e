"""The real parts on loopback: control plane, provider, fleet, Prometheus, operator, load."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agentscaler.core.settings import Settings
from e2e.demo.plan import (
    CLIENT_PATIENCE_SECONDS,
    MANIFEST,
    NAMESPACE,
    POD_START_UP_SECONDS,
    QUIET_RATE,
    SCRAPE_SECONDS,
    SEED,
    THROTTLED_RATE,
    TIME_SCALE,
    Act,
    Manifest,
)
from e2e.demo.pressure import Pressure
from e2e.harness.cluster import ControlPlane
from e2e.harness.fleet import Fleet
from e2e.harness.load import Load
from e2e.harness.process import Process, free_port, wait_until
from e2e.harness.prometheus import Prometheus
from e2e.harness.upstream import Upstream
from e2e.harness.workspace import Workspace

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 90.0
GONE_SECONDS = 30.0
LONGEST_SECONDS = 12 * 3600.0
"""After that the load of a kept demo stops by itself."""


@dataclass
class Stage:
    """The parts of one demo."""

    cluster: ControlPlane
    upstream: Upstream
    fleet: Fleet
    prometheus: Prometheus
    load: Load
    pressure: Pressure
    operator: Process | None
    operator_url: str
    processes: tuple[Process, ...]

    def check(self) -> None:
        """Raise RuntimeError with the end of its log when a part ended by itself."""
        for process in self.processes:
            process.check()

    def perform(self, act: Act) -> None:
        """Do something to the world."""
        match act:
            case Act.PROVIDER_FAILS:
                self.upstream.mode(mode="failing", error_share=1.0)
            case Act.PROVIDER_THROTTLES:
                self.upstream.mode(mode="rate_limited", requests_per_second=THROTTLED_RATE)
            case Act.PROVIDER_WELL:
                self.upstream.mode(mode="healthy")
            case Act.RUNS_GROW:
                self.pressure.begin(time.time())
            case Act.RUNS_SHRINK:
                self.pressure.end()
            case Act.SERIES_VANISH:
                self.fleet.hide(NAMESPACE)
                wait_until(lambda: not self.prometheus.query("agent_inflight_requests"), GONE_SECONDS, "gone series")
            case Act.LOAD_FALLS:
                self.load.set_rate(QUIET_RATE)
            case Act.PROMETHEUS_KILLED:
                self.prometheus.process.kill()
                self.fleet.show()
            case Act.PROMETHEUS_BACK:
                self.prometheus.process.start()


@contextmanager
def stage(manifest: Manifest, *, operator_on: bool) -> Iterator[Stage]:
    """Start everything, apply the manifest, wait until its pods serve; end everything on any exit.

    Args:
        manifest: What is applied.
        operator_on: False: a plain Deployment with the start values of the manifest, and nobody moves anything.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(Workspace(None, "demo")).path
        upstream = stack.enter_context(Upstream(directory, time_scale=TIME_SCALE))
        cluster = stack.enter_context(ControlPlane(pod_startup_seconds=POD_START_UP_SECONDS))
        cluster.install_crds()
        fleet = stack.enter_context(Fleet(cluster.kubeconfig, upstream.url))
        prometheus = stack.enter_context(
            Prometheus(scrape_interval_seconds=SCRAPE_SECONDS, http_sd_urls=[fleet.sd_url])
        )
        operator_port = free_port()
        operator_url = f"http://127.0.0.1:{operator_port}"
        operator = None
        if operator_on:
            operator = _operator(operator_port, cluster, prometheus, directory)
            stack.callback(operator.stop)
            operator.start_serving(f"{operator_url}/readyz", "the operator")
            cluster.kubectl("apply", "-f", str(MANIFEST), "-n", NAMESPACE)
        else:
            cluster.apply(plain_objects(manifest))
        least = manifest.policy.replicas.min
        wait_until(lambda: len(fleet.endpoints(NAMESPACE, manifest.name)) >= least, PATIENCE_SECONDS, "ready agents")
        load = stack.enter_context(
            Load(
                fleet.url,
                NAMESPACE,
                manifest.name,
                rate_per_second=QUIET_RATE,
                max_duration_seconds=LONGEST_SECONDS,
                timeout_seconds=CLIENT_PATIENCE_SECONDS,
                seed=SEED,
            )
        )
        parts = (upstream.process, *cluster.processes, fleet.process, load.process, *([operator] if operator else []))
        pressure = Pressure(load, manifest.memory_allowed_bytes)
        yield Stage(cluster, upstream, fleet, prometheus, load, pressure, operator, operator_url, parts)


def plain_objects(manifest: Manifest) -> list[dict[str, Any]]:
    """What a person would write without an operator: the same pods and start values, rendered once."""
    policy, name = manifest.policy, manifest.name
    cache, ttl = policy.cache.max_bytes, policy.cache.ttl_seconds
    threshold = policy.breaker.failure_rate_threshold_percent
    wait = policy.breaker.wait_duration_in_open_state_seconds
    assert cache is not None
    assert ttl is not None
    assert threshold is not None
    assert wait is not None
    start = Settings(replicas=policy.replicas.min, workers=policy.workers.initial)
    tuning = {
        "generation": 1,
        "workers": {"maxConcurrent": start.workers},
        "cache": {"maxBytes": cache.initial, "ttlSeconds": ttl.initial},
        "circuitBreaker": {
            "failureRateThresholdPercent": threshold.initial,
            "waitDurationInOpenStateSeconds": wait.initial,
        },
    }
    template: dict[str, Any] = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]["template"]
    labels = {"app": name}
    template["metadata"]["labels"] |= labels
    volume = {"name": "settings", "configMap": {"name": f"{name}-settings", "optional": True}}
    template["spec"]["volumes"] = [volume]
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "settings", "mountPath": "/etc/agentscaler"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name}-settings", "namespace": NAMESPACE},
            "data": {"tuning.json": json.dumps(tuning)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": start.replicas, "selector": {"matchLabels": labels}, "template": template},
        },
    ]


def _operator(port: int, cluster: ControlPlane, prometheus: Prometheus, directory: Path) -> Process:
    config = directory / "operator.yaml"
    server = {"url": prometheus.url, "scrapeIntervalSeconds": SCRAPE_SECONDS}
    config.write_text(
        yaml.safe_dump({"prometheus": {"default": server}, "tickSeconds": 1, "healthAddress": "127.0.0.1"}),
        encoding="utf-8",
    )
    return Process(
        [
            *(sys.executable, "-m", "agentscaler", "run", "--config", config, "--kubeconfig", cluster.kubeconfig),
            *("--port", str(port), "--log-format", "text"),
        ],
        directory / "operator.log",
        env={"PYTHONPATH": f"{ROOT / 'operator'}:{os.environ.get('PYTHONPATH', '')}"},
        cwd=ROOT,
    )
