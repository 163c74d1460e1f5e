"""One PromQL template for each signal, grouped into the queries that a tick sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from agentscaler.core.observation import SignalName as S
from agentscaler.frameworks.preset import Metric, MetricKind, Metrics
from agentscaler.signals.item import BUCKETS, Item, along, quantile_row, window_row
from agentscaler.signals.promql import Dialect

BUCKET_WINDOW_SECONDS: Final = 600
LOST_AFTER_SECONDS: Final = 300
"""A pod that answered its scrape within this time and does not now is lost; one that never did is starting."""
REQUEST_RATES: Final = (
    (S.REQUEST_RATE_60, 60),
    (S.REQUEST_RATE_120, 120),
    (S.REQUEST_RATE_300, 300),
    (S.REQUEST_RATE_600, 600),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the objects of one query ask for. Windows are in force already (`Server.window`)."""

    windows: tuple[int, ...] = ()
    queue_wait: tuple[tuple[float, int], ...] = ()
    """(quantile, window)"""
    latency: tuple[tuple[float, int], ...] = ()
    late: tuple[tuple[float, int], ...] = ()
    """(objective of the queue wait in seconds, window)"""


@along
def load(m: Metrics, d: Dialect, wanted: Wanted) -> list[Item]:
    """Work in the pods now, and whether some pod was busy for a whole window."""
    items: list[Item] = []
    if m.in_flight:
        fields = frozenset({"in_flight"})
        pods = d.per_pod(d.value(m.in_flight))
        items += [
            Item(S.IN_FLIGHT, fields, d.per_object("sum", pods)),
            Item(S.IN_FLIGHT_MAX, fields, d.per_object("max", pods)),
            Item(S.PODS_REPORTING, fields, d.per_object("count", pods)),
        ]
        for window in sorted({*wanted.windows, BUCKET_WINDOW_SECONDS}):
            least = d.per_pod(f"min_over_time({d.select(m.in_flight)}[{window}s])")
            items.append(Item(window_row("busy", window), fields, f"({d.per_object('max', least)} > 0)"))
    if m.queue_depth:
        total = d.per_object("sum", d.per_pod(d.value(m.queue_depth)))
        items.append(Item(S.QUEUE_DEPTH, frozenset({"queue_depth"}), total))
    return items


