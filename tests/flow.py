"""A service that obeys: runs come at a rate, wait, hold a worker and end; pods take their time to start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import Policy
from agentscaler.core.target import Target
from tests.worlds import MEBIBYTE, POLICY, START, TARGET, observe

BASE_BYTES, RUN_BYTES = 150.0 * MEBIBYTE, 20.0 * MEBIBYTE


@dataclass
class Flow:
    """Work as a fluid, in steps of a second, decided every `interval_seconds`; `delivers`: pods take their settings."""

    arrivals: Callable[[float], float]
    """Runs per second at so many seconds from the start."""
    service_seconds: float = 2.0
    policy: Policy = POLICY
    target: Target = TARGET
    start_up_seconds: float = 30.0
    delivers: bool = True
    own_workers: int = 4
    """What pods work under before, or without, a delivery."""
    memory: Memory = field(default_factory=Memory)
    now: float = START
    work: float = 0.0
    decisions: list[Decision] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """At every decision: how long the last run in the queue is going to wait, seconds."""
    seen: list[Observation] = field(default_factory=list)
    seen_ready: list[int] = field(default_factory=list)
    """Ready pods at every decision."""
    _ended: list[float] = field(default_factory=lambda: [0.0])
    _coming: list[tuple[float, int]] = field(default_factory=list)

    @property
    def workers(self) -> int:
        settings = self.memory.settings
        chosen = settings.workers if settings is not None else None
        return chosen if self.delivers and chosen is not None else self.own_workers

    def run(self, seconds: float) -> Decision:
        """Decide until so many seconds have passed; the last decision."""
        until = self.now + seconds
        while self.now < until:
            for _ in range(self.policy.interval_seconds):
                self._second()
            self._decide()
        return self.decisions[-1]

    def observation(self) -> Observation:
        """What Prometheus shows now."""
        pods = self.target.ready_replicas
        slots = self.workers * max(pods, 1)
        busy = min(self.work, slots)
        held = BASE_BYTES + RUN_BYTES * busy / max(pods, 1)
        wait = max(self.work - slots, 0.0) * self.service_seconds / slots
        return observe(
            self.now,
            in_flight=busy,
            in_flight_max=busy / max(pods, 1),
            queue_depth=self.work - busy,
            queue_wait=wait,
            worker_limit=float(self.workers),
            service_time=self.service_seconds,
            memory_max_bytes=held,
            memory_mean_bytes=held,
            cache_bytes=0.0,
            upstream_call_rate=self._rate(60),
            pods_reporting=float(pods),
            targets=float(pods),
            targets_up=float(pods),
            **{f"request_rate_{window}": self._rate(window) for window in (60, 120, 300, 600)},
        )

    def _second(self) -> None:
        self.now += 1.0
        ready = [pods for at, pods in self._coming if at <= self.now]
        self._coming = [each for each in self._coming if each[0] > self.now]
        more = min(self.target.ready_replicas + sum(ready), self.target.replicas)
        self.target = replace(self.target, ready_replicas=more)
        ended = min(self.work, self.workers * self.target.ready_replicas) / self.service_seconds
        ended = min(ended, self.work)
        self.work += self.arrivals(self.now - START) - ended
        self._ended.append(self._ended[-1] + ended)

    def _rate(self, window: int) -> float:
        """As Prometheus has it: what came within the window, over all of it."""
        before = self._ended[-1 - window] if len(self._ended) > window else 0.0
        return (self._ended[-1] - before) / window

    def _decide(self) -> None:
        seen = self.observation()
        decision = decide(self.policy, self.target, seen, self.memory, self.now)
        self.memory = decision.memory
        self.decisions.append(decision)
        self.seen.append(seen)
        self.seen_ready.append(self.target.ready_replicas)
        self.waits.append(seen.value(SignalName.QUEUE_WAIT) or 0.0)
        wanted = decision.settings.replicas
        if wanted > self.target.replicas:
            self._coming.append((self.now + self.start_up_seconds, wanted - self.target.replicas))
        ready = min(self.target.ready_replicas, wanted)
        self.target = replace(self.target, replicas=wanted, ready_replicas=ready)
