"""What holds for one spec: its framework, and its policy within the framework's own limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

from agentscaler.api.spec import AgentDeploymentSpec
from agentscaler.core.policy import Policy, Range
from agentscaler.frameworks import choices, units
from agentscaler.frameworks.adapter import Adapter, Feed
from agentscaler.frameworks.effective import describe, effective
from agentscaler.frameworks.preset import Preset
from agentscaler.frameworks.registry import PRESETS


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec with everything that follows from it."""

    preset: Preset
    policy: Policy
    narrowed: tuple[str, ...]
    """Where the framework's limits are narrower than what was asked for, a sentence each."""
    effective: Mapping[str, Any]
    """The content of `status.effective`."""


def resolve(spec: AgentDeploymentSpec) -> Resolved:
    """Everything that follows from a spec.

    Raises:
        KeyError: There is no preset of the framework that it names: an older operator reads a newer resource.
    """
    preset = PRESETS[choices.framework(spec)]
    policy = effective(spec, preset.defaults)
    narrowed: tuple[str, ...] = ()
    if preset.adapter is not None:
        policy, narrowed = within_limits(policy, preset.adapter, restart=choices.delivery(spec).restart)
    told = describe(spec, policy, preset.adapter, preset.metrics.unavailable, narrowed)
    return Resolved(preset, policy, narrowed, told)


def within_limits(policy: Policy, adapter: Adapter, *, restart: bool) -> tuple[Policy, tuple[str, ...]]:
    """A policy that asks for nothing that the framework's own settings cannot hold.

    Args:
        policy: What was asked for.
        adapter: The framework's settings.
        restart: Whether settings that only a start reads are delivered.

    Returns:
        The policy, and a sentence for each value whose bounds had to give way.
    """
    limits = _Limits(adapter, restart=restart)
    workers = policy.workers
    run = limits.of(Feed.WORKERS, "workers", Range(workers.min, workers.max, workers.initial))
    cache, breaker = policy.cache, policy.breaker
    rate, wait = breaker.failure_rate_threshold_percent, breaker.wait_duration_in_open_state_seconds
    policy = replace(
        policy,
        workers=replace(workers, min=run.min, max=run.max, initial=run.initial),
        cache=replace(
            cache,
            max_bytes=cache.max_bytes and limits.of(Feed.CACHE_BYTES, "cache", cache.max_bytes),
            ttl_seconds=cache.ttl_seconds and limits.of(Feed.CACHE_TTL, "cache.ttlSeconds", cache.ttl_seconds),
        ),
        breaker=replace(
            breaker,
            failure_rate_threshold_percent=rate
            and limits.of(Feed.BREAKER_RATE, "circuitBreaker.failureRateThresholdPercent", rate),
            wait_duration_in_open_state_seconds=wait
            and limits.of(Feed.BREAKER_WAIT, "circuitBreaker.waitDurationInOpenStateSeconds", wait),
        ),
    )
    return policy, tuple(limits.told)


class _Limits:
    """The limits of settings that hold a value of ours as it is; those that not every agent has do not count."""

    def __init__(self, adapter: Adapter, *, restart: bool) -> None:
        self._adapter = adapter
        self._restart = restart
        self.told: list[str] = []

    def of(self, feed: Feed, name: str, asked: Range) -> Range:
        """The bounds within the limits."""
        held = asked
        for setting in self._adapter.fed(feed):
            if setting.optional or not (setting.hot or self._restart):
                continue
            low, high = (limit / setting.ratio for limit in units.limits(setting))
            narrow = _within(held, ceil(low), floor(high))
            if narrow != held:
                held, setting_name = narrow, self._adapter.name(setting)
                takes = f"{setting_name} takes {ceil(low)} to {floor(high)}"
                self.told.append(f"tuning.{name}: {takes}, so {held.min} to {held.max} holds")
        return held


def _within(asked: Range, least: int, most: int) -> Range:
    def held(value: int) -> int:
        return min(max(value, least), most)

    return Range(held(asked.min), held(asked.max), None if asked.initial is None else held(asked.initial))
