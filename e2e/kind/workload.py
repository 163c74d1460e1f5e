"""Manifests of scenarios: agents, the Service in front of them, and the model provider behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from e2e.kind.images import AGENT

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

PORT = 8080
UPSTREAM = "model-provider"
LEAVE_SECONDS = 8
"""Until kube-proxy has heard that a pod leaves, also when it gets little CPU."""
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def agent_pod(
    *,
    time_scale: float = 0.1,
    memory_scale: float = 0.03,
    memory_limit: str = "320Mi",
    arguments: tuple[str, ...] = (),
    grace_seconds: int = 60,
) -> dict[str, Any]:
    """A pod template of the reference agent, as ``spec.template`` of an AgentDeployment takes it.

    Args:
        time_scale: How long runs take: at 0.1 a tenth of real life.
        memory_scale: How much memory runs hold.
        memory_limit: Of the container.
        arguments: More of ``python -m e2e.agents.reference``.
        grace_seconds: What a leaving pod gets to finish its runs.
    """
    scales = [f"--time-scale={time_scale:g}", f"--memory-scale={memory_scale:g}"]
    container = {
        "name": "agent",
        "image": AGENT,
        "args": ["--host=0.0.0.0", f"--port={PORT}", f"--upstream=http://{UPSTREAM}", *scales, *arguments],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5},
        # A pod that leaves is sent requests until every kube-proxy has heard of it.
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": memory_limit}},
        "securityContext": HARDENED,
    }
    return {"spec": {"terminationGracePeriodSeconds": grace_seconds, "containers": [container]}}


def agent_deployment(name: str, template: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An AgentDeployment that decides every 5 s over windows of a minute, unless ``spec`` says otherwise."""
    tuning = {"intervalSeconds": 5, **spec.pop("tuning", {})}
    whole = {"template": template, "signals": {"windowSeconds": 60}, "tuning": tuning, **spec}
    return {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": {"name": name},
        "spec": whole,
    }


def service(name: str, selector: dict[str, str] | None = None) -> dict[str, Any]:
    """A Service on port 80 in front of the pods of an AgentDeployment of that name, or of those selected."""
    ports = [{"name": "http", "port": 80, "targetPort": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector or {"agentscaler.dev/name": name}, "ports": ports},
    }


def upstream(time_scale: float = 0.1) -> list[dict[str, Any]]:
    """The model provider that the agents call: a Deployment of one pod and its Service."""
    labels = {"app": UPSTREAM}
    container = {
        "name": "provider",
        "image": AGENT,
        "command": ["python", "-m", "e2e.agents.upstream"],
        "args": ["--host=0.0.0.0", f"--port={PORT}", f"--time-scale={time_scale:g}"],
        "ports": [{"name": "provider", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/mode", "port": "provider"}, "periodSeconds": 1, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "192Mi"}},
        "securityContext": HARDENED,
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": UPSTREAM},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]},
            },
        },
    }
    return [deployment, service(UPSTREAM, labels)]


def in_namespace(namespace: str, *manifests: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifests with their namespace, for ``KindCluster.apply``."""
    return [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in manifests]


def set_mode(cluster: KindCluster, namespace: str, mode: str, **numbers: float) -> None:
    """How the model provider feels from now on: see ``e2e.agents.upstream.Mode``."""
    body = {"mode": mode, **numbers}
    cluster.http(namespace, f"services/{UPSTREAM}:http", "mode", method="PUT", body=body).raise_for_status()


def upstream_stats(cluster: KindCluster, namespace: str) -> dict[str, Any]:
    """What the model provider was asked since its start: calls, failed, in_flight, by_mode, failed_by_kind."""
    answer = cluster.http(namespace, f"services/{UPSTREAM}:http", "stats")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
