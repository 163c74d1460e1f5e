"""The spec of an AgentDeployment, v1alpha1, and how it is read.

No field has a default here but `replicas`: what a preset or a policy derives, the API server must not fill in first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from agentscaler.api.objectives import Objectives
from agentscaler.api.rules import Model, Rule
from agentscaler.api.signals import Signals
from agentscaler.api.template import PodTemplate
from agentscaler.api.tuning import Tuning
from agentscaler.api.values import DnsLabel

MAX_REPLICAS = 1000
MAX_NAME_LENGTH = 46
"""Pod names are cut at 63 characters; a longer Deployment name would no longer be seen in them."""


class ScaleTargetRef(Model):
    """The Deployment to adopt, as in autoscaling/v2."""

    api_version: Literal["apps/v1"]
    """API version of the target."""
    kind: Literal["Deployment"]
    """Kind of the target."""
    name: Annotated[DnsLabel, Field(max_length=MAX_NAME_LENGTH)]
    """Name of the target, in the namespace of this object; at most 46 characters, since its pods' names are longer."""


class BaseConfigMap(Model):
    """The user's own settings file of the framework. The operator reads it and never writes it."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of a ConfigMap in the namespace of this object."""
    key: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Key of the file in it. Effective default: the name of the framework's settings file."""


class Delivery(Model):
    """How changed settings reach the pods."""

    mode: Literal["Hot", "Restart"] | None = None
    """Hot changes files of running pods; Restart rolls the Deployment, which needs template. Effective default: Hot."""
    min_restart_interval_seconds: Annotated[int, Field(ge=60, le=604_800)] | None = None
    """Shortest time between two restarts, in seconds. Effective default: 3600."""
    base_config_map: BaseConfigMap | None = None
    """Settings file to start from: the framework's file is this one, with what was decided in it. Effective default: an
    empty file."""


def _one_target(spec: AgentDeploymentSpec) -> bool:
    return (spec.template is None) != (spec.scale_target_ref is None)


def _container_exists(spec: AgentDeploymentSpec) -> bool:
    if spec.container is None or spec.template is None:
        return True
    return any(container.name == spec.container for container in spec.template.spec.containers)


def _restart_has_template(spec: AgentDeploymentSpec) -> bool:
    return spec.delivery is None or spec.delivery.mode != "Restart" or spec.template is not None


def _restart_drops_nothing(spec: AgentDeploymentSpec) -> bool:
    return spec.delivery is None or spec.delivery.mode != "Restart" or spec.statefulness != "inMemory"


def _base_has_a_file(spec: AgentDeploymentSpec) -> bool:
    based = spec.delivery is not None and spec.delivery.base_config_map is not None
    return not based or spec.framework not in {None, "generic"}


def _window_covers_interval(spec: AgentDeploymentSpec) -> bool:
    window = spec.signals.window_seconds if spec.signals else None
    interval = spec.tuning.interval_seconds if spec.tuning else None
    return window is None or interval is None or window >= interval


