"""The numbers of a run, each with its bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from e2e.demo.judge import Span, Verdict, moved_knobs
from e2e.demo.plan import Act
from e2e.demo.world import Delivered, World

WORKERS_BAR_SECONDS = 10.0
REPLICAS_BAR_SECONDS = 15.0
DELIVERY_BAR_SECONDS = 5.0
EARLY_SECONDS = 20.0
UNDER_WAY_SECONDS = 1.0
"""A decision made on the last samples may still be being written when the series are gone."""
RIGHT = {
    "replicas": ("WorkerBound", "ReplicaBound"),
    "workers": ("WorkerBound", "ReplicaBound"),
    "cache": ("MemoryBound", "MemoryLimited"),
    "circuitBreaker": ("DependencyBound",),
}
"""What each knob is there for: the diagnosis of the decision, or the reason of the rule that moved the knob. A decision
has one diagnosis, the most dangerous thing; after an outage the provider's covers for a while that memory is short."""


@dataclass(frozen=True)
class Number:
    """One number. `good` is None where there is no bar, or nothing to compare with."""

    what: str
    value: str
    bar: str
    good: bool | None


def numbers(
    world: World,
    spans: Sequence[Span],
    verdicts: Sequence[Verdict],
    wasted_off_per_minute: float | None,
) -> list[Number]:
    """All numbers of a run with the operator. Those of a phase that was not played are left out, as under a trace."""
    spike = next((span for span in spans if span.phase.rate >= 5 and not span.phase.curve), None)
    outage = next((span for span in spans if span.phase.provider_ill), None)
    scripted = not any(span.phase.curve for span in spans)
    return [
        *(_reaction(world, spike) if spike else ()),
        _delivery(world, needed=scripted),
        *(_blind(world, spans) if any(span.phase.blind for span in spans) else ()),
        *(_outage(world, outage, wasted_off_per_minute) if outage else ()),
        *(_knobs(world) if scripted else ()),
        _count("requests lost", sum(verdict.lost for verdict in verdicts)),
        _count("pods killed for memory", sum(verdict.oom_kills for verdict in verdicts)),
    ]


def wasted_per_minute(world: World, began: float, ended: float) -> float | None:
    """Upstream calls that ended in vain, per minute."""
    inside = [sample for sample in world.upstream if began <= sample.at <= ended]
    if len(inside) < 2:
        return None
    return 60.0 * (inside[-1].failed - inside[0].failed) / (inside[-1].at - inside[0].at)


def ill_until(span: Span) -> float:
    """When the provider was well again."""
    return span.began + next(at for at, act in span.phase.acts if act is Act.PROVIDER_WELL)


def _reaction(world: World, spike: Span) -> list[Number]:
    before = {sample.pod: sample.workers for sample in world.agents if sample.at < spike.began}
    inside = [sample for sample in world.agents if spike.began <= sample.at < spike.ended]
    workers = next((s.at - spike.began for s in inside if s.workers > before.get(s.pod, s.workers)), None)
    sizes = [size for size in world.sizes if size.at < spike.ended]
    grown = (b.at - spike.began for a, b in pairwise(sizes) if b.at >= spike.began and b.replicas > a.replicas)
    return [
        _seconds("spike: first extra workers in force in an agent", workers, WORKERS_BAR_SECONDS),
        _seconds("spike: replicas patched", next(grown, None), REPLICAS_BAR_SECONDS),
    ]


def _delivery(world: World, *, needed: bool) -> Number:
    what = "a worker setting written is in force in every agent (slowest; median)"
    if not needed and not _worker_writes(world):
        return Number(what, "nothing was written", f"<= {DELIVERY_BAR_SECONDS:g} s", good=None)
    took = [seconds for write in _worker_writes(world) if (seconds := _in_force_after(world, write)) is not None]
    if not took:
        return Number(what, "never seen", f"<= {DELIVERY_BAR_SECONDS:g} s", good=False)
    value = f"{max(took):.1f} s; {median(took):.1f} s of {len(took)} writes"
    return Number(what, value, f"<= {DELIVERY_BAR_SECONDS:g} s", max(took) <= DELIVERY_BAR_SECONDS)


