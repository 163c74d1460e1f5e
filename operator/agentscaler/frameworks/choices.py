"""What the spec says beside the policy: framework, server, container, external demand, delivery; with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agentscaler.api.external import ExternalDemand
from agentscaler.api.spec import AgentDeploymentSpec

DEFAULT_FRAMEWORK: Final = "generic"
DEFAULT_SERVER: Final = "default"
DEFAULT_RESTART_INTERVAL_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Delivery:
    """How changed settings reach the pods, every default filled in."""

    restart: bool
    """Whether pods may be restarted for it."""
    min_restart_interval_seconds: int
    base: tuple[str, str] | None = None
    """ConfigMap and key of the settings file to start from; the key is empty where the framework's name holds."""


def framework(spec: AgentDeploymentSpec) -> str:
    """Name of the framework preset."""
    return spec.framework or DEFAULT_FRAMEWORK


def server(spec: AgentDeploymentSpec) -> str:
    """Name of the Prometheus server."""
    return spec.prometheus or DEFAULT_SERVER


def container(spec: AgentDeploymentSpec) -> str | None:
    """Name of the agent's container. None: the first one of the adopted Deployment."""
    if spec.container is None and spec.template is not None:
        return spec.template.spec.containers[0].name
    return spec.container


def external(spec: AgentDeploymentSpec) -> ExternalDemand | None:
    """Demand beside that of the agent's own signals, if there is any."""
    replicas = spec.tuning.replicas if spec.tuning is not None else None
    return replicas.external_demand if replicas is not None else None


def delivery(spec: AgentDeploymentSpec) -> Delivery:
    """How changed settings reach the pods."""
    given = spec.delivery
    if given is None:
        return Delivery(restart=False, min_restart_interval_seconds=DEFAULT_RESTART_INTERVAL_SECONDS)
    base = given.base_config_map
    return Delivery(
        base=None if base is None else (base.name, base.key or ""),
        restart=given.mode == "Restart",
        min_restart_interval_seconds=given.min_restart_interval_seconds or DEFAULT_RESTART_INTERVAL_SECONDS,
    )
