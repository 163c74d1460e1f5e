"""One run in steps: what plots show, and the minutes in which it lost, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agentscaler.simulate import state as c
from agentscaler.simulate.run import Timeline
from agentscaler.simulate.state import Floats
from agentscaler.simulate.world import World

Bools = NDArray[np.bool_]

STEP_SECONDS: Final = 15.0
LOSS_MINUTES: Final = 10
"""So many of the worst minutes are told."""
RISE: Final = 1.3
"""A load that grew by less within two minutes is no burst."""
AFTERWARDS_SECONDS: Final = 600.0
"""A pod that runs out of memory so long after a run came may have taken it along."""
FULL: Final = 0.95
"""Share of the slots in use from which there are none free: slots of a pod that drains are not seen."""
_GAUGES: Final = frozenset({"running", "queued", "ordered", "ready", "existing", "workers"})
_VIOLATIONS: Final = ("late", "timed_out", "failed", "killed", "refused")


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Arrays with one entry for each step. Requests count in the step in which they came."""

    step_seconds: float
    arrivals: Floats
    late: Floats
    """Served, after a wait beyond the objective."""
    timed_out: Floats
    failed: Floats
    killed: Floats
    refused: Floats
    unavoidable: Floats
    """Failed by the provider whatever anybody does; in none of the five above."""
    running: Floats
    """At the last decision of the step, as all others below."""
    queued: Floats
    ordered: Floats
    """Replicas asked for."""
    ready: Floats
    existing: Floats
    """Pods that are billed: also those that start or drain."""
    workers: Floats
    """Worker limit of a pod."""
    billed_seconds: Floats
    """Replica-seconds of the step."""
    oom_kills: Floats
    outage: Floats
    """Share of the provider's calls that fail."""

    @property
    def times(self) -> Floats:
        """Seconds from the start of the trace to the end of each step."""
        steps: Floats = np.arange(1, len(self.arrivals) + 1, dtype=np.float64)
        return steps * self.step_seconds

    @property
    def violations(self) -> Floats:
        """All requests that were not served as promised and could have been."""
        total: Floats = self.late + self.timed_out + self.failed + self.killed + self.refused
        return total

    @property
    def slots(self) -> Floats:
        """Runs that fit into the ready pods."""
        product: Floats = self.ready * self.workers
        return product


def steps(world: World, noted: Timeline, replica_hours: float, step_seconds: float = STEP_SECONDS) -> Steps:
    """A finished run in equal steps.

    Args:
        world: As it ended.
        noted: What was written down at each decision, at whatever pace.
        replica_hours: Of the whole run.
        step_seconds: Of the result.
    """
    s, workload = world.state, world.workload
    n = max(1, ceil(workload.duration_seconds / step_seconds))
    step = np.minimum((s.arrival / step_seconds).astype(np.int64), n - 1)

    def count(chosen: Bools) -> Floats:
        counts: Floats = np.bincount(step[chosen], minlength=n).astype(np.float64)
        return counts

    seconds = np.array([0.0, *noted.seconds, workload.duration_seconds])
    edges = np.minimum(np.arange(n + 1) * step_seconds, workload.duration_seconds)
    last = np.clip(np.searchsorted(seconds[1:-1], edges[1:], side="right") - 1, 0, None)

    def gauge(values: Sequence[float]) -> Floats:
        known: Floats = np.array(values or [0.0], dtype=np.float64)[last]
        return known

    billed = np.interp(edges, seconds, [0.0, *noted.pod_seconds, 3600.0 * replica_hours])
    kills = np.interp(edges, seconds, [0.0, *noted.oom_kills, float(s.ints[c.OOM_KILLS])])
    spared, fates = s.doomed == 0, {"timed_out": c.TIMED_OUT, "failed": c.FAILED, "killed": c.KILLED}
    fates["refused"] = c.REFUSED
    badly = np.isin(s.fate, list(fates.values()))
    return Steps(
        step_seconds=step_seconds,
        arrivals=np.bincount(step, minlength=n).astype(np.float64),
        late=count(spared & ~badly & (s.wait > s.constants[c.LATE_AFTER])),
        **{name: count(spared & (s.fate == fate)) for name, fate in fates.items()},
        unavoidable=count(~spared & badly),
        running=gauge(noted.running),
        queued=gauge(noted.queued),
        ordered=gauge(noted.wanted),
        ready=gauge(noted.ready),
        existing=np.diff(billed) / np.diff(edges),
        workers=gauge(noted.workers),
        billed_seconds=np.diff(billed),
        oom_kills=np.diff(kills),
        outage=workload.outages.share_at(edges[:-1] + step_seconds / 2),
    )


def joined(pieces: Sequence[tuple[float, Steps]], total_seconds: float) -> Steps:
    """Several runs on one axis; between them nothing came, and gauges are NaN.

    Args:
        pieces: (start in seconds on the axis, run), all with equal steps.
        total_seconds: Length of the axis.
    """
    width = pieces[0][1].step_seconds
    n = ceil(total_seconds / width)
    made: dict[str, Floats] = {}
    for field in fields(Steps):
        if field.name == "step_seconds":
            continue
        values = np.full(n, np.nan if field.name in _GAUGES else 0.0)
        for start, piece in pieces:
            first = round(start / width)
            part = getattr(piece, field.name)[: n - first]
            values[first : first + len(part)] = part
        made[field.name] = values
    return Steps(step_seconds=width, **made)


@dataclass(frozen=True, slots=True)
class Loss:
    """One bad minute."""

    at_seconds: float
    """Its beginning, from the start of the trace."""
    violations: int
    share_percent: float
    """Of all violations of the run."""
    reason: str


def losses(t: Steps, most: int = LOSS_MINUTES) -> list[Loss]:
    """The minutes with the most violations, worst first, each with what was the matter."""
    violations = t.violations
    total = violations.sum()
    if total <= 0:
        return []
    per_minute = max(1, round(60.0 / t.step_seconds))
    starts = np.arange(0, len(violations), per_minute)
    sums = np.add.reduceat(violations, starts)
    order = np.argsort(-sums, kind="stable")[:most]
    return [
        Loss(
            float(starts[i] * t.step_seconds),
            int(sums[i]),
            float(100.0 * sums[i] / total),
            _reason(t, int(starts[i]), int(min(starts[i] + per_minute, len(violations)))),
        )
        for i in order
        if sums[i] > 0
    ]


def shortened(t: Steps, most: int) -> Steps:
    """The same in at most `most` steps: counts are added up, gauges keep their last value, the queue its highest."""
    width = -(-len(t.arrivals) // most)
    if width <= 1:
        return t
    starts = np.arange(0, len(t.arrivals), width)
    ends = np.minimum(starts + width, len(t.arrivals)) - 1
    made: dict[str, Floats] = {}
    for field in fields(t):
        values = getattr(t, field.name)
        if field.name in _GAUGES - {"queued"}:
            made[field.name] = values[ends]
        elif field.name in {"queued", "outage"}:
            made[field.name] = np.fmax.reduceat(values, starts)
        elif field.name != "step_seconds":
            made[field.name] = np.add.reduceat(values, starts)
    return Steps(step_seconds=t.step_seconds * width, **made)


def _reason(t: Steps, first: int, last: int) -> str:
    """What was the matter in the steps from `first` up to `last`."""
    sums = {name: float(getattr(t, name)[first:last].sum()) for name in _VIOLATIONS}
    worst = max(sums, key=lambda name: sums[name])
    outage = float(t.outage[first:last].max())
    if worst == "killed":
        soon = int(t.oom_kills[first : last + round(AFTERWARDS_SECONDS / t.step_seconds)].sum())
        if soon:
            return f"{_pods(soon)} ran out of memory"
        if t.oom_kills.any():
            return "runs were lost with their pod, for memory or when its grace ended, long after they came"
        return "runs were still going when their pod's grace ended"
    if worst == "refused":
        return f"breakers refused calls to the provider{_beside(outage)}"
    if worst == "failed":
        return f"calls failed at the provider{_beside(outage)}"
    return _waiting(t, first, last) + (f"; the provider fails {100 * outage:.0f} % of the calls" if outage > 0 else "")


def _beside(outage: float) -> str:
    return f", which failed {100 * outage:.0f} % of them" if outage > 0 else " while it was well"


def _waiting(t: Steps, first: int, last: int) -> str:
    """Why requests waited: too few ready pods, and whether that could be seen coming."""
    per_minute = max(1, round(60.0 / t.step_seconds))
    now = _rate(t, first, last)
    before = _rate(t, max(0, first - 2 * per_minute), max(first - per_minute, 0))
    coming = float((t.ordered[first:last] - t.ready[first:last]).max())
    slots, busy = float(t.slots[first:last].min()), float(t.running[first:last].max())
    lost = float(t.oom_kills[max(0, first - 2 * per_minute) : last].sum())
    have = f"{slots:.0f} slots, {busy:.0f} of them busy"
    if lost > 0:
        return f"{_pods(lost)} had run out of memory and started again: {have}"
    if before > 0 and now > RISE * before:
        pods = f"; {_pods(coming)} on the way" if coming >= 1 else "; none on the way"
        return f"the load rose from {before:.2g} to {now:.2g} requests/s within two minutes: {have}{pods}"
    if coming >= 1:
        return f"{_pods(coming)} had been ordered and not become ready yet: {have}"
    if busy < FULL * slots:
        return f"a short burst, or a queue at pods that were busy: {have}"
    return f"too few replicas for a load of {now:.2g} requests/s, and no more were ordered: {have}"


def _pods(count: float) -> str:
    return f"{count:.0f} pod{'' if round(count) == 1 else 's'}"


def _rate(t: Steps, first: int, last: int) -> float:
    seconds = (last - first) * t.step_seconds
    return float(t.arrivals[first:last].sum()) / seconds if seconds > 0 else 0.0
