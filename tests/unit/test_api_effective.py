"""The effective policy: what the user said stands, everything else is a default that gives way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.api.spec import parse_spec
from agentscaler.core.policy import (
    Behavior,
    BreakerPolicy,
    CachePolicy,
    Mode,
    Objectives,
    Policy,
    PolicyType,
    QuantileObjective,
    Range,
    ReplicaPolicy,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
    WorkerPolicy,
)
from agentscaler.frameworks.choices import Delivery, container, delivery, framework, server
from agentscaler.frameworks.effective import DEFAULTS, effective
from tests.api_corpus import CASES, TARGET, Case, owned, tuned

MEBIBYTE = 2**20


def policy(spec: dict[str, Any], defaults: Policy = DEFAULTS) -> Policy:
    return effective(parse_spec(spec), defaults)


def test_who_says_nothing_gets_the_documented_defaults() -> None:
    assert policy(owned()) == Policy(
        interval_seconds=15,
        window_seconds=120,
        objectives=Objectives(
            queue_wait=QuantileObjective(0.99, 5.0), latency=None, error_ratio=0.01, memory_ratio=0.8
        ),
        replicas=ReplicaPolicy(mode=Mode.AUTO, min=1, max=10, manual=1, behavior=None),
        workers=WorkerPolicy(mode=Mode.AUTO, min=1, max=64, initial=None),
        cache=CachePolicy(mode=Mode.AUTO, max_bytes=Range(64 * MEBIBYTE, 1024 * MEBIBYTE), ttl_seconds=Range(60, 3600)),
        breaker=BreakerPolicy(
            mode=Mode.AUTO,
            failure_rate_threshold_percent=Range(20, 80),
            wait_duration_in_open_state_seconds=Range(5, 300),
        ),
        paused_scale_in=False,
        paused_scale_out=False,
    )


def test_empty_blocks_say_nothing() -> None:
    empty: dict[str, Any] = {"replicas": {}, "workers": {}, "cache": {"ttlSeconds": {}}, "circuitBreaker": {}}
    assert policy(owned(objectives={}, signals={}, delivery={}, tuning=empty)) == DEFAULTS


def test_everything_that_the_user_says_stands() -> None:
    said = policy(
        owned(
            replicas=4,
            objectives={
                "queueWait": {"quantile": "0.95", "targetMilliseconds": 250},
                "latency": {"quantile": ".5", "targetMilliseconds": 30000},
                "errorRate": {"targetPercent": "0.1"},
                "memory": {"targetPercent": "82.5"},
            },
            signals={"windowSeconds": 600},
            tuning={
                "intervalSeconds": 30,
                "replicas": {"mode": "Recommend", "min": 3, "max": 7},
                "workers": {"mode": "Off", "min": 2, "max": 9, "initial": 5},
                "cache": {
                    "mode": "Recommend",
                    "min": "1Mi",
                    "max": "1G",
                    "initial": "2Mi",
                    "ttlSeconds": {"min": 1, "max": 3, "initial": 2},
                },
                "circuitBreaker": {
                    "mode": "Off",
                    "failureRateThresholdPercent": {"min": 1, "max": 99, "initial": 50},
                    "waitDurationInOpenStateSeconds": {"min": 6, "max": 8, "initial": 7},
                },
            },
            pausedScaleIn=True,
        )
    )
    assert said == Policy(
        interval_seconds=30,
        window_seconds=600,
        objectives=Objectives(
            queue_wait=QuantileObjective(0.95, 0.25),
            latency=QuantileObjective(0.5, 30.0),
            error_ratio=0.001,
            memory_ratio=0.825,
        ),
        replicas=ReplicaPolicy(Mode.RECOMMEND, 3, 7, manual=4),
        workers=WorkerPolicy(Mode.OFF, 2, 9, 5),
        cache=CachePolicy(Mode.RECOMMEND, Range(MEBIBYTE, 10**9, 2 * MEBIBYTE), Range(1, 3, 2)),
        breaker=BreakerPolicy(Mode.OFF, Range(1, 99, 50), Range(6, 8, 7)),
        paused_scale_in=True,
        paused_scale_out=False,
    )


def test_one_objective_does_not_take_the_others_away() -> None:
    objectives = policy(owned(objectives={"memory": {"targetPercent": 50}})).objectives
    assert objectives == replace(DEFAULTS.objectives, memory_ratio=0.5)


@pytest.mark.parametrize(
    ("knob", "bounds"),
    [({"min": 20}, (20, 20)), ({"min": 5}, (5, 10)), ({"max": 3}, (1, 3)), ({"min": 20, "max": 30}, (20, 30))],
)
def test_a_default_bound_of_replicas_gives_way(knob: dict[str, int], bounds: tuple[int, int]) -> None:
    replicas = policy(tuned(replicas=knob)).replicas
    assert (replicas.min, replicas.max) == bounds


@pytest.mark.parametrize(
    ("knob", "size"),
    [
        ({"max": "32Mi"}, Range(32 * MEBIBYTE, 32 * MEBIBYTE)),
        ({"min": "2Gi"}, Range(2048 * MEBIBYTE, 2048 * MEBIBYTE)),
        ({"initial": "2Gi"}, Range(64 * MEBIBYTE, 2048 * MEBIBYTE, 2048 * MEBIBYTE)),
        ({"initial": 0}, Range(0, 1024 * MEBIBYTE, 0)),
    ],
)
def test_a_default_bound_of_the_cache_gives_way(knob: dict[str, Any], size: Range) -> None:
    assert policy(tuned(cache=knob)).cache.max_bytes == size


def test_the_start_of_a_preset_moves_into_the_bounds_of_the_user() -> None:
    preset = replace(DEFAULTS, workers=replace(DEFAULTS.workers, initial=8))
    assert policy(tuned(workers={"max": 4}), preset).workers.initial == 4
    assert policy(tuned(workers={"min": 16}), preset).workers.initial == 16
    assert policy(tuned(workers={}), preset).workers.initial == 8


@pytest.mark.parametrize("mode", ["Off", "Recommend"])
def test_only_a_start_of_the_users_own_is_delivered_where_the_mode_is_not_auto(mode: str) -> None:
    preset = replace(DEFAULTS, workers=replace(DEFAULTS.workers, initial=8))
    assert policy(tuned(workers={"mode": mode}), preset).workers.initial is None
    assert policy(tuned(workers={"mode": mode, "initial": 8}), preset).workers.initial == 8


def test_a_knob_that_the_preset_does_not_know_has_the_bounds_of_the_user() -> None:
    preset = replace(DEFAULTS, cache=CachePolicy())
    assert policy(tuned(cache={}), preset).cache == CachePolicy()
    assert policy(tuned(cache={"min": 1, "max": 2}), preset).cache.max_bytes == Range(1, 2)
    assert policy(tuned(cache={"initial": 5}), preset).cache.max_bytes == Range(5, 5, 5)


@pytest.mark.parametrize(
    ("interval", "window", "pace"),
    [
        (None, None, (15, 120)),
        (120, None, (120, 120)),
        (121, None, (121, 300)),
        (300, None, (300, 300)),
        (None, 60, (15, 60)),
        (60, 60, (60, 60)),
    ],
)
def test_the_window_is_never_shorter_than_the_interval(
    interval: int | None, window: int | None, pace: tuple[int, int]
) -> None:
    tuning = {} if interval is None else {"intervalSeconds": interval}
    signals = {} if window is None else {"windowSeconds": window}
    found = policy(owned(tuning=tuning, signals=signals))
    assert (found.interval_seconds, found.window_seconds) == pace


def test_no_behavior_means_the_operators_own_shaping() -> None:
    assert policy(tuned(replicas={"min": 2})).replicas.behavior is None


def test_what_is_missing_in_behavior_is_as_the_hpa_fills_it_in() -> None:
    # autoscaling/v2: up 0 s, the larger of 4 pods and 100 % in 15 s; down 300 s, 100 % in 15 s; tolerance 10 %.
    assert policy(tuned(replicas={"behavior": {}})).replicas.behavior == Behavior(
        scale_up=ScalingRules(
            0,
            SelectPolicy.MAX,
            (ScalingPolicy(PolicyType.PODS, 4, 15), ScalingPolicy(PolicyType.PERCENT, 100, 15)),
            0.1,
        ),
        scale_down=ScalingRules(300, SelectPolicy.MAX, (ScalingPolicy(PolicyType.PERCENT, 100, 15),), 0.1),
    )


def test_a_given_behavior_stands() -> None:
    rules = {
        "stabilizationWindowSeconds": 7,
        "selectPolicy": "Disabled",
        "policies": [{"type": "Pods", "value": 2, "periodSeconds": 30}],
        "tolerance": "25m",
    }
    behavior = policy(tuned(replicas={"behavior": {"scaleDown": rules}})).replicas.behavior
    assert behavior is not None
    assert behavior.scale_down == ScalingRules(
        7, SelectPolicy.DISABLED, (ScalingPolicy(PolicyType.PODS, 2, 30),), 0.025
    )


@pytest.mark.parametrize(
    ("fields", "pauses"),
    [
        ({"paused": True}, (True, True)),
        ({"paused": True, "pausedScaleIn": False}, (True, True)),
        ({"pausedScaleIn": True}, (True, False)),
        ({"paused": False, "pausedScaleOut": True}, (False, True)),
    ],
)
def test_paused_stops_both_directions(fields: dict[str, bool], pauses: tuple[bool, bool]) -> None:
    found = policy(owned(**fields))
    assert (found.paused_scale_in, found.paused_scale_out) == pauses


def test_choices_beside_the_policy_have_defaults() -> None:
    spec = parse_spec(owned())
    assert (framework(spec), server(spec), container(spec)) == ("generic", "default", "agent")
    assert delivery(spec) == Delivery(restart=False, min_restart_interval_seconds=3600)
    assert container(parse_spec({"scaleTargetRef": TARGET})) is None


def test_choices_beside_the_policy_stand() -> None:
    spec = parse_spec(
        owned(prometheus="main", container="agent", delivery={"mode": "Restart", "minRestartIntervalSeconds": 60})
    )
    assert (server(spec), container(spec)) == ("main", "agent")
    assert delivery(spec) == Delivery(restart=True, min_restart_interval_seconds=60)


def ranges(found: Policy) -> list[tuple[int, int | None, int]]:
    pairs: list[Range | WorkerPolicy | None] = [
        found.workers,
        found.cache.max_bytes,
        found.cache.ttl_seconds,
        found.breaker.failure_rate_threshold_percent,
        found.breaker.wait_duration_in_open_state_seconds,
    ]
    bounds = [(each.min, each.initial, each.max) for each in pairs if each is not None]
    return [*bounds, (found.replicas.min, None, found.replicas.max)]


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is None], ids=lambda case: case.name)
def test_every_accepted_spec_has_ordered_bounds(case: Case) -> None:
    for low, start, high in ranges(policy(case.spec)):
        assert low <= high
        assert start is None or low <= start <= high


def _some(low: int, high: int) -> st.SearchStrategy[dict[str, int]]:
    """Any of min, initial, max, in order."""
    return st.lists(st.integers(low, high), min_size=3, max_size=3).flatmap(
        lambda three: st.fixed_dictionaries(
            {}, optional=dict(zip(("min", "initial", "max"), map(st.just, sorted(three)), strict=True))
        )
    )


@given(
    workers=_some(1, 10_000),
    size=_some(0, 2**40),
    ttl=_some(1, 604_800),
    threshold=_some(1, 100),
    wait=_some(1, 3600),
    mode=st.sampled_from(["Auto", "Recommend", "Off"]),
)
def test_bounds_are_ordered_and_hold_what_the_user_said(
    *,
    workers: dict[str, int],
    size: dict[str, int],
    ttl: dict[str, int],
    threshold: dict[str, int],
    wait: dict[str, int],
    mode: str,
) -> None:
    tuning = {
        "workers": workers | {"mode": mode},
        "cache": size | {"mode": mode, "ttlSeconds": ttl},
        "circuitBreaker": {
            "mode": mode,
            "failureRateThresholdPercent": threshold,
            "waitDurationInOpenStateSeconds": wait,
        },
    }
    found = policy(owned(tuning=tuning))
    for (low, start, high), said in zip(ranges(found), (workers, size, ttl, threshold, wait), strict=False):
        assert low <= high
        assert start is None or low <= start <= high
        assert said.items() <= {"min": low, "initial": start, "max": high}.items()
