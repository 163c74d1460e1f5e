"""What is compared: policies by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agentscaler.core.settings import Breaker
from agentscaler.simulate.hpa import hpa_cpu, hpa_inflight
from agentscaler.simulate.keda import keda
from agentscaler.simulate.kpa import kpa
from agentscaler.simulate.model import RESILIENCE4J, Variant
from agentscaler.simulate.product import Agentscaler, fixed_breaker
from agentscaler.simulate.scrape import View
from agentscaler.simulate.world import Orders

MAX_REPLICAS = 1000


class Policy(Protocol):
    """Something that sizes the service. One object serves one run."""

    name: str
    interval_seconds: float
    """How often `act` is called."""

    def act(self, view: View, now: float) -> Orders:
        """What is to be, given what can be known."""


class Begun(Protocol):
    """A policy that wants to know where it starts."""

    def begin(self, variant: Variant, replicas: int) -> None:
        """Called once, before the first `act`."""


def traits(policy: Policy) -> tuple[str, bool, Breaker]:
    """How a policy's pods leave, whether it reads live statistics, and its pods' breaker at the start.

    Attributes of the policy where it has them (`scale_in`, `live`, `breaker`); else Kubernetes' order, no live
    statistics and the fixed breaker.
    """
    return (
        getattr(policy, "scale_in", "newest"),
        getattr(policy, "live", False),
        getattr(policy, "breaker", RESILIENCE4J),
    )


@dataclass
class Static:
    """A constant number of replicas."""

    replicas: int
    workers: int | None = None
    name: str = "static"
    interval_seconds: float = 15.0

    def act(self, view: View, now: float) -> Orders:  # noqa: ARG002 - it looks at nothing
        """The same for ever."""
        return Orders(self.replicas, self.workers)


Factory = Callable[..., Policy]
_FACTORIES: dict[str, Factory] = {}


def register(name: str, factory: Factory) -> None:
    """Make a policy known by name."""
    _FACTORIES[name] = factory


def make(name: str, **parameters: float) -> Policy:
    """A fresh policy.

    Raises:
        KeyError: no policy has this name.
    """
    return _FACTORIES[name](**parameters)


def names() -> tuple[str, ...]:
    """All policies."""
    return tuple(sorted(_FACTORIES))


register("static", Static)
register("agentscaler", Agentscaler)
register("agentscaler-fixed-breaker", fixed_breaker)
register("hpa-cpu", hpa_cpu)
register("hpa-inflight", hpa_inflight)
register("keda", keda)
register("kpa", kpa)
