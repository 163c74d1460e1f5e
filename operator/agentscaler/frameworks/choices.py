"""What the spec says beside the policy: framework, server, container, delivery and metrics, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from agentscaler.api.signals import OVERRIDABLE
from agentscaler.api.spec import AgentDeploymentSpec
from agentscaler.frameworks.preset import Metric, MetricKind

DEFAULT_FRAMEWORK: Final = "generic"
DEFAULT_SERVER: Final = "default"
DEFAULT_RESTART_INTERVAL_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Delivery:
    """How changed settings reach the pods, every default filled in."""

    restart: bool
    """Whether pods may be restarted for it."""
    min_restart_interval_seconds: int


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


def delivery(spec: AgentDeploymentSpec) -> Delivery:
    """How changed settings reach the pods."""
    given = spec.delivery
    if given is None:
        return Delivery(restart=False, min_restart_interval_seconds=DEFAULT_RESTART_INTERVAL_SECONDS)
    return Delivery(
        restart=given.mode == "Restart",
        min_restart_interval_seconds=given.min_restart_interval_seconds or DEFAULT_RESTART_INTERVAL_SECONDS,
    )


# Where the resource has another word than the preset: users think of the latency of runs that succeed.
_PRESET_NAMES: Final = {
    "latency": "successful_duration",
    "upstream429": "upstream_429",
    "upstream5xx": "upstream_5xx",
}
_USER_NAMES: Final = {
    _PRESET_NAMES.get(name) or "".join(f"_{each.lower()}" if each.isupper() else each for each in name): name
    for name in OVERRIDABLE
}
"""Name in the resource, by field of `Metrics`."""


def to_user_name(preset_name: str) -> str:
    """The resource's name of a field of `Metrics`."""
    return _USER_NAMES[preset_name]


def overrides(spec: AgentDeploymentSpec) -> tuple[tuple[str, Metric], ...]:
    """The metrics that the user named, by field of `Metrics`, in the order of the names.

    A `latency` without a `duration` of its own stands for both: what measures the runs of this agent is that metric.
    """
    given = (spec.signals and spec.signals.overrides) or {}
    result = {
        field: Metric(
            name=override.metric,
            kind=MetricKind(override.kind),
            matchers=tuple(sorted((override.matchers or {}).items())),
            scale=float(Decimal(str(override.scale))) if override.scale is not None else 1.0,
        )
        for field, name in _USER_NAMES.items()
        if (override := given.get(name)) is not None
    }
    if "successful_duration" in result:
        result.setdefault("duration", result["successful_duration"])
    return tuple(sorted(result.items()))
