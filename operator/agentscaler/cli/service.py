"""The service whose past is replayed: its object, its pods, and the Prometheus that watched it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from agentscaler import settings
from agentscaler.api.spec import AgentDeploymentSpec
from agentscaler.cli.cluster import CliError, Cluster
from agentscaler.cli.manifest import policy_of, spec_of
from agentscaler.core.policy import Policy
from agentscaler.frameworks import choices
from agentscaler.kube import codec
from agentscaler.kube.errors import KubeError
from agentscaler.kube.facts import limits
from agentscaler.kube.paths import DEPLOYMENTS
from agentscaler.signals.servers import Server

TIMEOUT_SECONDS: Final = 60.0
DEFAULT_GRACE_SECONDS: Final = 30.0
"""Kubernetes' own."""


@dataclass(frozen=True, slots=True)
class Service:
    """One object as the cluster has it, and what of its pods matters here."""

    namespace: str
    name: str
    spec: AgentDeploymentSpec
    policy: Policy
    workload: str
    """Name of the Deployment."""
    memory_limit_bytes: int | None
    grace_seconds: float
    start_up_seconds: float

    @property
    def label(self) -> str:
        """As a person writes it."""
        return f"{self.namespace}/{self.name}"


def service(cluster: Cluster, namespace: str, name: str) -> Service:
    """The object, its Deployment, and what the operator has learned of its start-up.

    Raises:
        CliError: There is none, or its spec is not valid.
    """
    body = cluster.get(namespace, name)
    spec = spec_of(body)
    workload = spec.scale_target_ref.name if spec.scale_target_ref is not None else name
    pods = _pod_spec(cluster, namespace, workload) or ((body["spec"].get("template") or {}).get("spec") or {})
    wanted = choices.container(spec)
    containers = pods.get("containers") or [{}]
    agent = next((each for each in containers if each.get("name") == wanted), containers[0])
    grace = pods.get("terminationGracePeriodSeconds")
    return Service(
        namespace=namespace,
        name=name,
        spec=spec,
        policy=policy_of(body),
        workload=workload,
        memory_limit_bytes=limits(agent).memory_bytes,
        grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else float(grace),
        start_up_seconds=codec.decode((body.get("status") or {}).get("memory") or {}).learned.start_up_seconds,
    )


def server(url: str | None, config: Path | None, of: Service, scrape_seconds: int) -> Server:
    """Which Prometheus to ask.

    Args:
        url: As the user gave it; comes before the file.
        config: The operator's settings file.
        of: The service, which may name one of the file's servers.
        scrape_seconds: For a server that is given by its URL.

    Raises:
        CliError: None is given, or it cannot be used.
    """
    try:
        if url is not None:
            return Server("given", url, scrape_interval_seconds=scrape_seconds, timeout_seconds=TIMEOUT_SECONDS)
        servers = settings.load(config, os.environ, {}).servers
    except (ValueError, settings.SettingsError) as error:
        raise CliError(str(error), exit_code=2) from error
    name = choices.server(of.spec)
    if name not in servers:
        raise CliError(
            f"no Prometheus server named {name!r} is known here: give --prometheus URL, or the operator's settings "
            "file with --config FILE",
            exit_code=2,
        )
    return replace(servers[name], timeout_seconds=max(servers[name].timeout_seconds, TIMEOUT_SECONDS))


def _pod_spec(cluster: Cluster, namespace: str, workload: str) -> dict[str, Any]:
    """Of the live Deployment; empty where it cannot be read."""
    try:
        found = cluster.raw(DEPLOYMENTS.path(namespace, workload))
    except KubeError:
        return {}
    return dict(found["spec"]["template"]["spec"])
