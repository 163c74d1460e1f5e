"""Every knob's way from a signal of real agents to the pods, and what pauses and modes stop on it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agentscaler.kube.paths import CONFIG_MAPS
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS
from tests.component.operator_proxy import Fault
from tests.component.operator_service import NAMESPACE, Service, template
from tests.component.operator_stage import Stage, growing, shared_stage

MEBIBYTE = 2**20
MEMORY_LIMIT_BYTES = 640 * MEBIBYTE
SMALL_RUNS, LARGE_RUNS = 0.01, 0.29
REAL_RUNS = ("--memory-scale", "1", "--memory-tail-quantile", "0.3")
"""A run holds 210 MB times the factor of its caller, peaks cut; a cached result about 1 MB."""
ALL_RECOMMEND = {knob: {"mode": "Recommend"} for knob in ("replicas", "workers", "cache", "circuitBreaker")}
ALL_AUTO = {knob: {"mode": "Auto"} for knob in ("replicas", "workers", "cache", "circuitBreaker")}


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


@pytest.fixture(scope="module", autouse=True)
def services(stage: Stage) -> dict[str, Service]:
    """All of this module at once: while one fills its cache, another one's provider falls ill."""
    ill = stage.service(
        "ill",
        prometheus=Fault.SLOW,
        template=template(args=("--upstream", stage.ill_upstream.url)),
        signals={"windowSeconds": 60},
        tuning={
            "intervalSeconds": 5,
            "replicas": {"min": 1, "max": 4},
            "workers": {"min": 2, "max": 8, "initial": 4},
            "circuitBreaker": {
                "failureRateThresholdPercent": {"min": 20, "max": 80, "initial": 50},
                "waitDurationInOpenStateSeconds": {"min": 5, "max": 60, "initial": 5},
            },
        },
    )
    heavy = stage.service(
        "heavy",
        prometheus=Fault.REFUSING,
        template=template(memory=f"{MEMORY_LIMIT_BYTES // MEBIBYTE}Mi", time_scale=0.1, args=REAL_RUNS),
        signals={"windowSeconds": 60},
        tuning={
            "intervalSeconds": 5,
            "replicas": {"min": 1, "max": 1},
            "workers": {"min": 2, "max": 8, "initial": 8},
            "cache": {"min": "8Mi", "max": "48Mi", "initial": "48Mi"},
        },
    )
    careless = stage.service(
        "careless",
        # Its own gate knows of no limit, and nobody tells the operator what it holds.
        template=template(memory="400Mi", time_scale=0.1, args=(*REAL_RUNS, "--memory-limit-bytes", str(2**40))),
        signals={"windowSeconds": 60, "overrides": {"memory": {"metric": "untold", "kind": "Gauge"}}},
        tuning={
            "intervalSeconds": 5,
            "replicas": {"min": 1, "max": 1},
            "workers": {"min": 2, "max": 8, "initial": 8},
        },
    )
    held = stage.service(
        "held",
        replicas=1,
        tuning={
            **ALL_RECOMMEND,
            "intervalSeconds": 5,
            "replicas": {"mode": "Recommend", "min": 1, "max": 3},
            "workers": {"mode": "Recommend", "min": 2, "max": 8, "initial": 2},
        },
    )
    edited = growing(stage, "edited", prometheus=Fault.GARBAGE)
    found = {service.name: service for service in (ill, heavy, careless, held, edited)}
    for service in found.values():
        service.until_serving()
    ill.load(1)
    heavy.load(6, SMALL_RUNS)
    careless.load(6, SMALL_RUNS)
    held.load(6)
    return found


def test_advice_alone_is_given_and_not_followed(services: dict[str, Service]) -> None:
    held = services["held"]
    held.until(lambda: held.status.get("recommended", {}).get("replicas", 0) > 1, "advice on replicas")
    held.until(lambda: held.status.get("recommended", {}).get("workers", 0) > 2, "advice on workers")
    assert held.condition("ScalingActive")["reason"] == "RecommendOnly"
    assert {(each.replicas, each.workers) for each in held.seen()} == {(1, 2)}
    held.until(lambda: held.metric("agent_worker_limit") == [2], "the same workers in force")


def test_a_pause_stops_its_direction_and_no_other(services: dict[str, Service]) -> None:
    held = services["held"]
    held.until(lambda: held.status.get("recommended", {}).get("replicas", 0) > 1, "advice on replicas")
    held.until_edited(paused=True, tuning=ALL_AUTO)
    held.until_condition("ScalingActive", "False", "Paused")
    held.until_decided()
    held.until_edited(paused=False, pausedScaleOut=True)
    held.until_condition("ScalingActive", "True")
    held.until_decided()
    assert {(each.replicas, each.workers) for each in held.seen()} == {(1, 2)}
    held.until_edited(pausedScaleOut=False, pausedScaleIn=True)
    held.until_size(3)
    held.until(lambda: any(limit > 2 for limit in held.metric("agent_worker_limit")), "more workers in force")
    held.load(0)


