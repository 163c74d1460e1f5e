"""Demand that stands elsewhere than in the agent, read by the administrator's own PromQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field

from agentscaler.api.rules import Checked, Model, Rule
from agentscaler.api.values import DnsLabel, TargetPerReplica

_PARAMETER: Final = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
_FILLED: Final = ("namespace", "name")


def _are_names(parameters: Mapping[str, str]) -> bool:
    return all(re.fullmatch(_PARAMETER, name) for name in parameters)


class ExternalDemand(Model):
    """Work that waits outside of the agent, in a broker for one. It adds replicas, and never takes one away."""

    template: DnsLabel
    """Name of one of the demand templates that the administrator configured for the Prometheus server."""
    parameters: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=256)]],
            Field(max_length=8),
            Checked(
                rules=(
                    Rule(
                        f"self.all(name, name.matches('{_PARAMETER}'))",
                        "parameters must have names of letters, digits and '_', not starting with a digit",
                        _are_names,
                    ),
                    Rule(
                        "!('namespace' in self) && !('name' in self)",
                        "parameters namespace and name are the object's own: leave them out",
                        lambda parameters: not parameters.keys() & set(_FILLED),
                    ),
                )
            ),
        ]
        | None
    ) = None
    """What the template leaves open, such as the name of a queue. Each value is taken literally."""
    target_per_replica: TargetPerReplica
    """What one pod is there for, in the unit of the template: 20 messages, or "0.5"."""
