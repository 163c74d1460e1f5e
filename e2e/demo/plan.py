"""What happens when: the phases, and the numbers that fit them to a machine of two cores."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from agentscaler.api.spec import AgentDeploymentSpec, parse_spec
from agentscaler.core.policy import Policy
from agentscaler.frameworks.effective import effective
from agentscaler.kube.facts import limits

MANIFEST = Path(__file__).parents[2] / "examples" / "demo.yaml"
NAMESPACE = "default"
TIME_SCALE = 0.1
"""As in the manifest: the upstream's own delays follow it."""
QUIET_RATE = 5.0
"""Runs per second: about 4 to 5 at a time, since a run takes 0.9 s."""
POD_START_UP_SECONDS = 8.0
SCRAPE_SECONDS = 5
CLIENT_PATIENCE_SECONDS = 20.0
SEED = 7


class Act(StrEnum):
    """What the demo does to the world, beside the load."""

    PROVIDER_FAILS = "every call to the provider fails or hangs"
    PROVIDER_THROTTLES = "the provider answers 429 above one call a second"
    PROVIDER_WELL = "the provider is well"
    RUNS_GROW = "runs hold more and more memory, until a pod stands above its objective"
    RUNS_SHRINK = "runs are as they were"
    SERIES_VANISH = "the agents' series vanish"
    LOAD_FALLS = "the load falls to that of the quiet phase"
    PROMETHEUS_KILLED = "Prometheus is killed, and the series are let through again"
    PROMETHEUS_BACK = "Prometheus is started again"


@dataclass(frozen=True)
class Phase:
    """A part of the story.

    `rate` is a multiple of the quiet rate; `acts` come so many seconds after its begin.
    """

    name: str
    seconds: float
    rate: float
    acts: tuple[tuple[float, Act], ...] = ()
    blind: bool = False
    """The operator sees nothing: no shrink may happen."""
    provider_ill: bool = False
    """Errors are the provider's: counted apart."""
    curve: tuple[float, ...] = ()
    """Of a trace: runs a second in equal steps of the phase, `rate` being their mean."""

    def runs_per_second(self, elapsed_seconds: float) -> float:
        """The load so long after the phase's begin."""
        if not self.curve:
            return self.rate * QUIET_RATE
        step = int(len(self.curve) * elapsed_seconds / self.seconds)
        return self.curve[min(max(step, 0), len(self.curve) - 1)]

    @property
    def load(self) -> str:
        """The load in words."""
        if not self.curve:
            return f"{self.rate * QUIET_RATE:g} runs a second"
        return f"{min(self.curve):.1f} to {max(self.curve):.1f} runs a second"


PHASES = (
    Phase("quiet", 20, 1),
    Phase("spike x5", 45, 5),
    Phase("calm", 65, 1),
    Phase(
        "outage, then 429s",
        70,
        1,
        ((0, Act.PROVIDER_FAILS), (25, Act.PROVIDER_THROTTLES), (50, Act.PROVIDER_WELL)),
        provider_ill=True,
    ),
    Phase("memory pressure", 55, 2, ((0, Act.RUNS_GROW), (55, Act.RUNS_SHRINK))),
    Phase("peak again", 25, 3),
    Phase("series gone", 60, 3, ((0, Act.SERIES_VANISH), (20, Act.LOAD_FALLS)), blind=True),
    Phase("Prometheus away", 20, 1, ((0, Act.PROMETHEUS_KILLED), (20, Act.PROMETHEUS_BACK)), blind=True),
    Phase("quiet again", 85, 1),
)


@dataclass(frozen=True)
class Script:
    """What is played."""

    phases: tuple[Phase, ...] = PHASES
    trace: str = ""
    """Whose load it is; empty for the demo's own."""
    notes: tuple[str, ...] = ()
    """How the trace was fitted to the machine."""


THROTTLED_RATE = 1.0


@dataclass(frozen=True)
class Manifest:
    """The AgentDeployment of the README."""

    body: dict[str, Any]
    name: str
    spec: AgentDeploymentSpec
    policy: Policy
    memory_limit_bytes: int
    """Of the agent's container."""

    @property
    def memory_allowed_bytes(self) -> float:
        """What the memory objective leaves to a pod."""
        ratio = self.policy.objectives.memory_ratio
        assert ratio is not None
        return ratio * self.memory_limit_bytes


def manifest() -> Manifest:
    """The manifest that is applied, and its policy with every default filled in."""
    body = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    spec = parse_spec(body["spec"])
    limit = limits(body["spec"]["template"]["spec"]["containers"][0]).memory_bytes
    assert limit is not None
    return Manifest(body, body["metadata"]["name"], spec, effective(spec), limit)
