"""One run: a trace, a policy, a variant and a seed give a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite

from agentscaler.core.settings import Breaker
from agentscaler.simulate import policies
from agentscaler.simulate import state as c
from agentscaler.simulate.clairvoyant import clairvoyant_hours
from agentscaler.simulate.model import RESILIENCE4J, Variant, Workers
from agentscaler.simulate.policies import Policy
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.score import Actions, Row, score
from agentscaler.simulate.state import Floats
from agentscaler.simulate.workload import Workload, draw
from agentscaler.simulate.world import Orders, World

LAST_WAITS_SECONDS = 60.0
"""After the trace's end time goes on for so long, unbilled, until the last waits have ended."""


@dataclass(slots=True)
class Timeline:
    """A run step by step; one entry in each list for each decision."""

    seconds: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    arrived: list[int] = field(default_factory=list)
    """This and what follows counts from the start of the run."""
    late: list[int] = field(default_factory=list)
    timed_out: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    oom_kills: list[int] = field(default_factory=list)
    violations: list[int] = field(default_factory=list)
    pod_seconds: list[float] = field(default_factory=list)

    def note(self, world: World, ready: int) -> None:
        """Write down the present."""
        ints = world.state.ints
        self.seconds.append(world.now)
        self.ready.append(ready)
        self.pod_seconds.append(world.billed_seconds())
        for name, index in _NOTED.items():
            getattr(self, name).append(int(ints[index]))


_NOTED = {
    "running": c.RUNNING_N,
    "queued": c.QUEUED_N,
    "wanted": c.WANTED,
    "workers": c.WORKERS,
    "arrived": c.ARRIVED,
    "late": c.LATE,
    "timed_out": c.TIMED_OUT_N,
    "failed": c.FAILED_N,
    "lost": c.KILLED_N,
    "refused": c.REFUSED_N,
    "oom_kills": c.OOM_KILLS,
    "violations": c.VIOLATIONS,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A workload that policies are compared on, with what the clairvoyant pays for it."""

    workload: Workload
    variant: Variant
    clairvoyant_hours: float | None = None
    hindsight_hours: float | None = None


def prepare(trace: Trace, variant: Variant, seed: int, calls: Floats | None = None, *, reference: bool = True) -> Case:
    """Draw the workload, and find what it costs a clairvoyant (unless `reference` is False)."""
    workload = draw(trace, variant, seed, calls)
    hours = clairvoyant_hours(workload, variant.model) if reference else inf
    return Case(workload, variant, hours if isfinite(hours) else None)


def simulate(case: Case, policy: str | Policy, timeline: Timeline | None = None, **parameters: float) -> Row:
    """Run a policy on a case.

    Args:
        case: of `prepare`.
        policy: a name of `policies.names()`, or a fresh policy object.
        timeline: is filled, when given.
        parameters: of a policy that is named.
    """
    chosen = policies.make(policy, **parameters) if isinstance(policy, str) else policy
    world, actions, hours = play(case, chosen, timeline)
    return score(
        world,
        actions,
        policy=chosen.name,
        replica_hours=hours,
        clairvoyant_hours=case.clairvoyant_hours,
        hindsight_hours=case.hindsight_hours,
    )


def play(case: Case, policy: Policy, timeline: Timeline | None = None) -> tuple[World, Actions, float]:
    """The finished world, what was ordered, and the replica-hours."""
    workload, variant = case.workload, case.variant
    scale_in, live, breaker = policies.traits(policy)
    world = World(workload, variant, breaker=breaker, scale_in=scale_in, live=live)
    begin = getattr(policy, "begin", None)
    if begin is not None:
        begin(variant, world.first_replicas)
    end, now = workload.duration_seconds, world.decision_phase
    replicas, workers = world.first_replicas, variant.model.workers
    changes: list[tuple[float, int]] = []
    worker_changes = 0
    while now < end:
        world.advance(now)
        view = world.view()
        if timeline is not None:
            timeline.note(world, view.ready_replicas)
        orders = policy.act(view, now)
        if variant.workers is Workers.FROZEN and not getattr(policy, "fixed_pair", False):
            orders = Orders(orders.replicas, None, orders.cache_bytes, orders.breaker)
        world.order(orders)
        if orders.replicas != replicas:
            changes.append((now, orders.replicas - replicas))
            replicas = orders.replicas
        if orders.workers is not None and orders.workers != workers:
            worker_changes += 1
            workers = orders.workers
        now += policy.interval_seconds
    world.advance(end)
    hours = world.billed_seconds() / 3600
    world.state.world[c.NEXT_SCRAPE] = inf
    world.advance(end + LAST_WAITS_SECONDS)
    return world, Actions(changes, worker_changes), hours


__all__ = ["RESILIENCE4J", "Breaker", "Case", "Timeline", "play", "prepare", "simulate"]
