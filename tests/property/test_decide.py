"""What holds for every object, whatever the signals say."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from agentscaler.core.capacity import LEAST_CACHE_CUT
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Learned, Memory, Moments
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.policy import (
    Mode,
    Policy,
)
from agentscaler.core.recall import recall
from agentscaler.core.schedules import heed_schedules
from agentscaler.core.target import Target
from agentscaler.kube.codec import decode, encode
from tests.effort import examples
from tests.flow import Flow
from tests.property.strategies import policies, stories
from tests.worlds import MEBIBYTE, POLICY, START, observe

DECISION = TypeAdapter(Decision)


@given(stories())
@examples(30)
def test_no_knob_leaves_the_users_bounds(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    for decision, policy, target, _, _, now in story:
        s = decision.settings
        if policy.replicas.manual == 0:
            assert s.replicas == (target.replicas if target.conflict else 0)
            continue
        bounds = heed_schedules(policy, target.replicas, now).replicas
        if policy.replicas.mode is Mode.AUTO and not target.conflict:
            assert bounds.min <= s.replicas <= bounds.max
        if policy.workers.mode is Mode.AUTO and s.workers is not None:
            assert policy.workers.min <= s.workers <= policy.workers.max
        for value, limits, mode in (
            (s.cache.max_bytes, policy.cache.max_bytes, policy.cache.mode),
            (s.cache.ttl_seconds, policy.cache.ttl_seconds, policy.cache.mode),
            (
                s.breaker.failure_rate_threshold_percent,
                policy.breaker.failure_rate_threshold_percent,
                policy.breaker.mode,
            ),
            (
                s.breaker.wait_duration_in_open_state_seconds,
                policy.breaker.wait_duration_in_open_state_seconds,
                policy.breaker.mode,
            ),
        ):
            if limits is None or mode is not Mode.AUTO:
                continue
            assert value is None or limits.min <= value <= limits.max


@given(stories(auto=True), st.sampled_from([h for h in Health if h not in {Health.FRESH, Health.IDLE}]))
@examples(30)
def test_unknown_demand_never_lowers_capacity(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]], health: Health
) -> None:
    last, policy, target, observation, _, now = story[-1]
    target = replace(target, replicas=last.settings.replicas, conflict=False)
    lost: dict[SignalName, Signal] = {
        n: s for n, s in observation.signals.items() if n is not SignalName.MEMORY_MAX_BYTES
    }
    for name in (SignalName.IN_FLIGHT, SignalName.QUEUE_DEPTH, SignalName.REQUEST_RATE_60):
        lost[name] = Signal(None, health)
    for _ in range(3):
        now += 200
        decision = decide(policy, target, Observation(now, lost), last.memory, now)
        most = heed_schedules(policy, target.replicas, now).replicas.max
        assert decision.settings.replicas >= min(last.settings.replicas, most)
        if last.settings.workers is not None and decision.settings.workers is not None:
            danger = [step for step in decision.steps if step.rule in {"memory-invariant", "survive-kills"}]
            assert danger or decision.settings.workers >= last.settings.workers
        last = decision


WORK = st.tuples(st.floats(0, 500), st.floats(0, 200))


@given(policies(auto=True), WORK, WORK, st.integers(1, 60))
@examples(100)
def test_capacity_is_monotone_in_demand(
    policy: Policy, some: tuple[float, float], more: tuple[float, float], replicas: int
) -> None:
    """From equal memory, more work in the system never gets fewer workers in all."""

    def capacity(in_flight: float, queued: float) -> int:
        fresh: dict[SignalName, float] = {
            SignalName.IN_FLIGHT: in_flight,
            SignalName.QUEUE_DEPTH: queued,
            SignalName.REQUEST_RATE_60: 3.0,
            SignalName.SERVICE_TIME: 4.0,
            SignalName.WORKER_LIMIT: 4.0,
        }
        seen = Observation(START, {SignalName(n): Signal(v, Health.FRESH, START) for n, v in fresh.items()})
        memory = Memory(known_since=START - 1000, manual_replicas=1, decided_at=START - 15)
        decision = decide(policy, Target(replicas, replicas), seen, memory, START)
        return decision.settings.replicas * (decision.settings.workers or 1)

    assert capacity(some[0] + more[0], some[1] + more[1]) >= capacity(*some)


def law(base_bytes: float, per_run_bytes: float) -> Learned:
    """A service that holds exactly this: pairs of 0, 2 and 4 runs, ten of each."""
    n, x, xx, b, m = 30.0, 60.0, 200.0, base_bytes, per_run_bytes
    return Learned(memory=Moments(n, x, n * b + x * m, xx, x * b + xx * m, n * b * b + 2 * b * m * x + m * m * xx))


@given(
    policies(auto=True),
    st.floats(10 * MEBIBYTE, 900 * MEBIBYTE),
    st.floats(MEBIBYTE, 200 * MEBIBYTE),
    st.tuples(st.integers(0, 60), st.integers(0, 200)),
)
@examples(200)
def test_base_and_workers_and_cache_fit_the_objective(
    policy: Policy, base: float, per_run: float, work: tuple[int, int]
) -> None:
    """Where they do not, workers and cache have nothing left to give."""
    limit = 1024 * MEBIBYTE
    policy = replace(policy, objectives=replace(policy.objectives, memory_ratio=0.8))
    budget, held = 0.8 * limit, base + 2 * per_run
    assume(held <= budget)  # beyond it stands pressure, which is cut step by step
    pods = max(work[0] / 2, 1.0)
    seen = observe(
        START,
        in_flight=work[0],
        in_flight_max=2.0,
        queue_depth=work[1],
        pods_reporting=pods,
        memory_mean_bytes=base + work[0] / pods * per_run,  # the law holds in this tick too
        memory_max_bytes=held,
        cache_bytes=0.0,
    )
    memory = Memory(learned=law(base, per_run), known_since=START - 9999, manual_replicas=1, decided_at=START - 5)
    decision = decide(policy, Target(1, 1, memory_limit_bytes=limit), seen, memory, START)
    workers, cache = decision.settings.workers, decision.settings.cache.max_bytes or 0
    assert workers is not None
    fits = base + workers * per_run + cache <= 1.06 * budget
    least = policy.cache.max_bytes.min if policy.cache.max_bytes is not None else 0
    busy = max(policy.workers.initial or 4, policy.workers.min)
    crumbs = least / (1 - LEAST_CACHE_CUT)  # a smaller cut is not worth a delivery
    nothing_left = cache <= crumbs and workers <= max(policy.workers.min, busy // 2)
    assert fits or nothing_left


@given(stories(auto=True))
@examples(30)
def test_a_restart_between_any_two_ticks_never_gives_less_capacity(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    """Status keeps what it keeps, Prometheus gives back the windows, and nothing shrinks for a full window."""
    for index in range(1, len(story)):
        decision, policy, target, observation, memory, now = story[index]
        kept = decode(encode(memory))
        history = tuple(past for _, _, _, past, _, _ in story[:index] if now - past.evaluated_at < 600)
        recalled = recall(policy, target, history, kept, in_force=memory.settings)
        again = decide(policy, target, observation, recalled, now)
        assert again.settings.replicas >= min(decision.settings.replicas, target.replicas)
        if decision.settings.replicas > target.replicas:
            assert again.settings.replicas >= decision.settings.replicas


@given(stories())
@examples(30)
def test_a_decision_survives_being_written_down_and_is_the_same_again(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    memories, observed = TypeAdapter(Memory), TypeAdapter(Observation)
    for decision, policy, target, observation, memory, now in story:
        read_back = memories.validate_json(memories.dump_json(memory))
        seen_again = observed.validate_json(observed.dump_json(observation))
        assert decide(policy, target, seen_again, read_back, now) == decision
        assert DECISION.validate_json(DECISION.dump_json(decision)) == decision


@given(stories())
@examples(30)
def test_a_full_pause_moves_nothing_inside_the_bounds(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    for _, policy, target, observation, memory, now in story:
        paused = replace(policy, paused_scale_in=True, paused_scale_out=True)
        if policy.replicas.mode is not Mode.AUTO or policy.replicas.manual == 0:
            continue
        decision = decide(paused, target, observation, memory, now)
        inside = policy.replicas.min <= target.replicas <= policy.replicas.max
        assert not inside or decision.settings.replicas == target.replicas


LOADS = st.tuples(st.floats(0.5, 8), st.floats(0, 0.01), st.floats(0.5, 8), st.integers(60, 1500))
"""A base, a rise per second, a step, and when it comes; runs per second."""


@given(LOADS, st.integers(120, 1500), st.booleans())
@examples(30)
def test_a_restart_under_a_rising_load_orders_no_fewer(
    load: tuple[float, float, float, int], seconds: int, status_lost: bool
) -> None:
    base, rise, step, at = load
    policy = replace(POLICY, interval_seconds=15, replicas=replace(POLICY.replicas, max=100))
    flow = Flow(lambda t: base + rise * t + (step if t >= at else 0.0), policy=policy)
    flow.run(seconds)
    without = flow.decisions[-1]
    before = flow.decisions[-2].memory
    kept = Memory() if status_lost else decode(encode(before))
    past = tuple(seen for seen in flow.seen[:-1] if flow.now - seen.evaluated_at <= 620)
    target = replace(flow.target, replicas=without.current.replicas, ready_replicas=flow.seen_ready[-1])
    recalled = recall(policy, target, past, kept, in_force=before.settings)
    again = decide(policy, target, flow.seen[-1], recalled, flow.now)
    assert again.settings.replicas >= min(without.settings.replicas, target.replicas)
    if not status_lost:
        assert again.settings.replicas >= without.settings.replicas


@given(stories())
@examples(20)
def test_what_is_remembered_stays_small(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    decision, policy, target, _, memory, now = story[-1]
    seen = observe(now, in_flight=1e6, queue_depth=1e6, request_rate_60=1e5, request_rate_300=1e5)
    for tick in range(80):
        now += 5.0
        shaken = replace(target, replicas=decision.settings.replicas)
        wave = replace(seen, evaluated_at=now) if tick % 2 else observe(now)
        decision = decide(policy, shaken, wave, decision.memory, now)
        memory = decision.memory
    foresight = memory.foresight
    assert foresight.work[-1].at - foresight.work[0].at <= 620.0
    assert len(foresight.pending) <= (900 + 60) / 5
    assert len(foresight.errors) in {0, 6}
    assert all(now - each.at <= 900 for each in memory.shrunk_from)
    assert 0 <= memory.action_tokens <= 6
    assert memory.cut_tokens >= 0
    assert len(json.dumps(encode(memory), separators=(",", ":"))) <= 6 * 1024


@given(stories())
@examples(20)
def test_deciding_changes_none_of_its_inputs(
    story: list[tuple[Decision, Policy, Target, Observation, Memory, float]],
) -> None:
    for _, policy, target, observation, memory, now in story:
        before = deepcopy((policy, target, observation, memory))
        assert decide(policy, target, observation, memory, now) == decide(policy, target, observation, memory, now)
        assert (policy, target, observation, memory) == before
