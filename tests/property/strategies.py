"""Policies, targets and observations as a property draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.policy import (
    Behavior,
    BreakerPolicy,
    CachePolicy,
    Fallback,
    Mode,
    Objectives,
    Policy,
    PolicyType,
    QuantileObjective,
    Range,
    ReplicaPolicy,
    ScalingPolicy,
    ScalingRules,
    Schedule,
    SelectPolicy,
    WorkerPolicy,
)
from agentscaler.core.target import Pod, Target
from tests.worlds import MEBIBYTE, START

RATIOS = {SignalName.ERROR_RATIO, SignalName.CACHE_HIT_RATIO}
BYTES = {SignalName.MEMORY_MAX_BYTES, SignalName.MEMORY_MEAN_BYTES, SignalName.CACHE_BYTES}
MODES = st.sampled_from(list(Mode))


def bounds(low: int, high: int) -> st.SearchStrategy[Range]:
    def build(triple: tuple[int, int, int]) -> Range:
        a, b, c = sorted(triple)
        return Range(a, c, b)

    number = st.integers(low, high)
    return st.builds(build, st.tuples(number, number, number))


RULES = st.builds(
    ScalingRules,
    stabilization_window_seconds=st.sampled_from([0, 15, 60, 300]),
    select_policy=st.sampled_from(list(SelectPolicy)),
    policies=st.lists(
        st.builds(
            ScalingPolicy, st.sampled_from(list(PolicyType)), st.integers(1, 200), st.sampled_from([15, 60, 300])
        ),
        max_size=2,
    ).map(tuple),
    tolerance=st.none() | st.floats(0, 0.5),
)

MINUTES = st.sampled_from([0, 60, 825, 826, 827, 828, 900, 1439])
"""Times of day about that of START, 13:46:40 UTC, so that schedules begin and end in a story."""


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    start, end = draw(st.lists(MINUTES, min_size=2, max_size=2, unique=True))
    low, high = sorted(draw(st.tuples(st.integers(0, 60), st.integers(0, 60))))
    zone = draw(st.sampled_from(["UTC", "UTC", "Asia/Tokyo", "Europe/Atlantis"]))
    given = draw(st.sampled_from([(low, high), (low, None), (None, high)]))
    return Schedule("one", tuple(range(7)), start, end, zone, *given)


@st.composite
def policies(draw: st.DrawFn, *, auto: bool = False) -> Policy:
    mode = st.just(Mode.AUTO) if auto else MODES
    replicas, workers = draw(bounds(1, 60)), draw(bounds(1, 64))
    return Policy(
        interval_seconds=draw(st.sampled_from([5, 15, 60])),
        window_seconds=draw(st.sampled_from([60, 120, 300, 600])),
        objectives=Objectives(
            queue_wait=draw(st.none() | st.builds(QuantileObjective, st.just(0.99), st.floats(0.1, 60))),
            error_ratio=draw(st.none() | st.floats(0.001, 0.2)),
            memory_ratio=draw(st.none() | st.floats(0.3, 0.95)),
        ),
        replicas=ReplicaPolicy(
            draw(mode),
            replicas.min,
            replicas.max,
            manual=1 if auto else draw(st.integers(0, 60)),
            behavior=None if auto else draw(st.none() | st.builds(Behavior, RULES, RULES)),
            external_target=draw(st.none() | st.floats(0.1, 100)),
            fallback=draw(st.none() | st.builds(Fallback, st.integers(1, 3), st.integers(1, 60))),
            schedules=tuple(draw(st.just([]) | st.lists(schedules(), max_size=2))),
        ),
        workers=WorkerPolicy(draw(mode), workers.min, workers.max, draw(st.none() | st.just(workers.initial))),
        cache=CachePolicy(draw(mode), draw(st.none() | bounds(MEBIBYTE, 2**33)), draw(st.none() | bounds(1, 86400))),
        breaker=BreakerPolicy(draw(mode), draw(st.none() | bounds(1, 100)), draw(st.none() | bounds(1, 600))),
        state_in_memory=not auto and draw(st.booleans()),
        paused_scale_in=not auto and draw(st.booleans()),
        paused_scale_out=not auto and draw(st.booleans()),
    )


@st.composite
def observations(draw: st.DrawFn, now: float) -> Observation:
    """Any mixture of healths and values, from nothing to absurd."""
    random = draw(st.randoms(use_true_random=False))
    trust = draw(st.sampled_from([1.0, 0.9, 0.3]))
    load = draw(st.sampled_from([0.0, 1.0, 30.0, 5000.0]))
    signals: dict[SignalName, Signal] = {}
    for name in SignalName:
        health = Health.FRESH if random.random() < trust else random.choice(list(Health))
        most = 1.0 if name in RATIOS else 2.0**34 if name in BYTES else load
        value = random.choice([0.0, 1.0, random.uniform(0, most)])
        signals[name] = Signal(
            value if health in {Health.FRESH, Health.PARTIAL} else None, health, now - random.uniform(0, 20)
        )
    return Observation(now, signals)


@st.composite
def targets(draw: st.DrawFn, replicas: int) -> Target:
    ready = draw(st.integers(0, replicas))
    pods = tuple(
        Pod(
            f"p{i}",
            START - 200,
            None if draw(st.booleans()) else START - 100,
            draw(st.sampled_from(["", "", "No"])),
            killed_at=draw(st.none() | st.none() | st.just(START - 50)),
        )
        for i in range(draw(st.integers(0, 3)))
    )
    return Target(
        replicas,
        ready,
        rolling_out=draw(st.booleans()),
        memory_limit_bytes=draw(st.none() | st.integers(MEBIBYTE, 2**34)),
        cpu_limit_cores=draw(st.none() | st.floats(0.1, 16)),
        pods=pods,
        conflict=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def stories(
    draw: st.DrawFn, *, auto: bool = False
) -> list[tuple[Decision, Policy, Target, Observation, Memory, float]]:
    """A few ticks of one object whose target obeys, and everything that went into each."""
    policy, memory, now = draw(policies(auto=auto)), Memory(), START
    replicas, story = draw(st.integers(0, 60)), []
    for _ in range(draw(st.integers(1, 6))):
        now += draw(st.sampled_from([5.0, 15.0, 130.0]))
        target, observation = draw(targets(replicas)), draw(observations(now))
        decision = decide(policy, target, observation, memory, now)
        story.append((decision, policy, target, observation, memory, now))
        memory, replicas = decision.memory, decision.settings.replicas
    return story
