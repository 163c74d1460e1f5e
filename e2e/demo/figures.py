"""The demo's figures. All have the same time below and the same phases as bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from agentscaler.simulate import plot
from agentscaler.simulate.plot import COLOURS, GREY_BAND, OUTAGE_BAND, Figure
from e2e.demo import timelines
from e2e.demo.judge import moved_knobs
from e2e.demo.plan import Manifest
from e2e.demo.report import Report
from e2e.demo.timelines import Clock, Line
from e2e.demo.world import AgentSample, Delivered, World
from e2e.harness.load_generator import Record

MI = 2**20
PANEL_PIXELS = 210
GAP = 0.06
WORDS_WIDTH = 90
BLUE, RED, GREEN, PINK, YELLOW = COLOURS[:5]
GREY = "#777777"
PLAIN_BANDS = ("rgba(0,0,0,0)", "rgba(0,0,0,0.04)")


@dataclass(frozen=True)
class Plot:
    """A figure with its title."""

    title: str
    figure: Figure


def figures(report: Report, wanted: Manifest, world: World, records: Sequence[Record]) -> list[Plot]:
    """All figures of a run."""
    clock = Clock(report.spans[0].began, report.spans[-1].ended)
    return [
        _load(report, clock, world, records),
        _knobs(report, clock, world),
        _waits(report, clock, wanted, records),
        _memory(report, clock, wanted, world),
        _provider(report, clock, world),
        _settings(report, clock, world),
    ]


def _load(report: Report, clock: Clock, world: World, records: Sequence[Record]) -> Plot:
    failed = [record.finished_at for record in records if record.status != "ok"]
    workers = timelines.among_agents(clock, world.agents, _workers_in_force)
    data = [
        _line(timelines.per_second(clock, [r.sent_at for r in records]), "asked for", GREY, 1),
        _line(timelines.per_second(clock, failed), "failed or refused", RED, 1),
        _line(timelines.in_system(clock, records), "runs in the system", BLUE, 2, fill=True),
        _line(workers, "workers of all pods", GREEN, 2, steps=True),
    ]
    return Plot("Load", _figure(report, clock, data, "runs/s", "runs"))


def _workers_in_force(samples: Sequence[AgentSample]) -> float:
    return float(sum({sample.pod: sample.workers for sample in samples}.values()))


def _knobs(report: Report, clock: Clock, world: World) -> Plot:
    said = sorted((at, each["decision"]) for at, each in world.records.items() if clock.began <= at < clock.ended)
    hpa = Line(tuple(clock.since(at) for at, _ in said), tuple(each["hpa_replicas"] for _, each in said))
    least, most = (timelines.among_agents(clock, world.agents, which) for which in (_least, _most))
    data = [
        _line(timelines.held(clock, world.sizes, lambda size: size.replicas), "replicas", BLUE, 1, steps=True),
        _line(timelines.held(clock, world.sizes, lambda size: size.ready), "ready", GREEN, 1, steps=True),
        _line(timelines.held(clock, world.deliveries, _workers), "workers per pod", BLUE, 2, steps=True),
        _line(least, "in force: least", GREEN, 2, steps=True, dash="dot"),
        _line(most, "in force: most", YELLOW, 2, steps=True, dash="dot"),
    ]
    if said:
        data.append(_line(hpa, "HPA's rule", GREY, 1, steps=True, dash="dot"))
        data += _decisions(clock, world, said)
    return Plot("Replicas and workers", _figure(report, clock, data, "replicas", "workers"))


def _least(samples: Sequence[AgentSample]) -> float:
    return float(min(sample.workers for sample in samples))


def _most(samples: Sequence[AgentSample]) -> float:
    return float(max(sample.workers for sample in samples))


def _decisions(clock: Clock, world: World, said: Sequence[tuple[float, Any]]) -> list[Figure]:
    """A marker for each decision, where the replicas stood: large where it moved something."""
    made = []
    for name, moving, marker in (
        ("decision: moved", True, {"symbol": "diamond", "size": 10, "color": PINK}),
        ("decision: nothing moved", False, {"symbol": "circle", "size": 4, "color": GREY}),
    ):
        own = [(at, decision) for at, decision in said if bool(moved_knobs(decision)) is moving]
        sizes = [world.size_at(at) for at, _ in own]
        made.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [clock.since(at) for at, _ in own],
                "y": [size.replicas if size else None for size in sizes],
                "text": [_hover(decision) for _, decision in own],
                "hovertemplate": "%{x:.0f} s<br>%{text}<extra></extra>",
                "marker": marker,
            }
        )
    return made


def _hover(decision: Any) -> str:
    """The decision's words. Plotly reads tags in them, which they do not mean."""
    words = f"{decision['diagnosis']}, {decision['reason']}: {decision['summary']}"
    return "<br>".join(escape(each, quote=False) for each in wrap(words, WORDS_WIDTH))


