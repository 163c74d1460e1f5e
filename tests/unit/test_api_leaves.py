"""No field that nothing acts on: each leaf of the spec's schema changes a decision, a query or the Deployment."""

from __future__ import annotations

from typing import Any

import pytest

from agentscaler.api.crd import render
from agentscaler.api.reference import leaves
from agentscaler.api.signals import KINDS, OVERRIDABLE
from agentscaler.core.observation import Health
from tests.api_corpus import TARGET as TARGET_REF
from tests.api_corpus import owned
from tests.leaf_checks import Asks, Bases, Builds, Check, Decides, Names, Restarts, Ticks, asked
from tests.worlds import MEBIBYTE


def mebibytes(number: float) -> float:
    return number * MEBIBYTE


LOADED = {"in_flight": 30.0, "in_flight_max": 15.0, "queue_depth": 20.0, "request_rate_60": 60.0}
IDLE = {"in_flight": 0.1, "in_flight_max": 1.0, "request_rate_60": 0.2, "request_rate_300": 0.2}
BASED = owned(framework="aiecs", delivery={"baseConfigMap": {"name": "mine"}})
EASY: Ticks = ((3, {}),)
BURST: Ticks = ((40, LOADED),)
LULL: Ticks = ((10, LOADED), (160, IDLE))
LATE: Ticks = ((5, LOADED | {"queue_wait": 2.0}),)
SUDDEN: Ticks = ((30, {}), (40, LOADED))
SLOW: Ticks = ((3, {"latency": 40.0, "queue_wait": 0.1}),)
ERRORS: Ticks = ((10, LOADED | {"error_ratio": 0.02}), (160, IDLE | {"error_ratio": 0.02}))
PRESSURE: Ticks = ((5, {}), (30, {"memory_max_bytes": mebibytes(700), "memory_mean_bytes": mebibytes(690)}))
OUTAGE: Ticks = ((3, {}), (60, {"upstream_5xx_rate": 4.0, "error_ratio": 0.9, "breaker_state": 2.0}))
LONG_OUTAGE: Ticks = (OUTAGE[0], (300, OUTAGE[1][1]))
BLIND: Ticks = ((3, {}), (3, {"in_flight": Health.EMPTY}))
CACHE: dict[str, float] = {"cache_miss_rate": 2.0, "cache_hit_ratio": 0.5}
EVICTING: Ticks = ((200, CACHE | {"cache_eviction_rate": 2.0, "cache_bytes": mebibytes(2048)}),)
EXPIRING: Ticks = ((200, CACHE | {"cache_eviction_rate": 0.0, "cache_expired_rate": 2.0, "cache_bytes": mebibytes(1)}),)
HALF_EMPTY: Ticks = ((500, CACHE | {"cache_eviction_rate": 0.0, "cache_bytes": mebibytes(1)}),)


TWO = {"spec": {"containers": [{"name": "agent", "image": "a"}, {"name": "other", "image": "b"}]}}
ADOPTED = {"scaleTargetRef": TARGET_REF}
RULES = "spec.tuning.replicas.behavior"
EXTERNAL = "spec.tuning.replicas.externalDemand"
SCHEDULES = "spec.tuning.replicas.schedules[]"
OVERRIDES = "spec.signals.overrides.*"
OVERRIDDEN = owned(signals={"overrides": {"latency": {"metric": "one", "kind": "Histogram"}}}) | {
    "objectives": {"latency": {"quantile": "0.9", "targetMilliseconds": 1000}}
}
COUNTED = owned(signals={"overrides": {"requests": {"metric": "one", "kind": "Counter"}}})


def shaped(direction: str, **rules: Any) -> dict[str, Any]:
    return owned(tuning={"replicas": {"max": 40, "behavior": {direction: rules}}})


def policies(**fields: Any) -> list[dict[str, Any]]:
    return [{"type": "Pods", "value": 1, "periodSeconds": 60} | fields]


def timed(**bounds: Any) -> dict[str, Any]:
    """A schedule about the time of the tests, a Monday, 13:46 UTC."""
    return owned(tuning={"replicas": {"schedules": [{"start": "13:00", "end": "15:00", "days": ["Mon"]} | bounds]}})


def awaited() -> dict[str, Any]:
    """Demand by a template of `leaf_checks.SERVER`."""
    demand = {"template": "one", "parameters": {"queue": "a"}, "targetPerReplica": 10}
    return owned(tuning={"replicas": {"externalDemand": demand}})


