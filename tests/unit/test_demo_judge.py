"""The demo's judgement, on timelines made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.demo.judge import Span, story, verdict
from e2e.demo.numbers import Number, numbers
from e2e.demo.plan import Act, Phase, manifest
from e2e.demo.stage import plain_objects
from e2e.demo.world import AgentSample, Delivered, PodsSample, Size, UpstreamSample, World
from e2e.harness.load_generator import Record

POLICY = manifest().policy
LIMIT = 320 * 2**20
SPIKE = Span(Phase("spike", 60, 5), 100, 160)
OUTAGE = Span(Phase("outage", 60, 1, ((50, Act.PROVIDER_WELL),), provider_ill=True), 200, 260)
ILL = ((200.0, 260.0),)
BLIND = Span(Phase("gone", 60, 1, blind=True), 300, 360)


def run(at: float, status: Any = "ok", wait: float | None = 0.1) -> Record:
    return Record(at, at + 1, status, 1.0, "pod-1", wait)


def tuned(workers: int, threshold: int = 50) -> dict[str, Any]:
    return {
        "workers": {"maxConcurrent": workers},
        "cache": {"maxBytes": 2**25, "ttlSeconds": 600},
        "circuitBreaker": {"failureRateThresholdPercent": threshold, "waitDurationInOpenStateSeconds": 10},
    }


def a_world() -> World:
    """A run as it should be."""
    world = World()
    world.sizes += [Size(90, 2, 2), Size(108, 6, 2), Size(120, 6, 6)]
    world.deliveries += [Delivered(80, 1, tuned(4)), Delivered(105, 2, tuned(14)), Delivered(210, 3, tuned(14, 20))]
    world.agents += [AgentSample(at, "pod-1", 4, 1, 0) for at in (99.0, 104.5)]
    world.agents += [AgentSample(106.5, "pod-1", 14, 2, 0)]
    world.upstream += [UpstreamSample(200, 0, 0), UpstreamSample(220, 60, 60), UpstreamSample(250, 70, 70)]
    world.blind_since = 302
    world.pods += [PodsSample(at, 2, 100 * 2**20, 0, 0) for at in (110.0, 150.0)]
    return world


def found(world: World, what: str) -> Number:
    spans = (SPIKE, OUTAGE, BLIND)
    verdicts = [verdict(POLICY, span, (), world, LIMIT) for span in spans]
    return next(n for n in numbers(world, spans, verdicts, None) if n.what.startswith(what))


def test_a_phase_without_late_or_failed_runs_is_kept() -> None:
    judged = verdict(POLICY, SPIKE, [run(110), run(120)], a_world(), LIMIT)
    assert judged.broken == ()
    assert judged.requests == 2


def test_more_late_runs_than_the_quantile_allows_break_the_phase() -> None:
    runs = [run(110, wait=3.5)] + [run(120)] * 18
    assert "queueWait" in verdict(POLICY, SPIKE, runs, a_world(), LIMIT).broken[0]
    assert not verdict(POLICY, SPIKE, [*runs, run(121)], a_world(), LIMIT).broken


def test_a_caller_that_gave_up_was_kept_waiting() -> None:
    judged = verdict(POLICY, SPIKE, [run(110, "timeout", None), *[run(120)] * 200], a_world(), LIMIT)
    assert judged.late_share == pytest.approx(1 / 201)


def test_runs_of_other_phases_do_not_count() -> None:
    assert verdict(POLICY, SPIKE, [run(99), run(160)], a_world(), LIMIT).requests == 0


def test_refused_runs_break_the_error_objective_unless_the_provider_is_ill() -> None:
    runs = [run(at, "rejected", None) for at in (110, 210)] + [run(at) for at in (111, 211)]
    well, ill = (verdict(POLICY, span, runs, a_world(), LIMIT, ill=ILL) for span in (SPIKE, OUTAGE))
    assert "errorRate" in well.broken[0]
    assert not ill.broken
    assert (ill.own_errors, ill.provider_errors) == (0, 1)


def test_a_run_under_way_when_the_provider_falls_ill_is_the_providers() -> None:
    calm = Span(Phase("calm", 50, 1), 150, 200)
    assert verdict(POLICY, calm, [run(199.5, "error")], a_world(), LIMIT, ill=ILL).provider_errors == 1
    assert verdict(POLICY, calm, [run(198.5, "error")], a_world(), LIMIT, ill=ILL).own_errors == 1


def test_a_lost_run_is_never_the_providers() -> None:
    judged = verdict(POLICY, OUTAGE, [run(210, "lost", None)], a_world(), LIMIT, ill=ILL)
    assert judged.own_errors == judged.lost == 1
    assert "errorRate" in judged.broken[0]


def test_memory_above_the_objective_is_forgiven_for_a_while_but_no_kill() -> None:
    def judged(*samples: PodsSample) -> tuple[str, ...]:
        world = a_world()
        world.pods[:] = samples
        return verdict(POLICY, SPIKE, [run(110)], world, LIMIT).broken

    high, low = int(0.9 * LIMIT), int(0.5 * LIMIT)
    assert not judged(PodsSample(105, 2, high, 0, 0), PodsSample(120, 2, low, 0, 0), PodsSample(155, 2, low, 0, 0))
    assert "memory" in judged(PodsSample(105, 2, high, 0, 0), PodsSample(155, 2, low, 0, 0))[0]
    assert "1 killed" in judged(PodsSample(105, 2, low, 0, 0), PodsSample(155, 2, low, 1, 0))[0]


def test_the_story_tells_what_moved_from_where_to_where() -> None:
    told = story(SPIKE, a_world())
    assert told.paths == {"replicas": "2 -> 6", "workers": "4 -> 14"}
    assert told.replicas == (2, 6)
    assert story(OUTAGE, a_world()).paths == {"circuitBreaker": "50%/10s -> 20%/10s"}
    assert story(BLIND, a_world()).paths == {}


def test_reaction_and_delivery_are_measured_from_what_agents_report() -> None:
    world = a_world()
    assert found(world, "spike: first extra workers").value == "6.5 s"
    assert found(world, "spike: replicas patched").value == "8.0 s"
    assert found(world, "a worker setting written").value == "1.5 s; 1.5 s of 1 writes"


def test_an_agent_that_never_takes_a_setting_misses_the_bar() -> None:
    world = a_world()
    world.agents[-1:] = [AgentSample(at, "pod-1", 4, 1, 0) for at in (106.5, 112.5)]
    assert found(world, "a worker setting written").good is False
    assert found(world, "spike: first extra workers").good is False


def test_a_shrink_in_the_dark_is_counted() -> None:
    world = a_world()
    assert found(world, "shrinks while the series or Prometheus were away: replicas").good
    world.sizes.append(Size(302.5, 5, 5))
    assert found(world, "shrinks while the series or Prometheus were away: replicas").good  # decided before
    world.sizes.append(Size(310, 4, 4))
    assert found(world, "shrinks while the series or Prometheus were away: replicas").value == "1"


def test_wasted_calls_must_fall_and_the_breaker_must_move() -> None:
    world = a_world()
    assert found(world, "wasted upstream calls").value == "180, 20, 84"
    assert found(world, "wasted upstream calls").good
    assert found(world, "breaker settings moved").good
    world.upstream[-1] = UpstreamSample(250, 900, 900)
    assert found(world, "wasted upstream calls").good is False


def test_a_knob_that_moved_for_the_wrong_reason_does_not_count() -> None:
    world = a_world()
    before = {"replicas": 2, "workers": 4, "cache": {}, "breaker": {}}
    decision = {"diagnosis": "MemoryBound", "current": before, "settings": before | {"replicas": 3}, "hpa_replicas": 2}
    world.records[110.0] = {"decision": decision}
    assert found(world, "replicas moved for").value == "no, for MemoryBound"
    decision["diagnosis"] = "WorkerBound"
    assert found(world, "replicas moved for").good


def test_the_reason_of_the_rule_that_moved_a_knob_counts_beside_the_diagnosis() -> None:
    world = a_world()
    before = {"replicas": 2, "workers": 4, "cache": {"max_bytes": 2}, "breaker": {}}
    step = {"rule": "memory-invariant", "knob": "cache", "reason": "MemoryLimited"}
    decision = {"diagnosis": "DependencyBound", "current": before, "settings": before | {"cache": {"max_bytes": 1}}}
    world.records[110.0] = {"decision": decision | {"hpa_replicas": 2}}
    assert found(world, "cache moved for").value == "no, for DependencyBound"
    world.records[110.0] = {"decision": decision | {"hpa_replicas": 2, "steps": [step]}}
    assert found(world, "cache moved for").good


def test_without_the_operator_the_start_values_of_the_manifest_are_rendered() -> None:
    config_map, deployment = plain_objects(manifest())
    assert deployment["spec"]["replicas"] == POLICY.replicas.min
    assert f'"maxConcurrent": {POLICY.workers.initial}' in config_map["data"]["tuning.json"]
    mounted = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert mounted == [{"name": "settings", "mountPath": "/etc/agentscaler"}]