def _waits(report: Report, clock: Clock, wanted: Manifest, records: Sequence[Record]) -> Plot:
    promise = wanted.policy.objectives.queue_wait
    assert promise is not None
    high, late = timelines.waits(clock, records, promise.quantile, promise.target_seconds, report.ill)
    data = [
        _line(high, f"queue wait, {promise.quantile:.0%} below", BLUE, 1, steps=True),
        _line(_level(clock, promise.target_seconds), "objective", RED, 1, dash="dash"),
        _line(late, "late runs", BLUE, 2, steps=True, fill=True),
        _line(_level(clock, 100 * (1 - promise.quantile)), "allowed in a phase", RED, 2, dash="dash"),
    ]
    return Plot("Queue wait", _figure(report, clock, data, "seconds", "late %"))


def _memory(report: Report, clock: Clock, wanted: Manifest, world: World) -> Plot:
    inside = [sample for sample in world.pods if clock.began <= sample.at < clock.ended]
    worst = Line(tuple(clock.since(s.at) for s in inside), tuple(s.worst_rss_bytes / MI for s in inside))
    data = [
        _line(worst, "worst pod", BLUE, 1),
        _line(_level(clock, wanted.memory_allowed_bytes / MI), "objective", YELLOW, 1, dash="dash"),
        _line(_level(clock, wanted.memory_limit_bytes / MI), "limit", RED, 1, dash="dash"),
    ]
    return Plot("Memory", _figure(report, clock, data, "MiB"))


def _provider(report: Report, clock: Clock, world: World) -> Plot:
    sent, wasted = timelines.calls(clock, world.upstream)
    breakers = timelines.among_agents(clock, world.agents, timelines.open_breakers)
    data = [
        _line(sent, "calls to the provider", BLUE, 1),
        _line(wasted, "in vain", RED, 1, fill=True),
        _line(breakers, "pods with a breaker that is not closed", YELLOW, 2, steps=True),
    ]
    return Plot("Provider", _figure(report, clock, data, "calls/s", "pods"))


def _settings(report: Report, clock: Clock, world: World) -> Plot:
    def of(group: str, name: str, unit: float = 1.0) -> Line:
        def value(written: Delivered) -> float | None:
            found = written.settings.get(group, {}).get(name)
            return None if found is None else found / unit

        return timelines.held(clock, world.deliveries, value)

    breaker = "circuitBreaker"
    threshold = of(breaker, "failureRateThresholdPercent")
    wait = of(breaker, "waitDurationInOpenStateSeconds")
    data = [
        _line(of("cache", "maxBytes", MI), "cache per pod", BLUE, 1, steps=True),
        _line(threshold, "breaker: failures that open it, %", RED, 2, steps=True),
        _line(wait, "breaker: stays open, s", GREEN, 2, steps=True),
    ]
    return Plot("Cache and breaker", _figure(report, clock, data, "MiB", "% and s"))


def _workers(written: Delivered) -> float | None:
    found: float | None = written.settings.get("workers", {}).get("maxConcurrent")
    return found


def _level(clock: Clock, value: float) -> Line:
    return Line((0.0, clock.since(clock.ended)), (value, value))


def _line(line: Line, name: str, colour: str, panel: int, **style: Any) -> Figure:
    return plot.line(line.x, line.y, name, colour, panel, **style)


def _figure(report: Report, clock: Clock, data: list[Figure], *titles: str) -> Figure:
    """Panels of one height, one below the other."""
    height = (1 + GAP) / len(titles) - GAP
    lows = [1 - n * (height + GAP) - height for n in range(len(titles))]
    placed = [(title, max(0.0, low), low + height) for title, low in zip(titles, lows, strict=True)]
    lowest = plot.axis("y", len(titles))
    layout = {
        "height": 90 + PANEL_PIXELS * len(titles),
        "hovermode": "closest",
        "xaxis": {"anchor": lowest, "title": {"text": "seconds"}, "range": [0, clock.since(clock.ended)]},
        "shapes": _phases(report, clock),
    }
    return {"data": data, "layout": layout | plot.panels(placed)}


def _phases(report: Report, clock: Clock) -> list[Figure]:
    bands = []
    for number, span in enumerate(report.spans):
        colour = PLAIN_BANDS[number % 2]
        if span.phase.provider_ill or span.phase.blind:
            colour = OUTAGE_BAND if span.phase.provider_ill else GREY_BAND
        name = escape(span.phase.name, quote=False)
        bands.append(plot.band(clock.since(span.began), clock.since(span.ended), colour, name))
    return bands
