"""The operator in the cluster, installed by Helm as a user would."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from e2e.harness import tools
from e2e.kind.cluster import PROMETHEUS_URL, KindCluster
from e2e.kind.stages import stage

if TYPE_CHECKING:
    from collections.abc import Mapping

CHART = Path(__file__).parents[2] / "charts" / "agentscaler"
RELEASE = "agentscaler"
NAMESPACE = "agentscaler-system"


def values(cluster: KindCluster) -> dict[str, Any]:
    """Values for the cluster's own image and Prometheus, at the pace of its scrapes."""
    return {
        "image": {"tag": cluster.images.operator_tag},
        "prometheus": {"main": {"url": PROMETHEUS_URL, "scrapeIntervalSeconds": 5}},
        "settings": {"tickSeconds": 2, "objectMetrics": True},
        "podAnnotations": {"prometheus.io/scrape": "true"},
    }


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the second over the first, mappings merged as Helm does."""
    both = {**low, **high}
    for key, over in high.items():
        under = low.get(key)
        if isinstance(under, dict) and isinstance(over, dict):
            both[key] = merged(under, over)
    return both


def helm(
    cluster: KindCluster,
    *args: str | Path,
    input: str | None = None,  # noqa: A002 - as in subprocess.run
    check: bool = True,
    version: int = 4,
) -> subprocess.CompletedProcess[str]:
    """Run Helm as administrator of the cluster.

    Raises:
        subprocess.CalledProcessError: It failed and ``check`` is set; a note holds its standard error.
    """
    name = "helm" if version == 4 else "helm3"
    home = cluster.directory / "helm"
    variables = {f"HELM_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    variables["HOME"] = str(home)  # where client-go keeps what it discovered
    argv = [str(tools.ensure(name)[name]), "--kubeconfig", str(cluster.kubeconfig), *map(str, args)]
    done = subprocess.run(argv, input=input, capture_output=True, text=True, check=False, env=variables)
    if check and done.returncode != 0:
        error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
        error.add_note(done.stdout + done.stderr)
        raise error
    return done


def install(
    cluster: KindCluster,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    chart: Path = CHART,
    over: Mapping[str, Any] | None = None,
    wait: bool = True,
) -> None:
    """``helm upgrade --install``; returns when the operator is ready.

    Args:
        cluster: Where.
        release: Name of the release.
        namespace: Made if it is missing.
        chart: Directory of the chart.
        over: Values over those of ``values``.
        wait: Whether to wait for readiness.
    """
    content = yaml.safe_dump(merged(values(cluster), over or {}))
    waiting = ("--wait", "--timeout", "300s") if wait else ()
    where = ("--namespace", namespace, "--create-namespace")
    with stage(f"helm upgrade --install {release}"):
        helm(cluster, "upgrade", "--install", release, chart, *where, "--values", "-", *waiting, input=content)


def uninstall(cluster: KindCluster, *, release: str = RELEASE, namespace: str = NAMESPACE) -> None:
    """``helm uninstall``; the CRD and all workloads stay."""
    helm(cluster, "uninstall", release, "--namespace", namespace, "--wait")


def operator_pods(cluster: KindCluster, namespace: str = NAMESPACE, release: str = RELEASE) -> list[str]:
    """Names of the operator's pods."""
    selector = f"app.kubernetes.io/name=agentscaler,app.kubernetes.io/instance={release}"
    return [pod["metadata"]["name"] for pod in cluster.pods(namespace, selector)]


def records(cluster: KindCluster, namespace: str, name: str, *, operator: str = NAMESPACE) -> list[dict[str, Any]]:
    """Full decision records of an object from the pod that leads, oldest first; empty when none tells any."""
    for pod in operator_pods(cluster, operator):
        answer = cluster.http(operator, f"pods/{pod}:8080", "records", params={"namespace": namespace, "name": name})
        if answer.ok:
            found: list[dict[str, Any]] = answer.json()["records"]
            return found
    return []
