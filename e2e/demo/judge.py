"""One phase judged by the promises of the manifest, from the load's own records and the processes' own memory.

Prometheus and the operator have no say here, but for what moved and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from agentscaler.core.policy import Policy
from e2e.demo.plan import Phase
from e2e.demo.world import Json, World
from e2e.harness.load_generator import Record

MEMORY_GRACE_SECONDS = 20.0
"""The memory objective holds if a phase breaks it for no longer than this: too much must first be seen."""
KNOBS = ("replicas", "workers", "cache", "circuitBreaker")


@dataclass(frozen=True)
class Span:
    """A phase as it was played. Times are Unix seconds."""

    phase: Phase
    began: float
    ended: float


@dataclass(frozen=True)
class Verdict:
    """What became of the objectives in one phase."""

    requests: int
    late_share: float
    own_errors: int
    """Errors, refusals, losses and time-outs that no ill provider is to blame for."""
    provider_errors: int
    lost: int
    worst_memory_ratio: float
    memory_over_seconds: float
    oom_kills: int
    broken: tuple[str, ...]
    """The objectives that were not kept, in words; empty: all were."""


@dataclass(frozen=True)
class Story:
    """What moved in one phase, and why."""

    paths: dict[str, str]
    """`2 -> 6 -> 8` by knob; only those that moved."""
    whys: tuple[str, ...]
    hpa: tuple[int, int] | None
    """Least and most replicas that the HPA's rule asked for."""
    replicas: tuple[int, int]
    """Least and most that there were."""


def verdict(
    policy: Policy,
    span: Span,
    records: Iterable[Record],
    world: World,
    limit_bytes: int,
    *,
    ill: Sequence[tuple[float, float]] = (),
) -> Verdict:
    """Judge a phase by the runs that were asked for in it. `ill`: from when to when the provider was."""
    own = [record for record in records if span.began <= record.sent_at < span.ended]
    wait, errors, memory = policy.objectives.queue_wait, policy.objectives.error_ratio, policy.objectives.memory_ratio
    assert wait is not None
    assert errors is not None
    assert memory is not None
    counts = Counter(record.status for record in own)
    bad = sum(record.status != "ok" for record in own)
    blamed = sum(_is_the_providers(record, ill) for record in own)
    late = sum(is_late(record, wait.target_seconds, ill) for record in own)
    late_share = late / len(own) if own else 0.0
    pods = [sample for sample in world.pods if span.began <= sample.at < span.ended]
    worst = max((sample.worst_rss_bytes for sample in pods), default=0) / limit_bytes
    over = sum(b.at - a.at for a, b in pairwise(pods) if a.worst_rss_bytes > memory * limit_bytes)
    kills = pods[-1].oom_kills - pods[0].oom_kills if pods else 0
    broken = []
    if late_share > 1 - wait.quantile + 1e-9:
        broken.append(f"queueWait: {late_share:.1%} of the runs waited longer than {wait.target_seconds:g} s")
    if own and (bad - blamed) / len(own) > errors:
        broken.append(f"errorRate: {(bad - blamed) / len(own):.1%} of the runs failed")
    if over > MEMORY_GRACE_SECONDS or kills:
        broken.append(f"memory: above {memory:.0%} for {over:.0f} s, {kills} killed")
    return Verdict(
        requests=len(own),
        late_share=late_share,
        own_errors=bad - blamed,
        provider_errors=blamed,
        lost=counts["lost"],
        worst_memory_ratio=worst,
        memory_over_seconds=over,
        oom_kills=kills,
        broken=tuple(broken),
    )


def _is_the_providers(record: Record, ill: Sequence[tuple[float, float]]) -> bool:
    """A run that failed while the provider was ill. A lost one never is: a provider answers, refuses or hangs."""
    overlaps = any(record.sent_at < until and record.finished_at >= since for since, until in ill)
    return overlaps and record.status in {"error", "rejected", "timeout"}


def is_late(record: Record, target_seconds: float, ill: Sequence[tuple[float, float]]) -> bool:
    """A run that never started in its caller's patience is late, too; one that was refused at once is not."""
    if record.status == "timeout":
        return not _is_the_providers(record, ill)
    return record.queue_wait_seconds is not None and record.queue_wait_seconds > target_seconds


def story(span: Span, world: World) -> Story:
    """What moved in a phase, from the API server's objects, and why, from the operator's records."""
    start = world.size_at(span.began)
    sizes = [start.replicas] if start else []
    sizes += [size.replicas for size in world.sizes if span.began < size.at <= span.ended]
    settings = [world.settings_at(span.began)]
    settings += [each.settings for each in world.deliveries if span.began < each.at <= span.ended]
    paths = {
        "replicas": _path(sizes),
        "workers": _path([_workers(each) for each in settings if each]),
        "cache": _path([_cache(each) for each in settings if each]),
        "circuitBreaker": _path([_breaker(each) for each in settings if each]),
    }
    within = [record for at, record in sorted(world.records.items()) if span.began <= at < span.ended]
    asked = [record["decision"]["hpa_replicas"] for record in within]
    known = [each for each in asked if each is not None]
    whys = [
        f"{decision['diagnosis']}: {decision['reason']}"
        for record in within
        if moved_knobs(decision := record["decision"])
    ]
    return Story(
        paths={knob: path for knob, path in paths.items() if " -> " in path},
        whys=tuple(dict.fromkeys(whys)),
        hpa=(min(known), max(known)) if known else None,
        replicas=(min(sizes, default=0), max(sizes, default=0)),
    )


def moved_knobs(decision: Json) -> tuple[str, ...]:
    """The knobs that a decision of a full record moves."""
    before, after = decision["current"], decision["settings"]
    names = {"replicas": "replicas", "workers": "workers", "cache": "cache", "circuitBreaker": "breaker"}
    return tuple(knob for knob, name in names.items() if before[name] != after[name])


def _path(values: Sequence[Any]) -> str:
    """The values in their order, without repetitions; a long way is told by its turns."""
    steps = [value for i, value in enumerate(values) if value is not None and (i == 0 or values[i - 1] != value)]
    if len(steps) > 4 and all(isinstance(step, int) for step in steps):
        turns = [b for a, b, c in zip(steps, steps[1:], steps[2:], strict=False) if (b - a) * (c - b) < 0]
        steps = [steps[0], *turns, steps[-1]]
    shown = [str(step) for step in steps]
    return " -> ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-2:]])


def _workers(settings: Json) -> Any:
    return settings.get("workers", {}).get("maxConcurrent")


def _cache(settings: Json) -> Any:
    size = settings.get("cache", {}).get("maxBytes")
    return None if size is None else f"{size / 2**20:.0f}Mi"


def _breaker(settings: Json) -> Any:
    breaker = settings.get("circuitBreaker", {})
    threshold, wait = breaker.get("failureRateThresholdPercent"), breaker.get("waitDurationInOpenStateSeconds")
    return None if threshold is None else f"{threshold}%/{wait}s"