def _worker_writes(world: World) -> list[Delivered]:
    changes = pairwise(world.deliveries)
    return [after for before, after in changes if before.settings.get("workers") != after.settings.get("workers")]


def _in_force_after(world: World, write: Delivered) -> float | None:
    """Seconds until the last of the agents that served then has it; agents that left meanwhile do not count."""
    serving = {sample.pod for sample in world.agents if write.at - 1.5 <= sample.at <= write.at}
    took = []
    for pod in serving:
        after = [sample for sample in world.agents if sample.pod == pod and sample.at > write.at]
        first = next((sample.at for sample in after if sample.generation >= write.generation), None)
        if first is not None:
            took.append(first - write.at)
        elif after and after[-1].at - write.at > DELIVERY_BAR_SECONDS:
            took.append(after[-1].at - write.at)  # never, as long as it served
    return max(took) if took else None


def _blind(world: World, spans: Sequence[Span]) -> list[Number]:
    since = world.blind_since + UNDER_WAY_SECONDS
    until = max(span.ended for span in spans if span.phase.blind)
    replicas = sum(since <= b.at < until and b.replicas < a.replicas for a, b in pairwise(world.sizes))
    workers = sum(
        since <= b.at < until and b.settings["workers"]["maxConcurrent"] < a.settings["workers"]["maxConcurrent"]
        for a, b in pairwise(world.deliveries)
    )
    what = "shrinks while the series or Prometheus were away"
    return [_count(f"{what}: replicas", replicas), _count(f"{what}: workers", workers)]


def _outage(world: World, outage: Span, wasted_off_per_minute: float | None) -> list[Number]:
    well = ill_until(outage)
    changed = sum(outage.began <= b.at < well and a.replicas != b.replicas for a, b in pairwise(world.sizes))
    breakers = [
        (a.settings.get("circuitBreaker"), b.settings.get("circuitBreaker"))
        for a, b in pairwise(world.deliveries)
        if outage.began <= b.at < outage.ended
    ]
    moved = sum(before != after for before, after in breakers)
    early = wasted_per_minute(world, outage.began, outage.began + EARLY_SECONDS)
    late = wasted_per_minute(world, outage.began + EARLY_SECONDS, well)
    whole = wasted_per_minute(world, outage.began, well)
    # Shown, and no bar: another run of the demo, which serves another number of runs.
    without = "" if wasted_off_per_minute is None else f"; without the operator {wasted_off_per_minute:.0f}"
    fell = early is not None and late is not None and late < early
    return [
        _count("replicas changed during outage and 429s", changed),
        Number("breaker settings moved in the outage", str(moved), ">= 1", moved >= 1),
        Number(
            f"wasted upstream calls a minute: first {EARLY_SECONDS:g} s, after that, whole",
            f"{early or 0:.0f}, {late or 0:.0f}, {whole or 0:.0f}{without}",
            "falls",
            fell,
        ),
    ]


def _knobs(world: World) -> list[Number]:
    found: dict[str, set[str]] = {knob: set() for knob in RIGHT}
    for record in world.records.values():
        for knob in moved_knobs(record["decision"]):
            found[knob].add(record["decision"]["diagnosis"])
            found[knob] |= {step["reason"] for step in record["decision"].get("steps", ()) if step["knob"] == knob}
    return [
        Number(
            f"{knob} moved for {' or '.join(right)}",
            "yes" if found[knob] & set(right) else f"no, for {', '.join(sorted(found[knob])) or 'nothing'}",
            "yes",
            bool(found[knob] & set(right)),
        )
        for knob, right in RIGHT.items()
    ]


def _seconds(what: str, value: float | None, bar: float) -> Number:
    shown = "never" if value is None else f"{value:.1f} s"
    return Number(what, shown, f"<= {bar:g} s", value is not None and value <= bar)


def _count(what: str, value: int) -> Number:
    return Number(what, str(value), "0", value == 0)