def test_an_outage_of_the_provider_moves_the_breaker_and_no_replica(stage: Stage, services: dict[str, Service]) -> None:
    ill = services["ill"]
    breaker = ill.tuning["circuitBreaker"]
    assert breaker["failureRateThresholdPercent"] == 50
    before, since = ill.seen()[-1], time.time()
    stage.ill_upstream.mode(mode="outage")
    ill.until(lambda: ill.tuning["circuitBreaker"]["failureRateThresholdPercent"] < 50, "a tighter breaker")
    generation = ill.tuning["generation"]
    ill.until(lambda: ill.lowest("agent_tuning_applied_generation") >= generation, "the breaker in force")
    ill.until(lambda: ill.lowest("agent_breaker_state") >= 1, "open breakers")
    ill.until(lambda: ill.status.get("diagnosis") == "DependencyBound", "the diagnosis")
    seen = ill.seen(since)
    assert {each.replicas for each in seen} == {before.replicas}
    # Until the outage shows, workers may still follow the load from before it.
    outage = [each for each in seen if each.tuning["circuitBreaker"]["failureRateThresholdPercent"] < 50]
    assert max(each.workers for each in outage) == outage[0].workers


def test_memory_pressure_takes_the_cache_first_and_then_workers(services: dict[str, Service]) -> None:
    heavy = services["heavy"]
    heavy.until(lambda: heavy.lowest("agent_cache_bytes") > 40 * MEBIBYTE, "a full cache", 2 * PATIENCE_SECONDS)
    heavy.until(lambda: heavy.metric("agent_worker_limit") == [8], "all workers")
    kills, since = heavy.stage.fleet.stats()["totals"].get("oom_kills", 0), time.time()
    heavy.load(12, LARGE_RUNS)
    heavy.until(lambda: heavy.highest("agent_worker_limit") < 8, "fewer workers in force")
    heavy.until(lambda: heavy.highest("agent_cache_limit_bytes") < 24 * MEBIBYTE, "a smaller cache in force")
    goal = 0.8 * MEMORY_LIMIT_BYTES
    heavy.until(lambda: heavy.highest("process_resident_memory_bytes") < goal, "memory inside its objective")
    heavy.until(lambda: any(each.workers < 8 for each in heavy.seen(since)), "the cut seen by the watcher")
    seen = heavy.seen(since)
    cache_cut = next(at for at, each in enumerate(seen) if each.tuning["cache"]["maxBytes"] < 48 * MEBIBYTE)
    workers_cut = next(at for at, each in enumerate(seen) if each.workers < 8)
    assert cache_cut <= workers_cut
    assert heavy.stage.fleet.stats()["totals"].get("oom_kills", 0) == kills
    heavy.load(6, SMALL_RUNS)


def test_a_pod_that_is_killed_for_memory_gets_fewer_workers_until_it_lives(
    stage: Stage, services: dict[str, Service]
) -> None:
    careless = services["careless"]
    careless.until(lambda: careless.metric("agent_worker_limit") == [8], "all workers")
    careless.load(12, LARGE_RUNS)  # eight of them need 550 MB, four need 300
    careless.until(lambda: careless.tuning["workers"]["maxConcurrent"] < 8, "fewer workers", 2 * PATIENCE_SECONDS)
    steps = [step for record in stage.records("careless") for step in record["decision"]["steps"]]
    told = next(step["message"] for step in steps if step["rule"] == "survive-kills")
    assert told == "pods are killed for memory, half of them or one again and again: 4 workers for now"
    # Eight at once have killed every process before.
    careless.until(lambda: careless.lowest("agent_queue_wait_seconds_count") >= 40, "a process that has done forty")
    assert careless.metric("agent_worker_limit") == [4]
    careless.load(0)


def test_hand_edited_settings_are_put_back_in_the_agents_too(stage: Stage, services: dict[str, Service]) -> None:
    service = services["edited"]
    before = service.tuning
    path = CONFIG_MAPS.path(NAMESPACE, "edited-settings")
    stage.merge(path, {"data": {"tuning.json": '{"generation":99,"workers":{"maxConcurrent":64}}'}})
    service.until(lambda: service.tuning["workers"] == before["workers"], "the settings as they were")
    assert service.tuning["generation"] > before["generation"]
    service.until(
        lambda: service.metric("agent_tuning_applied_generation") == [service.tuning["generation"]],
        "the settings in force",
    )
    service.until(lambda: service.metric("agent_worker_limit") == [2], "the workers in force")