LEAVES: dict[str, Check] = {
    "spec.template.metadata.labels": Builds({"a": "b"}, {"a": "c"}),
    "spec.template.metadata.annotations": Builds({"a": "b"}, {"a": "c"}),
    "spec.template.spec.containers[].name": Builds("one", "two"),
    "spec.container": Builds("agent", "other", {"template": TWO}),
    "spec.replicas": Decides(3, 0, EASY),
    "spec.objectives.queueWait.quantile": Asks(
        "0.9", "0.99", owned(objectives={"queueWait": {"targetMilliseconds": 1}})
    ),
    "spec.objectives.queueWait.targetMilliseconds": Decides(
        500, 50_000, LATE, owned(objectives={"queueWait": {"quantile": "0.99"}})
    ),
    "spec.objectives.latency.quantile": Asks("0.9", "0.99", owned(objectives={"latency": {"targetMilliseconds": 1}})),
    "spec.objectives.latency.targetMilliseconds": Decides(
        1000, 60_000, SLOW, owned(objectives={"latency": {"quantile": "0.9"}})
    ),
    "spec.objectives.errorRate.targetPercent": Decides(1, 5, ERRORS),
    "spec.objectives.memory.targetPercent": Decides(60, 80, PRESSURE),
    "spec.signals.windowSeconds": Asks(60, 300),
    f"{OVERRIDES}.metric": Asks("one", "two", OVERRIDDEN),
    f"{OVERRIDES}.matchers": Asks({"a": "b"}, {"a": "c"}, OVERRIDDEN),
    f"{OVERRIDES}.scale": Asks(1, "0.001", OVERRIDDEN),
    "spec.tuning.intervalSeconds": Decides(5, 300, BURST),
    "spec.tuning.replicas.mode": Decides("Auto", "Recommend", BURST),
    "spec.tuning.replicas.min": Decides(2, 3, LULL),
    "spec.tuning.replicas.max": Decides(3, 4, BURST),
    f"{RULES}.scaleUp.stabilizationWindowSeconds": Decides(0, 60, SUDDEN, shaped("scaleUp")),
    f"{RULES}.scaleUp.selectPolicy": Decides("Max", "Disabled", BURST, shaped("scaleUp")),
    f"{RULES}.scaleUp.policies[].type": Decides(
        "Pods", "Percent", BURST, shaped("scaleUp", policies=policies(value=100))
    ),
    f"{RULES}.scaleUp.policies[].value": Decides(1, 2, BURST, shaped("scaleUp", policies=policies())),
    f"{RULES}.scaleUp.policies[].periodSeconds": Decides(15, 60, BURST, shaped("scaleUp", policies=policies())),
    f"{RULES}.scaleUp.tolerance": Decides("0.05", "9", BURST, shaped("scaleUp")),
    f"{RULES}.scaleDown.stabilizationWindowSeconds": Decides(0, 600, LULL, shaped("scaleDown")),
    f"{RULES}.scaleDown.selectPolicy": Decides("Max", "Disabled", LULL, shaped("scaleDown")),
    f"{RULES}.scaleDown.policies[].type": Decides(
        "Pods", "Percent", LULL, shaped("scaleDown", policies=policies(value=3))
    ),
    f"{RULES}.scaleDown.policies[].value": Decides(1, 2, LULL, shaped("scaleDown", policies=policies())),
    f"{RULES}.scaleDown.policies[].periodSeconds": Decides(15, 60, LULL, shaped("scaleDown", policies=policies())),
    f"{RULES}.scaleDown.tolerance": Decides("0.05", "9", LULL, shaped("scaleDown")),
    f"{SCHEDULES}.name": Decides("night", "day", BURST, timed(max=2)),
    f"{SCHEDULES}.days[]": Decides("Mon", "Tue", EASY, timed(min=4)),
    f"{SCHEDULES}.start": Decides("13:00", "14:00", EASY, timed(min=4)),
    f"{SCHEDULES}.end": Decides("15:00", "13:30", EASY, timed(min=4)),
    f"{SCHEDULES}.timeZone": Decides("Africa/Abidjan", "Asia/Tokyo", EASY, timed(min=4)),
    f"{SCHEDULES}.min": Decides(4, 5, EASY, timed()),
    f"{SCHEDULES}.max": Decides(3, 4, BURST, timed()),
    f"{EXTERNAL}.template": Asks("one", "two", awaited()),
    f"{EXTERNAL}.parameters": Asks({"queue": "a"}, {"queue": "b"}, awaited()),
    f"{EXTERNAL}.targetPerReplica": Decides(10, "20.5", ((5, {"external_demand": 80.0}),), awaited()),
    "spec.tuning.replicas.fallback.failureThreshold": Decides(
        2, 4, BLIND, owned(tuning={"replicas": {"fallback": {"replicas": 5}}})
    ),
    "spec.tuning.replicas.fallback.replicas": Decides(
        5, 6, BLIND, owned(tuning={"replicas": {"fallback": {"failureThreshold": 2}}})
    ),
    "spec.tuning.workers.mode": Decides("Auto", "Off", BURST),
    "spec.tuning.workers.min": Decides(1, 6, LULL),
    "spec.tuning.workers.max": Decides(5, 6, BURST),
    "spec.tuning.workers.initial": Decides(2, 8, EASY),
    "spec.tuning.cache.mode": Decides("Auto", "Off", EASY),
    "spec.tuning.cache.min": Decides("64Mi", "128Mi", HALF_EMPTY),
    "spec.tuning.cache.max": Decides("300Mi", "1Gi", EVICTING, owned(tuning={"cache": {"initial": "256Mi"}}), None),
    "spec.tuning.cache.initial": Decides("64Mi", "128Mi", EASY),
    "spec.tuning.cache.ttlSeconds.min": Decides(60, 600, EASY),
    "spec.tuning.cache.ttlSeconds.max": Decides(
        800, 3600, EXPIRING, owned(tuning={"cache": {"ttlSeconds": {"initial": 700}}})
    ),
    "spec.tuning.cache.ttlSeconds.initial": Decides(100, 200, EASY),
    "spec.tuning.circuitBreaker.mode": Decides("Auto", "Off", EASY),
    "spec.tuning.circuitBreaker.failureRateThresholdPercent.min": Decides(10, 30, OUTAGE),
    "spec.tuning.circuitBreaker.failureRateThresholdPercent.max": Decides(40, 80, EASY),
    "spec.tuning.circuitBreaker.failureRateThresholdPercent.initial": Decides(40, 60, EASY),
    "spec.tuning.circuitBreaker.waitDurationInOpenStateSeconds.min": Decides(5, 60, EASY),
    "spec.tuning.circuitBreaker.waitDurationInOpenStateSeconds.max": Decides(40, 300, LONG_OUTAGE),
    "spec.tuning.circuitBreaker.waitDurationInOpenStateSeconds.initial": Decides(10, 20, EASY),
    "spec.statefulness": Decides("none", "inMemory", LULL),
    "spec.paused": Decides(True, False, BURST),
    "spec.pausedScaleIn": Decides(True, False, LULL),
    "spec.pausedScaleOut": Decides(True, False, BURST),
    "spec.prometheus": Asks("one", "two"),
    "spec.framework": Decides("generic", "agentflow", EASY),
    "spec.scaleTargetRef.apiVersion": Names("apps/v1", "v1", ADOPTED),
    "spec.scaleTargetRef.kind": Names("Deployment", "StatefulSet", ADOPTED),
    "spec.delivery.mode": Restarts("Restart", "Hot"),
    "spec.delivery.baseConfigMap.name": Bases("mine", "yours", BASED),
    "spec.delivery.baseConfigMap.key": Bases("a", "b", BASED),
    "spec.delivery.minRestartIntervalSeconds": Restarts(101, 99, owned(delivery={"mode": "Restart"})),
    f"{OVERRIDES}.kind": Asks("Counter", "Histogram", COUNTED),
    "spec.scaleTargetRef.name": Asks("one", "two", ADOPTED),
}


def schema_leaves() -> list[str]:
    schema = render()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return [path for path, _ in leaves(schema, "spec")]


def test_every_leaf_of_the_schema_has_an_entry() -> None:
    assert set(schema_leaves()) == set(LEAVES)


@pytest.mark.parametrize("path", LEAVES)
def test_a_leaf_has_an_effect(path: str) -> None:
    LEAVES[path].check(path)


@pytest.mark.parametrize("signal", OVERRIDABLE)
def test_an_override_of_a_signal_is_asked_for(signal: str) -> None:
    kind = next(kinds[0] for kinds, names in KINDS if signal in names)
    override = {"metric": "my_own_metric", "kind": kind}
    whole = {"requests": override} if signal == "failedRequests" else {}
    objectives = {"latency": {"quantile": "0.9", "targetMilliseconds": 1000}}
    queries = asked(owned(objectives=objectives, signals={"overrides": {signal: override} | whole}))
    assert queries != asked(owned(objectives=objectives, signals={"overrides": whole}))
    assert "my_own_metric" in repr(queries)


def test_a_field_without_an_effect_would_be_noticed() -> None:
    with pytest.raises(AssertionError):
        Decides("agent", "other", EASY, {"template": TWO}).check("spec.container")
