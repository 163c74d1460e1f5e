"""From the rows of one object to its signals: what can be trusted, what cannot, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Final

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.signals.errors import QueryError
from agentscaler.signals.plan import PRESET
from agentscaler.signals.readings import NO_SERIES, Kind, Reading
from agentscaler.signals.request import FIELDS

ENOUGH: Final = 100
"""Observations below which a quantile's detail tells their number."""
TOLERANCE: Final = 1e-9
WIDE: Final = 2.5
"""A bucket whose bounds are further apart, upper to lower, is too wide to judge an objective inside it."""

_REASONS: Final[Mapping[Health, tuple[Reason, str]]] = {
    Health.STALE: (Reason.SIGNALS_STALE, "samples are too old: check that Prometheus still scrapes the pods"),
    Health.EMPTY: (
        Reason.SIGNALS_EMPTY,
        "no series: check that Prometheus scrapes the pods with their namespace and pod labels, and the metric names",
    ),
    Health.INVALID: (Reason.SIGNALS_INVALID, "not a possible value: check the metric that carries it"),
    Health.PARTIAL: (Reason.SIGNALS_PARTIAL, "data is missing: check the pods that do not answer their scrape"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Ages in seconds from which samples are not believed."""

    stale_after: float
    memory_stale_after: float


@dataclass(slots=True)
class View:
    """The rows of one object, and how fresh their sources are.

    A row's scope is 0 for the preset's metrics and 1 for the object's own overrides.
    """

    now: float
    limits: Limits
    rows: tuple[Mapping[str, float], Mapping[str, float]]
    slow: tuple[Mapping[str, float], Mapping[str, float]]
    blind: tuple[str, str]
    """Why the freshness of a scope is not known (its query failed), or the empty string."""
    has_freshness: bool
    """Whether the preset has a metric whose age can be told."""
    latency_bounds: tuple[float, ...] = ()
    """Upper bounds of the buckets that the latency is made of, rising; empty when not known."""
    refused: QueryError | None = None
    """Why the object's own metrics are not asked for at all."""
    _states: dict[str, tuple[Health | None, str, float | None]] = field(default_factory=dict)

    def state(self, source: str) -> tuple[Health | None, str, float | None]:
        """What is wrong with a source (None: nothing), why, and the time of its newest sample."""
        if source not in self._states:
            self._states[source] = self._of_memory() if source == "memory" else self._judge(source)
        return self._states[source]

    def _judge(self, source: str) -> tuple[Health | None, str, float | None]:
        scope = 1 if source else 0
        if self.blind[scope]:
            return Health.ERROR, self.blind[scope], None
        if not source and not self.has_freshness:
            return self._lost(None)
        suffix = f":{source}" if source else ""
        newest, oldest = (self.rows[scope].get(name + suffix) for name in ("newest", "oldest"))
        if newest is None or oldest is None:
            return Health.STALE, "the series are gone; the value is what the window still holds", None
        limit = self.limits.stale_after
        if self.now - newest > limit:
            return Health.STALE, f"no sample for more than {limit:g} s", newest
        if self.now - oldest > limit:
            return Health.PARTIAL, f"no sample of some pods for more than {limit:g} s", newest
        return self._lost(newest)

    def _lost(self, newest: float | None) -> tuple[Health | None, str, float | None]:
        if self.rows[0].get("lost"):
            return Health.PARTIAL, "pods that answered their scrape no longer do", newest
        return None, "", newest

    def _of_memory(self) -> tuple[Health | None, str, float | None]:
        scope = 1 if "memoryNewest" in self.rows[1] else 0
        newest = self.rows[scope].get("memoryNewest")
        if newest is None or self.now - newest > self.limits.memory_stale_after:
            return Health.STALE, f"no sample for more than {self.limits.memory_stale_after:g} s", newest
        if self.rows[scope].get("memoryPods", 0.0) < self.rows[0].get(SignalName.TARGETS, 0.0):
            return self._lost(newest)
        return None, "", newest


def read(view: View, readings: tuple[Reading, ...]) -> tuple[dict[SignalName, Signal], list[tuple[str, str]]]:
    """All signals of one object.

    Returns:
        The signals, and problems as (reason, message); messages stay the same while the cause does.
    """
    signals: dict[SignalName, Signal] = {}
    problems: list[tuple[str, str]] = []
    wrong, _, observed_at = view.state(PRESET)
    preset, fresh = view.rows[0], Health.FRESH
    for reading in readings:
        value = preset.get(reading.row) if reading.simple and wrong is None else None
        if value is not None and 0 <= value <= reading.most:  # almost all signals of almost all objects; not NaN
            signals[reading.signal] = Signal(value, fresh, observed_at, reading.note)
        else:
            signals[reading.signal] = _read(view, reading, problems)
    return signals, problems


def observe(
    view: View,
    readings: tuple[Reading, ...],
    required: frozenset[SignalName],
    buckets: tuple[tuple[float, float], ...],
    server: str,
    *,
    unavailable: Mapping[str, str],
) -> Observation:
    """The observation of one object with everything that makes its signals untrusted."""
    signals, problems = read(view, readings)
    if view.refused is not None:
        problems.append((view.refused.reason.value, f"Prometheus server {server}: {view.refused}"))
    problems += [
        (reading.error.reason.value, f"Prometheus server {server}: {reading.error}{_mend(reading)}")
        for reading in readings
        if reading.error is not None
    ]
    demand = signals.get(SignalName.EXTERNAL_DEMAND)
    if demand is not None and demand.health in {Health.EMPTY, Health.INVALID}:
        message = "externalDemand: the template gives no number: check the parameters of spec.tuning.replicas"
        problems.append((_REASONS[demand.health][0], f"{message}.externalDemand"))
    up, known = view.rows[0].get(SignalName.TARGETS_UP), view.rows[0].get(SignalName.TARGETS)
    if known and up == 0:
        problems.append((Reason.TARGETS_DOWN, "no pod answers its scrape: check that the agents run and listen"))
    if view.rows[0].get("scrapes", 1.0) > 1:
        message = "more than one job scrapes the same pods: they are counted once, but remove all jobs but one"
        problems.append((Reason.DUPLICATE_SCRAPE, message))
    lacking: dict[Health, list[str]] = {}
    for name in required:
        health = signals[name].health if name in signals else Health.EMPTY
        why = signals[name].detail if name in signals else ""
        if health is Health.EMPTY and name in unavailable and NO_SERIES in why:
            problems.append((Reason.SIGNALS_EMPTY, f"{name.value}: {why}"))
        elif health in _REASONS:
            lacking.setdefault(health, []).append(name.value)
    for health, names in sorted(lacking.items()):
        reason, mend = _REASONS[health]
        problems.append((reason, f"{', '.join(sorted(names))}: {mend}"))
    return Observation(view.now, signals, buckets, tuple(dict.fromkeys((str(r), text) for r, text in problems)))


def _mend(reading: Reading) -> str:
    """Where the user corrects a query that is of their own making."""
    own = [source for source in reading.sources if source != PRESET] if reading.scope == 1 else []
    if reading.error is None or reading.error.reason is not Reason.QUERY_REFUSED or not own:
        return ""
    names = {field: name for name, field in FIELDS.items()}
    return f"; correct {' or '.join(f'spec.signals.overrides.{names.get(source, source)}' for source in own)}"


def _read(view: View, reading: Reading, problems: list[tuple[str, str]]) -> Signal:
    if reading.error is not None:
        return Signal(None, Health.ERROR, None, str(reading.error))
    value = view.rows[reading.scope].get(reading.row)
    if value is None or not isfinite(value):
        return _without_value(view, reading, value)
    health, detail, observed_at = _source_state(view, reading)
    if value < -TOLERANCE or value > reading.most + TOLERANCE:
        return Signal(None, Health.INVALID, observed_at, f"{value:g} is not possible")
    if reading.partial and health is not Health.STALE:
        health, detail = Health.PARTIAL, reading.partial
    if health is None:
        health, detail = Health.FRESH, reading.note
        if reading.kind is Kind.QUANTILE:
            health, detail = _judge_quantile(view, reading, value, problems)
    return Signal(None if health in {Health.INVALID, Health.ERROR} else value, health, observed_at, detail)


def _source_state(view: View, reading: Reading) -> tuple[Health | None, str, float | None]:
    if reading.kind is Kind.TARGETS:
        return None, "", view.now
    if len(reading.sources) == 1:
        return view.state(reading.sources[0])
    worst: tuple[Health | None, str, float | None] = (None, "", None)
    times: list[float] = []
    for source in reading.sources:
        state = view.state(source)
        if state[2] is not None:
            times.append(state[2])
        if worst[0] is None or state[0] in {Health.ERROR, Health.STALE}:
            worst = state
    return worst[0], worst[1], min(times, default=None)


def _without_value(view: View, reading: Reading, value: float | None) -> Signal:
    """No number: nothing to measure, nothing known, or nonsense."""
    health, detail, observed_at = _source_state(view, reading)
    idle, why = _is_idle(view, reading)
    if idle:
        if health is None and reading.partial:
            return Signal(None, Health.PARTIAL, observed_at, reading.partial)
        if health is None:
            return Signal(None, Health.IDLE, observed_at, "no traffic")
        return Signal(
            None, Health.EMPTY if health is Health.STALE and observed_at is None else health, observed_at, detail
        )
    if value is not None and not why:
        return Signal(None, Health.INVALID, observed_at, "not a number" if isnan(value) else "infinite")
    if health is Health.ERROR:
        return Signal(None, health, observed_at, detail)
    if health is Health.STALE and observed_at is not None:
        return Signal(None, health, observed_at, detail)
    return Signal(None, Health.EMPTY, observed_at, why or reading.absent)


def _is_idle(view: View, reading: Reading) -> tuple[bool, str]:
    """Whether the lack of a value means that there was nothing to measure; else why not, where that is known."""
    if not reading.count_rows:
        return False, ""
    for scope, row in reading.count_rows:
        count = view.rows[scope].get(row)
        if count is None:
            return False, ""
        if count > 0:
            return False, reading.uncounted if row != reading.count_rows[0][1] else ""
    scope, row = reading.busy_row
    if row and view.rows[scope].get(row, 0.0) > 0:
        waiting = reading.waiting_row
        if not waiting[1] or view.rows[waiting[0]].get(waiting[1], 0.0) > 0:
            return False, "runs were in flight all the time, and none was counted in the window"
    return True, ""


def _judge_quantile(view: View, reading: Reading, value: float, problems: list[tuple[str, str]]) -> tuple[Health, str]:
    scope, row = reading.count_rows[0]
    count = view.rows[scope].get(row, 0.0)
    detail = reading.note
    if count < ENOUGH:
        detail = f"{detail}; n = {count:.0f}" if detail else f"n = {count:.0f}"
    name = reading.signal.value
    bound = view.slow[reading.scope].get(f"saturated:{reading.row}")
    if bound is None or value < bound:
        return _judge_bucket(view, reading, value, problems) or (Health.FRESH, detail)
    problems.append(
        (
            Reason.HISTOGRAM_SATURATED,
            f"{name} lies above the highest bucket ({bound:g} s), by how much is not known: add buckets above it",
        )
    )
    if reading.target is not None and bound < reading.target:
        return Health.INVALID, f"above {bound:g} s, where the buckets end: the objective cannot be judged"
    return Health.FRESH, f"at least {bound:g} s, where the buckets end"


def _judge_bucket(
    view: View, reading: Reading, value: float, problems: list[tuple[str, str]]
) -> tuple[Health, str] | None:
    """What is wrong with a quantile because the objective lies inside a wide bucket; None: nothing.

    Within a bucket a quantile is a guess along a straight line. Against a bound of a bucket it is exact.
    """
    target = reading.target
    above = next((bound for bound in view.latency_bounds if target is not None and bound >= target), None)
    if target is None or above is None or above == target:
        return None
    below = max((bound for bound in view.latency_bounds if bound < target), default=0.0)
    if above <= WIDE * below:
        return None
    bucket = f"from {below:g} to {above:g} s"
    message = f"the bucket {bucket} is too wide to judge an objective of {target:g} s: add buckets near that"
    problems.append((Reason.HISTOGRAM_COARSE, f"{reading.signal.value}: {message}"))
    if below < value < above:
        return Health.INVALID, f"somewhere {bucket}: the objective cannot be judged"
    return None
