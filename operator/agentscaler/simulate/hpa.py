"""The Horizontal Pod Autoscaler of Kubernetes 1.36 as a baseline, with its defaults and its own arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from agentscaler.core.hpa import (
    CPU_INITIALIZATION_SECONDS,
    READINESS_DELAY_SECONDS,
    Group,
    PodFacts,
    Usage,
    group,
    per_pod_replicas,
)
from agentscaler.core.memory import Change, Sample
from agentscaler.core.policy import PolicyType, ScalingRules, SelectPolicy
from agentscaler.core.shape import HPA_SCALE_DOWN, HPA_SCALE_UP, stabilized
from agentscaler.simulate.model import Variant
from agentscaler.simulate.scrape import View
from agentscaler.simulate.world import Orders

SYNC_SECONDS = 15.0
RATE_SECONDS = 60.0
MAX_REPLICAS = 1000
MOST_REPLICAS = 2**31 - 1
CPU_TARGET = 0.8
IN_FLIGHT_TARGET = 0.7


def rate_limit(current: int, rules: ScalingRules, changes: Sequence[Change], now: float, *, up: bool) -> int:
    """How far the policies of one direction let the replicas go now.

    In the HPA's floating point, where +10 % of 100 is 111; the product's own limits are exact.
    """
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    if not rules.policies:
        return MOST_REPLICAS if up else 0
    limits = []
    for policy in rules.policies:
        start = current - sum(c.amount for c in changes if now - c.at < policy.period_seconds)
        share = policy.value / 100
        if policy.type is PolicyType.PODS:
            limits.append(start + policy.value if up else start - policy.value)
        else:
            limits.append(ceil(start * (1 + share)) if up else int(start * (1 - share)))
    widest = rules.select_policy is SelectPolicy.MAX
    if up:
        return max(current, max(limits) if widest else min(limits))
    return min(current, min(limits) if widest else max(limits))


def limited(
    current: int,
    wanted: int,
    changes: Sequence[Change],
    now: float,
    *,
    minimum: int,
    maximum: int,
    up: ScalingRules = HPA_SCALE_UP,
    down: ScalingRules = HPA_SCALE_DOWN,
) -> int:
    """`wanted`, as far as policies and bounds allow from `current`."""
    if wanted > current:
        return min(wanted, maximum, rate_limit(current, up, changes, now, up=True))
    if wanted < current:
        return max(wanted, minimum, rate_limit(current, down, changes, now, up=False))
    return wanted


@dataclass
class Controller:
    """What the HPA's controller keeps of one object between its passes, and what it does with a recommendation."""

    minimum: int = 1
    maximum: int = MAX_REPLICAS
    up: ScalingRules = HPA_SCALE_UP
    down: ScalingRules = HPA_SCALE_DOWN
    recommendations: list[Sample] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def step(self, current: int, recommended: int | None, now: float) -> int:
        """Replicas after one pass. None: the metric could not be read, so nothing moves."""
        if current > self.maximum or current < self.minimum:
            return min(max(current, self.minimum), self.maximum)
        if recommended is None:
            return current
        if not self.recommendations:
            self.recommendations.append(Sample(now, float(current)))
        wanted = stabilized(
            current,
            recommended,
            ups=self.recommendations,
            downs=self.recommendations,
            up_window_seconds=self.up.stabilization_window_seconds,
            down_window_seconds=self.down.stabilization_window_seconds,
            now=now,
        )
        self._remember(recommended, now)
        after = limited(
            current,
            wanted,
            self.changes,
            now,
            minimum=self.minimum,
            maximum=self.maximum,
            up=self.up,
            down=self.down,
        )
        if after != current:
            self.changes.append(Change(now, after - current))
        return after

    def _remember(self, recommended: int, now: float) -> None:
        window = max(self.up.stabilization_window_seconds, self.down.stabilization_window_seconds)
        period = max((p.period_seconds for rules in (self.up, self.down) for p in rules.policies), default=0)
        self.recommendations = [s for s in self.recommendations if now - s.at < window]
        self.recommendations.append(Sample(now, float(recommended)))
        self.changes = [c for c in self.changes if now - c.at < period]