class AgentDeploymentSpec(Model):
    """What the user wants of one agent service."""

    rules = (
        Rule(
            "has(self.template) != has(self.scaleTargetRef)",
            "exactly one of template and scaleTargetRef must be set: template to have the operator run the pods, "
            "scaleTargetRef to adopt an existing Deployment",
            _one_target,
        ),
        Rule(
            "has(self.template) == has(oldSelf.template)",
            "template and scaleTargetRef cannot be exchanged: delete this object and create a new one",
        ),
        Rule(
            "!has(self.scaleTargetRef) || !has(oldSelf.scaleTargetRef) "
            "|| self.scaleTargetRef == oldSelf.scaleTargetRef",
            "scaleTargetRef cannot be changed: delete this object and create one for the other Deployment",
            field_path=".scaleTargetRef",
        ),
        Rule(
            "!has(self.container) || !has(self.template) "
            "|| self.template.spec.containers.exists(c, c.name == self.container)",
            "container must be the name of one of template.spec.containers: correct it or leave it out",
            _container_exists,
            ".container",
        ),
        Rule(
            "!has(self.delivery) || !has(self.delivery.mode) || self.delivery.mode != 'Restart' || has(self.template)",
            "delivery.mode Restart needs template: an adopted Deployment is never restarted; use Hot",
            _restart_has_template,
            ".delivery.mode",
        ),
        Rule(
            "!has(self.delivery) || !has(self.delivery.mode) || self.delivery.mode != 'Restart' "
            "|| !has(self.statefulness) || self.statefulness == 'none'",
            "delivery.mode Restart needs statefulness none: a restart drops what pods keep in memory; use Hot",
            _restart_drops_nothing,
            ".delivery.mode",
        ),
        Rule(
            "!has(self.delivery) || !has(self.delivery.baseConfigMap) "
            "|| (has(self.framework) && self.framework != 'generic')",
            "delivery.baseConfigMap needs a framework that has a settings file of its own: name it in framework",
            _base_has_a_file,
            ".delivery.baseConfigMap",
        ),
        Rule(
            "!has(self.signals) || !has(self.signals.windowSeconds) || !has(self.tuning) "
            "|| !has(self.tuning.intervalSeconds) || self.signals.windowSeconds >= self.tuning.intervalSeconds",
            "signals.windowSeconds must not be shorter than tuning.intervalSeconds: widen the window (60, 120, 300, "
            "600) or shorten the interval",
            _window_covers_interval,
            ".signals.windowSeconds",
        ),
    )

    framework: Literal["generic", "aiagentsharp", "genericagents", "agentflow", "aiecs", "agentgraph"] | None = None
    """Agent framework, which says the names of metrics, the defaults and the settings file. Effective default:
    generic."""
    template: PodTemplate | None = None
    """Pod template of a Deployment that the operator makes under this object's name. Or set scaleTargetRef."""
    scale_target_ref: ScaleTargetRef | None = None
    """Existing Deployment to adopt; its template is never touched. It cannot be changed later."""
    container: DnsLabel | None = None
    """Container of the agent: its limits and memory count, and it gets the settings. Effective default: the first."""
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Number of pods where tuning.replicas.mode is not Auto; with Auto a change restarts from that size once.

    0 stops the service and its tuning until somebody writes another number: no request waits for a pod, and no schedule
    brings one back.
    """
    statefulness: Literal["none", "inMemory"] | None = None
    """What a pod takes along when it goes. inMemory: replicas never shrink by themselves; a person takes pods away, by
    a size, a bound or a schedule. Effective default: none."""
    objectives: Objectives | None = None
    """What the service promises."""
    prometheus: DnsLabel | None = None
    """Name of one of the Prometheus servers that the administrator configured. Effective default: default."""
    signals: Signals | None = None
    """How the signals are measured."""
    tuning: Tuning | None = None
    """What the operator may change, and within which bounds."""
    delivery: Delivery | None = None
    """How changed settings reach the pods."""
    paused: bool | None = None
    """True: no knob is moved. Effective default: false."""
    paused_scale_in: bool | None = None
    """True: capacity is not lowered: not replicas, not workers, not the cache. Danger to memory is excepted. Effective
    default: false."""
    paused_scale_out: bool | None = None
    """True: capacity is not raised: not replicas, not workers. Effective default: false."""


class SpecError(ValueError):
    """A spec that the models refuse. The text names each field and the mend."""


def parse_spec(raw: Mapping[str, Any]) -> AgentDeploymentSpec:
    """The spec of an object, from its decoded JSON.

    Raises:
        SpecError: it breaks the schema or a rule; an object may be older than the CRD that would refuse it today.
    """
    try:
        return AgentDeploymentSpec.model_validate(raw)
    except ValidationError as error:
        raise SpecError("; ".join(_explain(dict(detail)) for detail in error.errors(include_url=False))) from None


def _explain(detail: Mapping[str, Any]) -> str:
    path = "spec"
    for part in detail["loc"]:
        # Branches of a union appear in the location by their type; a person knows only the field.
        if part not in {"int", "str"}:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
    context = detail.get("ctx", {})
    mend = "remove it or correct its name" if detail["type"] == "extra_forbidden" else ""
    return f"{path}{context.get('field_path', '')}: {detail['msg']}{f': {mend}' if mend else ''}"
