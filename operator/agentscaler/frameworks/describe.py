"""The effective policy in the user's words and units: the content of `status.effective`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from agentscaler.api.quantity import format_size
from agentscaler.api.schedules import DAYS
from agentscaler.api.spec import AgentDeploymentSpec
from agentscaler.core.policy import Behavior, Fallback, Policy, QuantileObjective, Range, ScalingRules, Schedule
from agentscaler.frameworks.adapter import Adapter
from agentscaler.frameworks.choices import Delivery, container, delivery, external, framework, server


def describe(
    spec: AgentDeploymentSpec,
    policy: Policy,
    adapter: Adapter | None = None,
    unavailable: Mapping[str, str] | None = None,
    narrowed: Sequence[str] = (),
) -> dict[str, Any]:
    """Every value that holds for an object, under the names of the spec. What is not set at all is left out.

    Args:
        spec: What the user wrote.
        policy: What holds.
        adapter: Of the framework; None: it has no settings file.
        unavailable: Signals that the framework's own metrics cannot tell, and why.
        narrowed: Where the framework's limits are narrower than what was asked for.
    """
    objectives, deliver = policy.objectives, delivery(spec)
    return _compact(
        {
            "framework": framework(spec),
            "container": container(spec),
            "prometheus": server(spec),
            "statefulness": "inMemory" if policy.state_in_memory else "none",
            "objectives": {
                "queueWait": _quantile(objectives.queue_wait),
                "latency": _quantile(objectives.latency),
                "errorRate": _percent(objectives.error_ratio),
                "memory": _percent(objectives.memory_ratio),
            },
            "signals": {
                "windowSeconds": policy.window_seconds,
                "overrides": _metrics(spec),
                "unavailable": _unavailable(spec, unavailable or {}),
            },
            "tuning": _tuning(spec, policy),
            "delivery": {
                "mode": "Restart" if deliver.restart else "Hot",
                "minRestartIntervalSeconds": deliver.min_restart_interval_seconds if deliver.restart else None,
                "file": adapter.file if adapter is not None else None,
                "baseConfigMap": _base(deliver, adapter),
                "limits": list(narrowed) or None,
            },
            "pausedScaleIn": policy.paused_scale_in,
            "pausedScaleOut": policy.paused_scale_out,
        }
    )


def _unavailable(spec: AgentDeploymentSpec, unavailable: Mapping[str, str]) -> dict[str, str]:
    """Without those that the user has named a metric for."""
    own = set((spec.signals and spec.signals.overrides) or {})
    return {signal: why for signal, why in unavailable.items() if signal not in own}


def _base(deliver: Delivery, adapter: Adapter | None) -> dict[str, str] | None:
    if deliver.base is None or adapter is None:
        return None
    name, key = deliver.base
    return {"name": name, "key": key or adapter.file}


def _metrics(spec: AgentDeploymentSpec) -> dict[str, str]:
    """Names of the user's own metrics. A `latency` without a `duration` stands for both."""
    metrics = {name: override.metric for name, override in ((spec.signals and spec.signals.overrides) or {}).items()}
    if "latency" in metrics:
        metrics.setdefault("duration", metrics["latency"])
    return metrics


def _tuning(spec: AgentDeploymentSpec, policy: Policy) -> dict[str, Any]:
    replicas, workers, cache, breaker = policy.replicas, policy.workers, policy.cache, policy.breaker
    return {
        "intervalSeconds": policy.interval_seconds,
        "replicas": {
            "mode": replicas.mode.value,
            "min": replicas.min,
            "max": replicas.max,
            "behavior": _behavior(replicas.behavior),
            "externalDemand": _external(spec),
            "fallback": _fallback(replicas.fallback),
            "schedules": [_schedule(each) for each in replicas.schedules] or None,
        },
        "workers": {
            "mode": workers.mode.value,
            "min": workers.min,
            "max": workers.max,
            "initial": workers.initial,
        },
        "cache": {
            "mode": cache.mode.value,
            **{name: format_size(size) for name, size in _range(cache.max_bytes).items()},
            "ttlSeconds": _range(cache.ttl_seconds),
        },
        "circuitBreaker": {
            "mode": breaker.mode.value,
            "failureRateThresholdPercent": _range(breaker.failure_rate_threshold_percent),
            "waitDurationInOpenStateSeconds": _range(breaker.wait_duration_in_open_state_seconds),
        },
    }


def _range(given: Range | None) -> dict[str, int]:
    if given is None:
        return {}
    values = {"min": given.min, "max": given.max, "initial": given.initial}
    return {name: value for name, value in values.items() if value is not None}


def _quantile(objective: QuantileObjective | None) -> dict[str, Any] | None:
    if objective is None:
        return None
    return {"quantile": _decimal(objective.quantile), "targetMilliseconds": round(objective.target_seconds * 1000)}


def _percent(ratio: float | None) -> dict[str, str] | None:
    """The percentage in decimal, as exact as it was written."""
    if ratio is None:
        return None
    percent = format(Decimal(str(ratio)) * 100, "f")
    return {"targetPercent": percent.rstrip("0").rstrip(".") if "." in percent else percent}


def _decimal(number: float) -> str:
    """The number as people write it, without an exponent."""
    return format(Decimal(str(number)), "f")


def _behavior(behavior: Behavior | None) -> dict[str, Any] | None:
    if behavior is None:
        return None
    return {"scaleUp": _rules(behavior.scale_up), "scaleDown": _rules(behavior.scale_down)}


def _rules(rules: ScalingRules) -> dict[str, Any]:
    return {
        "stabilizationWindowSeconds": rules.stabilization_window_seconds,
        "selectPolicy": rules.select_policy.value,
        "policies": [
            {"type": each.type.value, "value": each.value, "periodSeconds": each.period_seconds}
            for each in rules.policies
        ],
        "tolerance": None if rules.tolerance is None else _decimal(rules.tolerance),
    }


def _external(spec: AgentDeploymentSpec) -> dict[str, Any] | None:
    """As it is written: it has no defaults."""
    given = external(spec)
    return given.model_dump(mode="json", by_alias=True, exclude_none=True) if given is not None else None


def _fallback(fallback: Fallback | None) -> dict[str, int] | None:
    if fallback is None:
        return None
    return {"failureThreshold": fallback.failure_threshold, "replicas": fallback.replicas}


def _schedule(schedule: Schedule) -> dict[str, Any]:
    return _compact(
        {
            "name": schedule.name,
            "days": [DAYS[day] for day in schedule.days],
            "start": _time(schedule.start_minute),
            "end": _time(schedule.end_minute),
            "timeZone": schedule.time_zone,
            "min": schedule.min,
            "max": schedule.max,
        }
    )


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _compact(value: dict[str, Any]) -> dict[str, Any]:
    """The value without keys that say nothing."""
    kept = {key: _compact(each) if isinstance(each, dict) else each for key, each in value.items()}
    return {key: each for key, each in kept.items() if each is not None and each != {}}
