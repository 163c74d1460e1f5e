"""The pod template of the resource: a typed skeleton, and whatever a pod template can hold below it.

The full schema of a pod template would make the CRD larger than what `kubectl apply` can store; the API server checks
the rest when the operator asks it by a dry-run.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from agentscaler.api.rules import Checked, Model, Rule
from agentscaler.api.values import DnsLabel

_OPEN = ConfigDict(frozen=True, extra="allow", strict=True, alias_generator=to_camel, use_attribute_docstrings=True)


class Container(Model):
    """A container; all fields of a pod's container are allowed."""

    model_config = _OPEN

    name: DnsLabel
    """Name of the container, a DNS label, once in the pod."""


def _names_are_unique(containers: tuple[Container, ...]) -> bool:
    return max(Counter(container.name for container in containers).values(), default=1) == 1


# The API server itself refuses a repeated key of a list of type map, so this rule has no CEL of its own.
_BY_NAME = Checked(
    schema=(("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", ("name",))),
    rules=(Rule("", "each container needs a name of its own: rename one", _names_are_unique),),
)


class PodSpec(Model):
    """A pod's spec; all its fields are allowed."""

    model_config = _OPEN

    containers: Annotated[tuple[Container, ...], Field(strict=False, min_length=1, max_length=32), _BY_NAME]
    """Containers of the pod, at least one."""


class TemplateMetadata(Model):
    """Metadata of the pods; all fields are allowed."""

    model_config = _OPEN

    labels: dict[str, str] | None = None
    """Labels of the pods. The operator adds its own selector label."""
    annotations: dict[str, str] | None = None
    """Annotations of the pods."""


class PodTemplate(Model):
    """A pod template as in a Deployment."""

    metadata: TemplateMetadata | None = None
    """Labels and annotations of the pods."""
    spec: PodSpec
    """Spec of the pods."""

    def as_dict(self) -> dict[str, Any]:
        """The template exactly as the user wrote it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
