"""Which row carries which signal of an object, and what has to be known to judge it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from agentscaler.core.observation import SignalName as S
from agentscaler.signals import external
from agentscaler.signals.errors import QueryError, TooManyQueries
from agentscaler.signals.item import quantile_row, window_row
from agentscaler.signals.plan import PRESET, USUAL_QUANTILES, Own, Plan
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.servers import Server
from agentscaler.signals.templates import BUCKET_WINDOW_SECONDS, REQUEST_RATES

_HIGHEST: Final = sys.float_info.max
_NOT_EXPORTED: Final = "no metric carries it: neither the framework preset nor an override names one"
NO_SERIES: Final = "no series"
"""What the detail of a signal begins with that nobody exports."""

Place = tuple[int, str]
"""(scope, row)"""
NOWHERE: Final[Place] = (0, "")


class Kind(Enum):
    """How a signal is judged."""

    PLAIN = auto()
    QUANTILE = auto()
    TARGETS = auto()


@dataclass(frozen=True, slots=True)
class Reading:
    """How one signal of one object is read in this tick."""

    signal: S
    row: str
    scope: int
    """0: rows of the preset's metrics; 1: rows of the object's own."""
    kind: Kind = Kind.PLAIN
    sources: tuple[str, ...] = (PRESET,)
    """What must be fresh."""
    most: float = _HIGHEST
    """The highest value that the signal can have."""
    count_rows: tuple[Place, ...] = ()
    """If all of these are 0 there was nothing to measure. The first one is the signal's own number of observations."""
    busy_row: Place = NOWHERE
    """If above 0 a pod was busy for the whole window: that nothing was counted is then no calm."""
    waiting_row: Place = NOWHERE
    """If given, it has to be above 0 as well."""
    uncounted: str = ""
    """What it means when only a later count is above 0."""
    note: str = ""
    absent: str = NO_SERIES
    target: float | None = None
    error: QueryError | None = None
    partial: str = ""
    simple: bool = False
    """A value of the preset's fresh series needs no further judgement."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Finds rows of one object: its own where it overrides what they are made of."""

    own: Own | None
    asked: frozenset[str]

    def find(self, row: str) -> Place:
        return (1 if self.own is not None and row in self.own.sources else 0, row)

    def sources(self, row: str) -> tuple[str, ...]:
        if self.own is not None and row in self.own.sources:
            return self.own.sources[row]
        return (PRESET,)


def readings_of(
    plan: Plan,
    request: SignalRequest,
    asked: frozenset[str],
    error_of: Callable[[int, str], QueryError | None],
    partial_of: Callable[[int, str], str],
) -> tuple[Reading, ...]:
    """All readings of an object; objects of the same window, quantiles and overrides share them.

    Args:
        plan: The plan that holds the request.
        request: The object.
        asked: Rows of the preset's queries.
        error_of: (scope of the plan, row) -> why the row's query failed.
        partial_of: (scope of the plan, row) -> why the row's answer is not whole.
    """
    own = plan.own.get(request.overrides) if request.overrides else None
    place = _Place(own, asked)
    server = plan.dialect.server
    window = server.window(request.window_seconds)
    drafts = [*_quantiles(place, request, window), *_ratios(place, server, window), *_plain(place)]
    if request.external_template:
        drafts.append(_external(plan, request))
    result: list[Reading] = []
    for draft in drafts:
        scope = own.scope if own is not None and draft.scope == 1 else 0
        error = error_of(scope, draft.row)
        if draft.scope == 1 and own is not None and own.error is not None:
            error = own.error
        if (request.overrides, draft.row) in plan.refused and error is None:
            usual = ", ".join(f"{quantile:g}" for quantile in USUAL_QUANTILES)
            error = TooManyQueries(f"too many different quantiles of {draft.signal.value}: use one of {usual}")
        if draft.error is not None:
            error = draft.error
        known = bool(draft.sources) if draft.scope == 1 else draft.row in asked
        partial = partial_of(scope, draft.row)
        result.append(
            replace(
                draft,
                row=str(draft.row),  # plain strings are found faster
                note=_note(server, draft, request.window_seconds),
                absent=_absent(plan, draft, known=known),
                error=error,
                partial=partial,
                simple=draft.kind is Kind.PLAIN and draft.sources == (PRESET,) and not error and not partial,
            )
        )
    return tuple(result)


def _absent(plan: Plan, draft: Reading, *, known: bool) -> str:
    """What it means that a signal has no row."""
    if draft.scope == 0 and (why := plan.preset.unavailable.get(draft.signal)):
        return f"{NO_SERIES}: {why}"
    return NO_SERIES if known or not draft.sources else _NOT_EXPORTED


