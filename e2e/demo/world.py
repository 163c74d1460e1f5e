"""Everything that was seen, with the time at which the demo saw it (Unix seconds). Filled by watchers, read by all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

Json = dict[str, Any]


class Size(NamedTuple):
    """The Deployment at one moment."""

    at: float
    replicas: int
    ready: int


class Delivered(NamedTuple):
    """A write of tuning.json."""

    at: float
    generation: int
    settings: Json


class AgentSample(NamedTuple):
    """One agent's own /metrics at one moment."""

    at: float
    pod: str
    workers: int
    generation: int
    breaker_state: int


class UpstreamSample(NamedTuple):
    """The provider's counters."""

    at: float
    calls: int
    failed: int


class PodsSample(NamedTuple):
    """The fleet's view of the processes."""

    at: float
    running: int
    worst_rss_bytes: int
    oom_kills: int
    lost_runs: int


E = TypeVar("E", Size, Delivered)


@dataclass
class World:
    """The timelines of one run of the demo."""

    sizes: list[Size] = field(default_factory=list)
    deliveries: list[Delivered] = field(default_factory=list)
    agents: list[AgentSample] = field(default_factory=list)
    upstream: list[UpstreamSample] = field(default_factory=list)
    pods: list[PodsSample] = field(default_factory=list)
    objects: list[tuple[float, Json]] = field(default_factory=list)
    """The AgentDeployment after each change."""
    records: dict[float, Json] = field(default_factory=dict)
    """Full records of decisions by their time."""
    blind_since: float = 0.0
    """When Prometheus had lost the last of the agents' series."""
    listeners: list[Callable[[str], None]] = field(default_factory=list)
    """Told of each change in words."""

    @property
    def body(self) -> Json:
        """The newest AgentDeployment; empty before the first."""
        return self.objects[-1][1] if self.objects else {}

    @property
    def status(self) -> Json:
        """Its status."""
        found: Json = self.body.get("status") or {}
        return found

    def tell(self, words: str) -> None:
        """Tell all listeners."""
        for listener in self.listeners:
            listener(words)

    def size_at(self, moment: float) -> Size | None:
        """The Deployment as it was then."""
        return _last(self.sizes, moment)

    def settings_at(self, moment: float) -> Json:
        """The settings that stood in the ConfigMap then."""
        found = _last(self.deliveries, moment)
        return found.settings if found else {}


def _last(entries: list[E], moment: float) -> E | None:
    return next((entry for entry in reversed(entries) if entry.at <= moment), None)