@dataclass
class Hpa:
    """The HPA on a metric of each pod: running work, or CPU.

    Attributes:
        target: share of the workers (running work) or of the CPU request, which is that of a full pod.
        stabilization_seconds: how long a high recommendation holds off a lower one.
        workers: a fixed worker limit, where workers are free and the pair is compared; None: as the service has it.
        cpu: whether the metric is CPU.
    """

    target: float = IN_FLIGHT_TARGET
    stabilization_seconds: float = 300.0
    workers: int | None = None
    cpu: bool = False
    minimum: int = 1
    maximum: int = MAX_REPLICAS
    name: str = "hpa-inflight"
    interval_seconds: float = SYNC_SECONDS

    def begin(self, variant: Variant, replicas: int) -> None:
        """The size that runs is the first recommendation."""
        self.fixed_pair = self.workers is not None
        down = replace(HPA_SCALE_DOWN, stabilization_window_seconds=int(self.stabilization_seconds))
        self._controller = Controller(self.minimum, self.maximum, down=down)
        self._controller.recommendations.append(Sample(0.0, float(replicas)))
        self._full = float(variant.model.workers if self.workers is None else self.workers)
        self._request = round(1000 * self._full * variant.model.cpu_mean_cores)

    def act(self, view: View, now: float) -> Orders:
        """One pass of the HPA's controller."""
        current = view.replicas
        after = self._controller.step(current, self._recommended(view, current, now), now)
        return Orders(after, self.workers)

    def _recommended(self, view: View, current: int, now: float) -> int | None:
        each = self._each(view)
        if each is None:
            return None
        groups = [self._group(pod.created_at, pod.ready_at, view.observed_at, now) for pod in view.pods]
        ready, unready, missing = (groups.count(g) for g in (Group.READY, Group.UNREADY, Group.MISSING))
        if not ready:
            return None
        request = (self._request,) if self.cpu else ()
        usage = Usage((each,) * ready, request * ready, None, (self._request,) * unready, (self._request,) * missing)
        target = round(100 * self.target) if self.cpu else round(1000 * self.target * self._full)
        return per_pod_replicas(current, usage, target)[0]

    def _each(self, view: View) -> int | None:
        """Mean usage of one pod in thousandths, over the minute that the adapter's query spans."""
        pods = view.mean("pods" if self.cpu else "serving_pods", RATE_SECONDS)
        total = view.rate("cpu_seconds", RATE_SECONDS) if self.cpu else view.mean("in_flight_serving", RATE_SECONDS)
        return int(1000 * total / pods) if pods and total is not None else None

    def _group(self, created_at: float, ready_at: float | None, observed_at: float, now: float) -> Group:
        """A pod that starts is pending until it is ready; one that became ready after the scrape has no sample."""
        seen = ready_at is not None and ready_at <= observed_at
        facts = PodFacts(
            pending=ready_at is None,
            started_at=created_at,
            ready=ready_at is not None,
            ready_changed_at=0.0 if ready_at is None else ready_at,
            sampled_at=observed_at if seen else None,
            sample_window_seconds=RATE_SECONDS,
        )
        return group(
            facts,
            now,
            cpu=self.cpu,
            initialization_seconds=CPU_INITIALIZATION_SECONDS,
            readiness_delay_seconds=READINESS_DELAY_SECONDS,
        )


def hpa_cpu(target: float = CPU_TARGET, stabilization_seconds: float = 300.0, workers: float | None = None) -> Hpa:
    """The HPA on CPU: 80 % of a request that is what a full pod uses."""
    fixed = None if workers is None else int(workers)
    return Hpa(target, stabilization_seconds, fixed, cpu=True, name="hpa-cpu")


def hpa_inflight(
    target: float = IN_FLIGHT_TARGET, stabilization_seconds: float = 300.0, workers: float | None = None
) -> Hpa:
    """The HPA on running work of each pod: 70 % of its workers."""
    return Hpa(target, stabilization_seconds, None if workers is None else int(workers))
