"""What is kept of a scenario that failed."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from e2e.kind.images import ROOT
from e2e.kind.operator import operator_pods, records
from e2e.kind.stages import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.kind.cluster import KindCluster

DIRECTORY = ROOT / "artifacts" / "e2e"  # git ignores it
kept: list[Path] = []
"""The directories that were written."""
OBJECTS = "agentdeployments,deployments,replicasets,pods,configmaps,services,horizontalpodautoscalers,leases"


def collect(cluster: KindCluster, name: str, namespaces: list[str]) -> Path:
    """Write logs, events, objects, decisions and targets of some namespaces; what cannot be had is said in its file.

    Args:
        cluster: Where.
        name: Of the scenario.
        namespaces: Its own, and the operator's.

    Returns:
        The directory.
    """
    directory = DIRECTORY / f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    directory.mkdir(parents=True, exist_ok=True)

    def keep(file: str, source: Callable[[], str]) -> None:
        try:
            text = source()
        except (requests.RequestException, RuntimeError, KeyError, ValueError, OSError) as error:
            text = f"not to be had: {error!r}\n"
        (directory / file).write_text(text)

    def kubectl(*args: str) -> str:
        done = cluster.kubectl(*args, check=False)
        return done.stdout + done.stderr

    for namespace in namespaces:
        where = f"--namespace={namespace}"
        keep(f"{namespace}-objects.yaml", partial(kubectl, "get", where, "--output=yaml", OBJECTS))
        keep(f"{namespace}-events.txt", partial(kubectl, "get", where, "--sort-by=.lastTimestamp", "events"))
        keep(f"{namespace}-describe.txt", partial(kubectl, "describe", where, "agentdeployments,pods"))
        pods = cluster.kubectl("get", where, "pods", "--output=name", check=False).stdout.split()
        for pod in pods:
            file = f"{namespace}-{pod.rpartition('/')[2]}"
            keep(f"{file}.log", partial(kubectl, "logs", where, "--all-containers", pod))
            keep(f"{file}.previous.log", partial(kubectl, "logs", where, "--previous", pod))
        keep(f"{namespace}-decisions.json", partial(_decisions, cluster, namespace))
    keep("prometheus-targets.json", partial(_targets, cluster))
    keep("nodes.txt", partial(kubectl, "describe", "nodes"))
    keep("pods.txt", partial(kubectl, "get", "pods", "--all-namespaces", "--output=wide"))
    keep("kubelet.log", partial(cluster.node_exec, "journalctl", "--unit=kubelet", "--lines=2000", "--no-pager"))
    kept.append(directory)
    say(f"kept logs, events, objects and decisions in {directory}")
    return directory


def _decisions(cluster: KindCluster, namespace: str) -> str:
    items = cluster.get(f"/apis/agentscaler.dev/v1alpha1/namespaces/{namespace}/agentdeployments")["items"]
    names = [item["metadata"]["name"] for item in items]
    kept: dict[str, Any] = {name: records(cluster, namespace, name) for name in names}
    return json.dumps({"operators": operator_pods(cluster), "records": kept}, indent=1)


def _targets(cluster: KindCluster) -> str:
    return cluster.http("monitoring", "services/prometheus:http", "api/v1/targets").text
