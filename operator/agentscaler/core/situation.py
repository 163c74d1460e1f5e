"""Everything a rule may look at, worked out once a tick; and the draft that rules pass on."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from agentscaler.api.conditions import Reason
from agentscaler.core.decision import Diagnosis, Step
from agentscaler.core.demand import Demand
from agentscaler.core.learn import MemoryLaw
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import Policy
from agentscaler.core.settings import Knob, Settings
from agentscaler.core.target import Target
from agentscaler.core.values import replace


class Knowledge(StrEnum):
    """What this tick's signals allow."""

    KNOWN = "Known"
    """Demand is known, all of it: capacity may move both ways."""
    PARTIAL = "Partial"
    """A lower bound of demand is known: capacity may only grow."""
    UNKNOWN = "Unknown"
    DEAD = "Dead"
    """Targets exist and all are down."""


@dataclass(frozen=True)
class Situation:
    """One object at one moment. `memory` has already learned from this tick."""

    policy: Policy
    target: Target
    observation: Observation
    memory: Memory
    now: float
    current: Settings
    knowledge: Knowledge
    demand: Demand | None
    law: MemoryLaw | None
    workers_in_force: int | None
    """The limit that pods work under now: what was set last, else what they report."""
    diagnosis: Diagnosis

    def value(self, name: SignalName) -> float | None:
        """Short for the trusted value of a signal."""
        return self.observation.value(name)

    @property
    def memory_budget_bytes(self) -> float | None:
        """What the memory objective leaves a pod to use; None without a limit or an objective."""
        ratio, limit = self.policy.objectives.memory_ratio, self.target.memory_limit_bytes
        return ratio * limit if ratio is not None and limit is not None else None

    @property
    def serving_pods(self) -> int:
        """Pods that share the work now, one at least."""
        return serving_pods(self.target, self.observation)

    @property
    def known_for_seconds(self) -> float:
        """For how long signals have been known without a break."""
        since = self.memory.known_since
        return self.now - since if since is not None else 0.0


def serving_pods(target: Target, observation: Observation) -> int:
    """Ready pods; in a rollout, where only those of the new ReplicaSet count as ready, also the old ones that serve."""
    ready = target.ready_replicas
    if target.rolling_out:
        ready = max(ready, int(observation.value(SignalName.PODS_REPORTING) or target.replicas))
    return max(ready, 1)


@dataclass(frozen=True)
class Draft:
    """The proposal as the chain builds it."""

    settings: Settings
    steps: tuple[Step, ...] = ()
    limits: tuple[tuple[Reason, str], ...] = field(default=())
    """What kept a knob away from what demand asks for: becomes the condition ScalingLimited."""

    def set(self, rule: str, knob: Knob, settings: Settings, reason: Reason, message: str) -> Draft:
        """The draft with new settings and the step that says why; unchanged settings leave no trace."""
        if settings == self.settings:
            return self
        step = Step(rule, knob, _shown(self.settings, knob), _shown(settings, knob), reason, message)
        return replace(self, settings=settings, steps=(*self.steps, step))

    def replicas(self, rule: str, replicas: int, reason: Reason, message: str) -> Draft:
        """Shorthand for the most moved knob."""
        return self.set(rule, Knob.REPLICAS, replace(self.settings, replicas=replicas), reason, message)

    def workers(self, rule: str, workers: int, reason: Reason, message: str) -> Draft:
        """Shorthand."""
        return self.set(rule, Knob.WORKERS, replace(self.settings, workers=workers), reason, message)

    def limit(self, reason: Reason, message: str) -> Draft:
        """Note that something cut what demand asks for."""
        return replace(self, limits=(*self.limits, (reason, message)))


def _shown(settings: Settings, knob: Knob) -> int | str | None:
    match knob:
        case Knob.REPLICAS:
            return settings.replicas
        case Knob.WORKERS:
            return settings.workers
        case Knob.CACHE:
            return describe_cache(settings)
        case Knob.CIRCUIT_BREAKER:
            return describe_breaker(settings)


def describe_cache(settings: Settings) -> str:
    """`256Mi, 900s`, for people."""
    size, ttl = settings.cache.max_bytes, settings.cache.ttl_seconds
    return ", ".join([f"{size / 2**20:.0f}Mi" if size is not None else "-", f"{ttl}s" if ttl is not None else "-"])


def describe_breaker(settings: Settings) -> str:
    """`50%, 30s, 3 trials`, for people: failure rate threshold, wait in the open state, calls while half-open."""
    b = settings.breaker
    threshold, wait = b.failure_rate_threshold_percent, b.wait_duration_in_open_state_seconds
    trials = b.permitted_calls_in_half_open_state
    shown = [f"{threshold}%" if threshold is not None else "-", f"{wait}s" if wait is not None else "-"]
    if trials is not None:
        shown.append(f"{trials} {'trial' if trials == 1 else 'trials'}")
    return ", ".join(shown)