@along
def knobs(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """What the pods report of their settings."""
    rows: tuple[tuple[S, str, Metric | None, str, str], ...] = (
        (S.WORKER_LIMIT, "worker_limit", m.worker_limit, "sum", "min"),
        (S.CACHE_BYTES, "cache_bytes", m.cache_bytes, "sum", "max"),
        (S.CACHE_ENTRIES, "cache_entries", m.cache_entries, "sum", "max"),
        (S.BREAKER_STATE, "breaker_state", m.breaker_state, "max", "max"),
        (S.APPLIED_GENERATION, "applied_generation", m.applied_generation, "min", "min"),
    )
    return [
        Item(row, frozenset({field}), d.per_object(over_pods, d.per_pod(d.value(metric), within=within)))
        for row, field, metric, within, over_pods in rows
        if metric
    ]


@along
def targets(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """Pods with scrape targets, those that answer, those lost, and the age of the samples."""
    up = d.select(Metric("up", MetricKind.GAUGE))
    fresh = f"({up} and (timestamp({up}) > time() - {d.server.stale_after_seconds:g}))"
    now = d.per_pod(fresh, within="max")
    before = d.per_pod(f"max_over_time({up}[{LOST_AFTER_SECONDS}s])", within="max")
    nothing: frozenset[str] = frozenset()
    items = [
        Item(S.TARGETS, nothing, d.per_object("count", now)),
        Item(S.TARGETS_UP, nothing, d.per_object("sum", now)),
        Item("lost", nothing, d.per_object("count", f"(({now} == 0) and ({before} == 1))")),
    ]
    sources = [metric for metric in (m.in_flight, m.requests) if metric]
    if sources:
        times = " or ".join(d.per_pod(d.sample_time(metric), within="min") for metric in sources)
        scrapes = d.per_pod(d.sample_time(sources[0]), within="count", across="count")
        items += [
            Item("oldest", nothing, d.per_object("min", times)),
            Item("newest", nothing, d.per_object("max", times)),
            Item("scrapes", nothing, f"({d.per_object('max', scrapes)} > 1)"),
        ]
    return items


@along
def freshness(m: Metrics, d: Dialect, fields: Iterable[str]) -> list[Item]:
    """Age of the samples of single metrics, for overrides."""
    items: list[Item] = []
    for field in sorted(fields):
        metrics = _metrics(m, field)
        if not metrics:
            continue
        times = d.per_pod(d.sample_time(metrics[0]), within="min")
        items.append(Item(f"oldest:{field}", frozenset({field}), d.per_object("min", times)))
        items.append(Item(f"newest:{field}", frozenset({field}), d.per_object("max", times)))
    return items


@along
def rates(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """Runs that ended, over the four windows."""
    if not m.requests:
        return []
    return [
        Item(row, frozenset({"requests"}), _total(d, m.requests, d.server.window(seconds)))
        for row, seconds in REQUEST_RATES
    ]


@along
def errors(m: Metrics, d: Dialect, wanted: Wanted) -> list[Item]:
    """Share of failed runs. A service without errors has no error series, so `or 0 *` stands in; no runs: no row.

    Where failures are not counted, what did not succeed has failed; where nothing is, the gauge of the share tells.
    """
    items: list[Item] = []
    for window in wanted.windows:
        fields = {"requests", "failed_requests"}
        ended = _total(d, m.requests, window) if m.requests else ""
        if m.requests and m.failed_requests:
            share = f"clamp_max(({_total(d, m.failed_requests, window)} or 0 * {ended}) / ({ended} > 0), 1)"
        elif m.requests and m.successful_requests:
            succeeded = _total(d, m.successful_requests, window)
            share = f"clamp_min(1 - ({succeeded} or 0 * {ended}) / ({ended} > 0), 0)"
        elif m.success_ratio:
            share = f"clamp(1 - {d.per_object('avg', d.per_pod(d.rate(m.success_ratio, window), within='avg'))}, 0, 1)"
        else:
            continue
        items.append(Item(window_row(S.ERROR_RATIO, window), frozenset(fields), share))
    return items


@along
def refusals(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """Runs refused, and upstream calls by outcome."""
    rows: tuple[tuple[S, str, Metric | None], ...] = (
        (S.REJECTED_BREAKER_RATE, "rejected_by_breaker", m.rejected_by_breaker),
        (S.REJECTED_RATE, "rejected", m.rejected),
        (S.UPSTREAM_429_RATE, "upstream_429", m.upstream_429),
        (S.UPSTREAM_5XX_RATE, "upstream_5xx", m.upstream_5xx),
        (S.UPSTREAM_TIMEOUT_RATE, "upstream_timeout", m.upstream_timeout),
        (S.UPSTREAM_CALL_RATE, "upstream_calls", m.upstream_calls),
    )
    return [
        Item(row, frozenset({field}), _total(d, metric, d.server.window(60))) for row, field, metric in rows if metric
    ]


@along
def cache(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """How the cache does, over 300 s."""
    window = d.server.window(300)
    rows: tuple[tuple[S, str, Metric | None], ...] = (
        (S.CACHE_EVICTION_RATE, "cache_evictions", m.cache_evictions),
        (S.CACHE_EXPIRED_RATE, "cache_expired", m.cache_expired),
        (S.CACHE_MISS_RATE, "cache_misses", m.cache_misses),
    )
    items = [Item(row, frozenset({field}), _total(d, metric, window)) for row, field, metric in rows if metric]
    if m.cache_hits and m.cache_misses:
        hits, misses = _total(d, m.cache_hits, window), _total(d, m.cache_misses, window)
        ratio = f"({hits} / (({hits} + {misses}) > 0))"
        items.append(Item(S.CACHE_HIT_RATIO, frozenset({"cache_hits", "cache_misses"}), ratio))
    return items


@along
def service(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """Mean duration of a run without its wait in the queue, over 600 s."""
    window, fields = d.server.window(600), {"duration"}
    if not m.duration:
        if not m.mean_duration:
            return []
        mean = d.per_object("avg", d.per_pod(d.rate(m.mean_duration, window), within="avg"))
        return [Item(S.SERVICE_TIME, frozenset(fields), mean)]
    total = d.per_object("sum", d.per_pod(d.histogram_part(m.duration, "sum", window)))
    if m.queue_wait:
        fields.add("queue_wait")
        waits = d.per_object("sum", d.per_pod(d.histogram_part(m.queue_wait, "sum", window)))
        total = f"({total} - {waits})"
    runs = d.per_object("sum", d.per_pod(d.histogram_part(m.duration, "count", window)))
    return [Item(S.SERVICE_TIME, frozenset(fields), f"({total} / ({runs} > 0))")]


@along
def memory(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """Memory of the worst pod and of the mean one. The largest container counts; a dead pod's series does not."""
    if not m.memory:
        return []
    age, fields = d.server.memory_stale_after_seconds, frozenset({"memory"})
    pods = "(" + " or ".join(d.per_pod(d.fresh(metric, age), within="max") for metric in m.memory) + ")"
    times = "(" + " or ".join(d.per_pod(d.sample_time(metric), within="max") for metric in m.memory) + ")"
    return [
        Item(S.MEMORY_MAX_BYTES, fields, d.per_object("max", pods)),
        Item(S.MEMORY_MEAN_BYTES, fields, d.per_object("avg", pods)),
        Item("memoryPods", fields, d.per_object("count", pods)),
        Item("memoryNewest", fields, d.per_object("max", times)),
    ]


@along
def cpu(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """CPU of all pods."""
    if not m.cpu:
        return []
    pods = " or ".join(d.per_pod(d.rate(metric, d.server.window(60))) for metric in m.cpu)
    return [Item(S.CPU_CORES, frozenset({"cpu"}), d.per_object("sum", pods))]


@along
def quantiles(m: Metrics, d: Dialect, wanted: Wanted, window: int) -> list[Item]:
    """All quantiles over one window, how many observations each has, and how many runs were late."""
    items: list[Item] = []
    for signal, field, metric, pairs in _histograms(m, wanted):
        asked = [quantile for quantile, over in pairs if over == window]
        if not metric or not asked:
            continue
        fields = frozenset({field})
        for quantile in asked:
            row = quantile_row(signal, quantile, window)
            items.append(Item(row, fields, d.quantile(metric, quantile, window)))
        count = d.per_object("sum", d.per_pod(d.histogram_part(metric, "count", window)))
        items.append(Item(window_row(f"{signal.value}Count", window), fields, f"({count} * {window})"))
    if m.queue_wait:
        items += [
            Item(
                quantile_row(S.LATE_RATIO, target, window),
                frozenset({"queue_wait"}),
                d.share_above(m.queue_wait, target, window),
            )
            for target, over in wanted.late
            if over == window
        ]
    return items


@along
def saturation(m: Metrics, d: Dialect, wanted: Wanted, window: int) -> list[Item]:
    """Quantiles that lie above the last finite bucket: only there the quantile equals that of 1."""
    return [
        Item(
            "saturated:" + quantile_row(signal, quantile, window),
            frozenset({field}),
            f"({d.quantile(metric, quantile, window)} == {d.quantile(metric, 1.0, window)})",
        )
        for signal, field, metric, pairs in _histograms(m, wanted)
        for quantile, over in pairs
        if metric and over == window and quantile < 1
    ]


@along
def buckets(m: Metrics, d: Dialect, _: Wanted) -> list[Item]:
    """Distribution of run durations: classic rows by `le`, or one native histogram."""
    if not m.duration:
        return []
    classic, native = d.buckets(m.duration, d.server.window(BUCKET_WINDOW_SECONDS))
    return [Item(BUCKETS, frozenset({"duration"}), f"({classic} or {native})")]


FAMILIES: Final[tuple[Callable[[Metrics, Dialect, Wanted], list[Item]], ...]] = (
    targets,  # first: it is the probe of a server that failed
    load,
    knobs,
    rates,
    errors,
    refusals,
    cache,
    service,
    memory,
    cpu,
)
"""The queries of each tick, quantiles aside."""


def _histograms(m: Metrics, wanted: Wanted) -> tuple[tuple[S, str, Metric | None, tuple[tuple[float, int], ...]], ...]:
    return (
        (S.QUEUE_WAIT, "queue_wait", m.queue_wait, wanted.queue_wait),
        (S.LATENCY, "successful_duration", m.successful_duration, wanted.latency),
    )


def _total(d: Dialect, metric: Metric, window: int) -> str:
    return d.per_object("sum", d.per_pod(d.rate(metric, window)))


def _metrics(m: Metrics, field: str) -> tuple[Metric, ...]:
    value = getattr(m, field)
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