def _quantiles(place: _Place, request: SignalRequest, window: int) -> list[Reading]:
    result: list[Reading] = []
    busy = place.find(window_row("busy", window))
    if request.queue_wait_quantile is not None:
        row = quantile_row(S.QUEUE_WAIT, request.queue_wait_quantile, window)
        result.append(
            Reading(
                S.QUEUE_WAIT,
                row,
                place.find(row)[0],
                Kind.QUANTILE,
                place.sources(row),
                count_rows=(place.find(window_row("queueWaitCount", window)),),
                busy_row=busy,
                waiting_row=place.find(S.QUEUE_DEPTH),
            )
        )
        if request.queue_wait_target_seconds is not None:
            late = quantile_row(S.LATE_RATIO, request.queue_wait_target_seconds, window)
            scope = place.find(late)[0]
            sources = place.sources(late)
            share = replace(result[-1], signal=S.LATE_RATIO, row=late, scope=scope, sources=sources)
            result.append(replace(share, kind=Kind.PLAIN, most=1.0))
    if request.latency_quantile is not None:
        row = quantile_row(S.LATENCY, request.latency_quantile, window)
        result.append(
            Reading(
                S.LATENCY,
                row,
                place.find(row)[0],
                Kind.QUANTILE,
                place.sources(row),
                count_rows=(place.find(window_row("latencyCount", window)), *_rate_over(place, window)),
                busy_row=busy,
                uncounted="runs ended, but none with success",
                target=request.latency_target_seconds,
            )
        )
    return result


def _ratios(place: _Place, server: Server, window: int) -> list[Reading]:
    errors = window_row(S.ERROR_RATIO, window)
    service = server.window(BUCKET_WINDOW_SECONDS)
    return [
        Reading(
            S.ERROR_RATIO,
            errors,
            place.find(errors)[0],
            sources=place.sources(errors),
            most=1.0,
            count_rows=_rate_over(place, window),
            busy_row=place.find(window_row("busy", window)),
        ),
        Reading(
            S.SERVICE_TIME,
            S.SERVICE_TIME,
            place.find(S.SERVICE_TIME)[0],
            sources=place.sources(S.SERVICE_TIME),
            count_rows=_rate_over(place, service),
            busy_row=place.find(window_row("busy", service)),
        ),
        Reading(
            S.CACHE_HIT_RATIO,
            S.CACHE_HIT_RATIO,
            place.find(S.CACHE_HIT_RATIO)[0],
            sources=place.sources(S.CACHE_HIT_RATIO),
            most=1.0,
            count_rows=(place.find(S.CACHE_MISS_RATE),),
        ),
    ]


_PLAIN: Final = (
    S.IN_FLIGHT,
    S.IN_FLIGHT_MAX,
    S.PODS_REPORTING,
    S.QUEUE_DEPTH,
    S.WORKER_LIMIT,
    S.CACHE_BYTES,
    S.CACHE_ENTRIES,
    S.BREAKER_STATE,
    S.APPLIED_GENERATION,
    *(name for name, _ in REQUEST_RATES),
    S.REJECTED_BREAKER_RATE,
    S.REJECTED_RATE,
    S.UPSTREAM_429_RATE,
    S.UPSTREAM_5XX_RATE,
    S.UPSTREAM_TIMEOUT_RATE,
    S.UPSTREAM_CALL_RATE,
    S.CACHE_EVICTION_RATE,
    S.CACHE_EXPIRED_RATE,
    S.CACHE_MISS_RATE,
)
_OF_CONTAINERS: Final = (S.MEMORY_MAX_BYTES, S.MEMORY_MEAN_BYTES, S.CPU_CORES)
_OF_TARGETS: Final = (S.TARGETS, S.TARGETS_UP)


def _plain(place: _Place) -> list[Reading]:
    return [
        *(Reading(name, name.value, place.find(name)[0], sources=place.sources(name)) for name in _PLAIN),
        *(Reading(name, name.value, place.find(name)[0], sources=("memory",)) for name in _OF_CONTAINERS),
        *(Reading(name, name.value, 0, Kind.TARGETS) for name in _OF_TARGETS),
    ]


def _external(plan: Plan, request: SignalRequest) -> Reading:
    """Its age is not known: only a bare selector has one, and a template is any expression."""
    error = external.refusal(plan.dialect.server, plan.demand_templates, request)
    return Reading(S.EXTERNAL_DEMAND, external.row(request.external_template), 0, sources=(), error=error)


def _rate_over(place: _Place, window: int) -> tuple[Place, ...]:
    """The rate of ended runs over a window, if the framework counts them."""
    name = next(name for name, seconds in REQUEST_RATES if seconds == window)
    return (place.find(name),) if place.find(name)[0] or name in place.asked else ()


def _note(server: Server, draft: Reading, window_seconds: int) -> str:
    """Tells when the window is not the one that was asked for."""
    asked = _WINDOWS.get(draft.signal, window_seconds if draft.count_rows else None)
    if asked is None or server.window(asked) == asked:
        return ""
    return f"over {server.window(asked)} s: {asked} s hold fewer than 4 scrapes"


_WINDOWS: Final = {
    **dict(REQUEST_RATES),
    S.REJECTED_BREAKER_RATE: 60,
    S.REJECTED_RATE: 60,
    S.UPSTREAM_429_RATE: 60,
    S.UPSTREAM_5XX_RATE: 60,
    S.UPSTREAM_TIMEOUT_RATE: 60,
    S.UPSTREAM_CALL_RATE: 60,
    S.CPU_CORES: 60,
    S.CACHE_EVICTION_RATE: 300,
    S.CACHE_EXPIRED_RATE: 300,
    S.CACHE_MISS_RATE: 300,
    S.CACHE_HIT_RATIO: 300,
    S.SERVICE_TIME: 600,
}
