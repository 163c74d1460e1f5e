"""From the requests of many objects to at most twenty queries, whatever their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agentscaler.core.observation import SignalName as S
from agentscaler.frameworks.preset import Metric, MetricKind, Metrics
from agentscaler.signals import templates
from agentscaler.signals.errors import InvalidOverride, QueryError, TooManyQueries
from agentscaler.signals.item import Item, quantile_row
from agentscaler.signals.promql import Dialect, union
from agentscaler.signals.request import Override, SignalRequest
from agentscaler.signals.servers import Server
from agentscaler.signals.templates import Wanted

MOST_QUERIES: Final = 20
"""HTTP queries in a tick for one (server, preset)."""
MOST_QUANTILES: Final = 4
"""Distinct quantiles of one histogram over one window."""
USUAL_QUANTILES: Final = (0.99, 0.95, 0.9, 0.5)
_HISTOGRAMS: Final = frozenset({"duration", "successful_duration", "queue_wait"})
_GAUGES: Final = frozenset(
    {"in_flight", "queue_depth", "worker_limit", "cache_bytes", "breaker_state", "applied_generation", "memory"}
)

PRESET: Final = ""
"""The source of rows that are made of the preset's metrics."""

Overrides = tuple[Override, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One HTTP query. `scope` is 0 for the preset's metrics, else that of a set of overrides."""

    scope: int
    rows: frozenset[str]
    promql: str
    """To be narrowed to the namespaces of a tick: `Dialect.narrowed`."""
    name: str = ""
    """What back-off knows it by, where its text changes from tick to tick."""


@dataclass(frozen=True, slots=True)
class Own:
    """A set of overrides that objects share, with what it replaces."""

    scope: int
    fields: frozenset[str]
    """Fields of `Metrics` that are overridden."""
    metrics: Metrics
    sources: Mapping[str, tuple[str, ...]]
    """Row -> overridden fields that it is made of, and `PRESET` where it uses others besides.

    Nothing where the overrides leave the row without a metric.
    """
    error: QueryError | None = None
    """Why it is not asked at all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All queries of one (server, preset)."""

    dialect: Dialect
    preset: Metrics
    quick: tuple[Query, ...]
    """Sent each tick; the first one is cheap and serves as a probe, then come the expensive ones."""
    slow: tuple[Query, ...]
    """Sent about once a minute, as many in one tick as fit."""
    own: dict[Overrides, Own]
    refused: frozenset[tuple[Overrides, str]] = field(default_factory=frozenset)
    """(overrides, row) of quantiles beyond the most that are asked."""
    demand_templates: tuple[str, ...] = ()
    """Those that are asked, one query each, made in each tick for the objects that are due."""

    @property
    def slow_slots(self) -> int:
        """How many slow queries fit into one tick."""
        return max(1, MOST_QUERIES - len(self.quick) - len(self.demand_templates))

    def namespaces(self, requests: Iterable[SignalRequest]) -> dict[int, set[str]]:
        """Where queries have to look for some of the plan's objects, by scope."""
        found: dict[int, set[str]] = {0: set()}
        for request in requests:
            found[0].add(request.namespace)
            if request.overrides:
                found.setdefault(self.own[request.overrides].scope, set()).add(request.namespace)
        return found


def plan(server: Server, metrics: Metrics, requests: Sequence[SignalRequest]) -> Plan:
    """Group requests into queries. The same requests give the same plan, in any order.

    Args:
        server: All requests are for this server,
        metrics: and for this preset's metrics.
        requests: One for each object.
    """
    dialect = Dialect(server)
    by_overrides: dict[Overrides, list[SignalRequest]] = {}
    for request in requests:
        by_overrides.setdefault(request.overrides, []).append(request)
    wanted, refused = _wanted(server, requests)
    refusals = {(overrides, row) for overrides in by_overrides for row in refused}
    probe, *others = [_query(0, family(metrics, dialect, wanted)) for family in templates.FAMILIES]
    quantiles = [_query(0, templates.quantiles(metrics, dialect, wanted, window)) for window in _windows(wanted)]
    quick = [probe, *quantiles, *others]
    slow = [_query(0, templates.buckets(metrics, dialect, wanted))]
    slow += [_query(0, templates.saturation(metrics, dialect, wanted, window)) for window in _windows(wanted)]
    quick = [query for query in quick if query.rows]
    room = MOST_QUERIES - 1 - len(quick)  # one slot is kept for the slow queries
    templates_asked = admitted(requests, room)
    room -= len(templates_asked)
    rows = [*_quick(metrics, dialect, wanted), *_slow(metrics, dialect, wanted)] if any(by_overrides) else []
    own: dict[Overrides, Own] = {}
    shared = sorted(
        (overrides for overrides in by_overrides if overrides), key=lambda o: (-len(by_overrides[o]), repr(o))
    )
    for scope, overrides in enumerate(shared, start=1):
        mine, over = _wanted(server, by_overrides[overrides])
        own[overrides], queries, later = _own(scope, overrides, metrics, dialect, rows=rows, wanted=mine, room=room)
        room -= len(queries)
        quick += queries
        slow += later
        refusals |= {(overrides, row) for row in over}
    slow = [query for query in slow if query.rows]
    return Plan(dialect, metrics, tuple(quick), tuple(slow), own, frozenset(refusals), templates_asked)


def admitted(requests: Iterable[SignalRequest], room: int) -> tuple[str, ...]:
    """Demand templates that are asked: one query each, the most shared ones where there is not room for all."""
    counts = Counter(request.external_template for request in requests if request.external_template)
    return tuple(sorted(sorted(counts, key=lambda name: (-counts[name], name))[: max(room, 0)]))


def _own(
    scope: int,
    overrides: Overrides,
    preset: Metrics,
    dialect: Dialect,
    *,
    rows: Sequence[Item],
    wanted: Wanted,
    room: int,
) -> tuple[Own, list[Query], list[Query]]:
    fields = frozenset(override.field for override in overrides)
    # What the overrides leave without a metric is not known; the preset's rows must not stand in for it.
    sources: dict[str, tuple[str, ...]] = {item.row: () for item in rows if item.fields & fields}
    error: QueryError | None = None
    metrics = preset
    try:
        metrics = _replaced(preset, overrides, dialect)
    except InvalidOverride as invalid:
        error = invalid
    if error is None and room < 1:
        error = TooManyQueries(
            "too many different sets of overrides for one server: use the overrides of another object, or rename "
            "the metrics in the scrape configuration"
        )
    if error is not None:
        return Own(scope, fields, preset, sources, error), [], []
    quick = [item for item in _quick(metrics, dialect, wanted) if item.fields & fields]
    quick += templates.freshness(metrics, dialect, fields)
    slow = [item for item in _slow(metrics, dialect, wanted) if item.fields & fields]
    for item in (*quick, *slow):
        sources[item.row] = (*sorted(item.fields & fields), *((PRESET,) if item.fields - fields else ()))
    return Own(scope, fields, metrics, sources), [_query(scope, quick)], [_query(scope, slow)] if slow else []


def _quick(metrics: Metrics, dialect: Dialect, wanted: Wanted) -> list[Item]:
    items = [item for family in templates.FAMILIES for item in family(metrics, dialect, wanted)]
    for window in _windows(wanted):
        items += templates.quantiles(metrics, dialect, wanted, window)
    return items


def _slow(metrics: Metrics, dialect: Dialect, wanted: Wanted) -> list[Item]:
    items = templates.buckets(metrics, dialect, wanted)
    for window in _windows(wanted):
        items += templates.saturation(metrics, dialect, wanted, window)
    return items


def _replaced(preset: Metrics, overrides: Overrides, dialect: Dialect) -> Metrics:
    changes: dict[str, Any] = {}
    for override in overrides:
        name, metric = override.field, override.metric
        if name not in Metrics.__dataclass_fields__:
            raise InvalidOverride(f"override {name!r}: there is no such signal")
        _check_kind(name, metric)
        dialect.select(metric)
        changes[name] = (metric,) if name in {"memory", "cpu"} else metric
    # Missing errors read as none, so both counters must come from one source.
    if "requests" in changes:
        for name in ("failed_requests", "successful_requests", "success_ratio"):
            changes.setdefault(name, None)
    return _along(preset, changes)


def _along(metrics: Metrics, changes: Mapping[str, Any]) -> Metrics:
    """The changes, in the other names as well: what the user names is the only name."""
    otherwise = metrics.otherwise
    return replace(metrics, **changes, otherwise=otherwise and _along(otherwise, changes))


def _check_kind(name: str, metric: Metric) -> None:
    if name in _HISTOGRAMS:
        allowed: tuple[MetricKind, ...] = (MetricKind.HISTOGRAM,)
    elif name in _GAUGES:
        allowed = (MetricKind.GAUGE,)
    else:
        allowed = (MetricKind.COUNTER, MetricKind.HISTOGRAM)
    if metric.kind not in allowed:
        raise InvalidOverride(f"override of {name}: its kind must be {' or '.join(allowed)}, not {metric.kind}")


def _wanted(server: Server, requests: Iterable[SignalRequest]) -> tuple[Wanted, set[str]]:
    windows: set[int] = set()
    counts: dict[S, Counter[tuple[float, int]]] = {
        S.QUEUE_WAIT: Counter(),
        S.LATENCY: Counter(),
        S.LATE_RATIO: Counter(),
    }
    for request in requests:
        window = server.window(request.window_seconds)
        windows.add(window)
        if request.queue_wait_quantile is not None:
            counts[S.QUEUE_WAIT][request.queue_wait_quantile, window] += 1
            if request.queue_wait_target_seconds is not None:
                counts[S.LATE_RATIO][request.queue_wait_target_seconds, window] += 1
        if request.latency_quantile is not None:
            counts[S.LATENCY][request.latency_quantile, window] += 1
    refused: set[str] = set()
    taken: dict[S, tuple[tuple[float, int], ...]] = {}
    for signal, counter in counts.items():
        kept: list[tuple[float, int]] = []
        usual = () if signal is S.LATE_RATIO else USUAL_QUANTILES
        for window in sorted(windows):
            ranked = sorted(
                (pair for pair in counter if pair[1] == window),
                key=lambda pair: (pair[0] not in usual, -counter[pair], pair),
            )
            kept += ranked[:MOST_QUANTILES]
            if signal is not S.LATE_RATIO:  # without it the share is estimated from the quantile
                refused |= {quantile_row(signal, *pair) for pair in ranked[MOST_QUANTILES:]}
        taken[signal] = tuple(sorted(kept))
    return Wanted(tuple(sorted(windows)), taken[S.QUEUE_WAIT], taken[S.LATENCY], taken[S.LATE_RATIO]), refused


def _windows(wanted: Wanted) -> list[int]:
    return sorted({window for _, window in (*wanted.queue_wait, *wanted.latency)})


def _query(scope: int, items: Iterable[Item]) -> Query:
    chosen = list(items)
    return Query(scope, frozenset(item.row for item in chosen), union([item.tagged for item in chosen]))
