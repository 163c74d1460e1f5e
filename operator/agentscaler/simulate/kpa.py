"""Knative's Pod Autoscaler as a baseline, with its defaults. It alone reads statistics of every second."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor

from agentscaler.simulate.model import Variant
from agentscaler.simulate.scrape import View
from agentscaler.simulate.world import Orders

TICK_SECONDS = 2.0
STABLE_SECONDS = 60.0
PANIC_PERCENT = 10.0
PANIC_THRESHOLD = 2.0
TARGET_UTILIZATION = 0.7
LEAST_TARGET = 0.01
MAX_REPLICAS = 1000


@dataclass
class Highest:
    """The highest of the values of the last ticks."""

    _values: list[tuple[int, int]] = field(default_factory=list)

    def record(self, tick: int, value: int, span: int) -> int:
        """Take a value in; the highest of those less than `span` ticks old."""
        self._values = [(at, held) for at, held in self._values if tick - at < span and held > value]
        self._values.append((tick, value))
        return self._values[0][1]


@dataclass
class Decider:
    """The rule of `autoscaler.go`: panic mode, rates of change, delay. Concurrency in requests.

    Attributes:
        target: concurrency that one pod is to have.
        stable_seconds: panic lasts so long after its last cause.
        panic_threshold: desired over ready pods from which on it panics.
        max_up_rate: at most so many times the ready pods.
        max_down_rate: at least the ready pods divided by this.
        delay_seconds: a high result holds off a lower one for so long.
        activation_scale: where traffic asks for any pod, at least so many.
        reachable: whether the revision takes traffic; else it may go down at once.
    """

    target: float
    stable_seconds: float = STABLE_SECONDS
    panic_threshold: float = PANIC_THRESHOLD
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    delay_seconds: float = 0.0
    activation_scale: int = 1
    reachable: bool = True
    panic_since: float | None = None
    panic_pods: int = 0
    _held: Highest = field(default_factory=Highest)

    def begin(self, ready: int, now: float) -> None:
        """Start with so many ready pods; with more than one in panic, so that its own restart shrinks nothing."""
        self.panic_since = now if ready > 1 else None
        self.panic_pods = ready

    def step(self, ready: int, stable: float, panic: float, now: float) -> int:
        """Pods that are wanted, for the average concurrency over the stable and over the panic window."""
        pods = max(1, ready)
        up = ceil(self.max_up_rate * pods)
        down = floor(pods / self.max_down_rate) if self.reachable else 0
        raw_stable, raw_panic = ceil(stable / self.target), ceil(panic / self.target)
        wanted, urgent = (min(max(raw, down), up) for raw in (raw_stable, raw_panic))
        if self.activation_scale > 1:
            wanted = max(wanted, self.activation_scale) if raw_stable > 0 else wanted
            urgent = max(urgent, self.activation_scale) if raw_panic > 0 else urgent
        if raw_panic / pods >= self.panic_threshold:
            self.panic_since = now
        elif self.panic_since is not None and self.panic_since + self.stable_seconds < now:
            self.panic_since, self.panic_pods = None, 0
        if self.panic_since is not None:
            self.panic_pods = max(self.panic_pods, wanted, urgent)
            wanted = self.panic_pods
        if not (self.reachable and self.delay_seconds > 0):
            return wanted
        return self._held.record(floor(now / TICK_SECONDS), wanted, ceil(self.delay_seconds / TICK_SECONDS))


@dataclass
class Kpa:
    """Knative Serving's autoscaler for a revision with as many `containerConcurrency` as workers.

    Attributes:
        target: share of the workers that one pod is to use.
        window_seconds: the stable window; the panic window is a tenth of it.
        workers: a fixed worker limit; None: as the service has it.
    """

    target: float = TARGET_UTILIZATION
    window_seconds: float = STABLE_SECONDS
    workers: int | None = None
    minimum: int = 1
    maximum: int = MAX_REPLICAS
    name: str = "kpa"
    interval_seconds: float = TICK_SECONDS
    live: bool = True

    def begin(self, variant: Variant, replicas: int) -> None:
        """Start with the pods that run."""
        self.fixed_pair = self.workers is not None
        full = variant.model.workers if self.workers is None else self.workers
        self._decider = Decider(max(LEAST_TARGET, self.target * full), stable_seconds=self.window_seconds)
        self._decider.begin(replicas, 0.0)
        self._stable = max(1, round(self.window_seconds))
        self._panic = max(1, round(self.window_seconds * PANIC_PERCENT / 100))

    def act(self, view: View, now: float) -> Orders:
        """One tick. Without any data the last order stands."""
        live = view.live
        if live is None or len(live.concurrency) == 0:
            return Orders(view.replicas, self.workers)
        stable = float(live.concurrency[-self._stable :].mean())
        panic = float(live.concurrency[-self._panic :].mean())
        wanted = self._decider.step(view.ready_replicas, stable, panic, now)
        return Orders(min(max(wanted, self.minimum), self.maximum), self.workers)


def kpa(
    target: float = TARGET_UTILIZATION, window_seconds: float = STABLE_SECONDS, workers: float | None = None
) -> Kpa:
    """Knative's autoscaler with its defaults."""
    return Kpa(target, window_seconds, None if workers is None else int(workers))
