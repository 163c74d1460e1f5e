"""Releases of the chart in the cluster."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.kind import operator
from e2e.scenarios.targets import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.kind.cluster import KindCluster

PART_OF = "app.kubernetes.io/part-of=agentscaler"


def releases(cluster: KindCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(operator.helm(cluster, "list", "-A", "-o", "json").stdout)
    return found


def left_of_the_release(cluster: KindCluster) -> list[str]:
    """What the chart made and is there still, beside the CRD; the Lease is the operator's own."""
    rights = "roles,rolebindings,clusterroles,clusterrolebindings"
    kinds = f"serviceaccounts,configmaps,services,deployments,pods,secrets,{rights}"
    answer = cluster.kubectl("get", kinds, "-A", f"--selector={PART_OF}", "--output=name")
    return answer.stdout.split()


@contextmanager
def alone(cluster: KindCluster) -> Iterator[None]:
    """A cluster without a release; at the end the usual one is there again, alone."""
    _clear(cluster)
    try:
        yield
    finally:
        if [each["name"] for each in releases(cluster)] != [operator.RELEASE]:
            _clear(cluster)
        operator.install(cluster)


def _clear(cluster: KindCluster) -> None:
    for release in releases(cluster):
        operator.uninstall(cluster, release=release["name"], namespace=release["namespace"])
    wait(lambda: left_of_the_release(cluster) == [], "the end of the releases")


def refused(cluster: KindCluster, *args: str | Path, values: dict[str, Any] | None = None) -> str:
    """What Helm says when it refuses."""
    given = () if values is None else ("--values", "-")
    done = operator.helm(cluster, *args, *given, input=None if values is None else json.dumps(values), check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr
