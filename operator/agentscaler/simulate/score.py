"""What a run was worth: one row for each trace, policy, variant and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agentscaler.simulate import state as c
from agentscaler.simulate.world import World

REVERSAL_SECONDS = 300.0
CACHED_PRICE = 0.1
ROW_FIELDS = (
    "trace",
    "policy",
    "seed",
    "workers",
    "memory",
    "startup",
    "outages",
    "scrape_seconds",
    "late_percent",
    "violation_percent",
    "cost_ratio",
    "cost_ratio_hindsight",
    "replica_hours",
    "actions_per_hour",
    "reversals_per_hour",
    "worker_changes_per_hour",
    "oom_kills",
    "lost_percent",
    "wasted_calls_percent",
)
"""Fields of the published JSON rows, in order."""


@dataclass(frozen=True, slots=True)
class Row:
    """The score of one run. Percentages are of all requests offered, unless they say otherwise."""

    trace: str
    policy: str
    seed: int
    workers: str
    memory: str
    startup: str
    outages: bool
    scrape_seconds: float
    late_percent: float
    """Waited longer than the objective before they started, or gave up waiting."""
    violation_percent: float
    """Late, timed out, failed, refused or lost, each request once; without those that the provider fails anyway."""
    cost_ratio: float | None
    """Replica-hours over those of the clairvoyant schedule with 8 workers; None where it was not asked for."""
    cost_ratio_hindsight: float | None
    """Replica-hours over those of the best fixed pair (worker limit, HPA target) found in hindsight."""
    replica_hours: float
    """Each pod from its creation to its end, up to the end of the trace."""
    actions_per_hour: float
    """Changes of the number of replicas ordered."""
    reversals_per_hour: float
    """Changes in the opposite direction of one less than five minutes before."""
    worker_changes_per_hour: float
    oom_kills: int
    """Pods killed for memory."""
    lost_percent: float
    """Runs lost with their pod: for memory, or after the grace period of a scale-in."""
    wasted_calls_percent: float
    """Calls sent in an outage that failed, of the requests that came in outages."""
    offered: int = 0
    late: int = 0
    timed_out: int = 0
    failed: int = 0
    lost: int = 0
    refused: int = 0
    unavoidable_percent: float = 0.0
    """Ended badly, and the provider would have failed them at their own time too."""
    lost_seconds: float = 0.0
    wasted_calls: int = 0
    wasted_calls_when_down: int = 0
    """Those of them that were sent while the provider failed every call: only these can all be spared."""
    wasted_calls_per_outage_minute: float = 0.0
    tokens_billed_percent: float | None = None
    """Input tokens at their price (cached ones at a tenth), of what they would cost without any cache; None without
    token counts."""
    healthy_refusals: int = 0
    """Refused by a breaker while the provider was well."""
    recovery_seconds: float | None = None
    """The longest stretch of minutes with more than 1 % late starts."""

    def published(self) -> dict[str, Any]:
        """The JSON row."""
        row = asdict(self)
        return {name: row[name] for name in ROW_FIELDS}


@dataclass(frozen=True, slots=True)
class Actions:
    """Orders of one run that changed something: (time, change of replicas), and how often workers moved."""

    replicas: Sequence[tuple[float, int]] = ()
    workers: int = 0

    @property
    def reversals(self) -> int:
        """Changes against the direction of one within the last five minutes."""
        count = 0
        for i, (at, change) in enumerate(self.replicas):
            for before, other in reversed(self.replicas[:i]):
                if at - before >= REVERSAL_SECONDS:
                    break
                if change * other < 0:
                    count += 1
                    break
        return count


def score(
    world: World,
    actions: Actions,
    *,
    policy: str,
    replica_hours: float,
    clairvoyant_hours: float | None = None,
    hindsight_hours: float | None = None,
) -> Row:
    """The row of a finished world."""
    s, workload, variant = world.state, world.workload, world.variant
    n, hours = len(workload), workload.duration_seconds / 3600
    ints = {name: int(s.ints[index]) for name, index in _COUNTS.items()}
    outages = workload.outages
    in_outage = int((outages.share_at(workload.requests["arrival"]) > 0).sum())
    minutes = float((outages.end - outages.begin).sum()) / 60

    def percent(count: int) -> float:
        return 100.0 * count / n

    return Row(
        trace=workload.name,
        policy=policy,
        seed=workload.seed,
        workers=variant.workers.value,
        memory=variant.memory.value,
        startup=variant.startup.value,
        outages=variant.outages,
        scrape_seconds=variant.scrape_seconds,
        late_percent=percent(ints["late"] + ints["timed_out"]),
        violation_percent=percent(int(s.ints[c.VIOLATIONS])),
        cost_ratio=replica_hours / clairvoyant_hours if clairvoyant_hours else None,
        cost_ratio_hindsight=replica_hours / hindsight_hours if hindsight_hours else None,
        replica_hours=replica_hours,
        actions_per_hour=len(actions.replicas) / hours,
        reversals_per_hour=actions.reversals / hours,
        worker_changes_per_hour=actions.workers / hours,
        oom_kills=int(s.ints[c.OOM_KILLS]),
        lost_percent=percent(ints["lost"]),
        wasted_calls_percent=100.0 * int(s.ints[c.WASTED_CALLS]) / in_outage if in_outage else 0.0,
        offered=n,
        unavoidable_percent=percent(int(s.ints[c.UNAVOIDABLE])),
        lost_seconds=float(s.world[c.LOST_SECONDS]),
        wasted_calls=int(s.ints[c.WASTED_CALLS]),
        wasted_calls_when_down=_wasted_when_down(world),
        wasted_calls_per_outage_minute=int(s.ints[c.WASTED_CALLS]) / minutes if minutes else 0.0,
        tokens_billed_percent=_billed(world),
        healthy_refusals=int(s.ints[c.HEALTHY_REFUSALS]),
        recovery_seconds=_longest_trouble(world),
        **ints,
    )


_COUNTS = {
    "late": c.LATE,
    "timed_out": c.TIMED_OUT_N,
    "failed": c.FAILED_N,
    "lost": c.KILLED_N,
    "refused": c.REFUSED_N,
}


def _billed(world: World) -> float | None:
    fresh, cached = (float(world.state.world[n]) for n in (c.TOKENS_FRESH, c.TOKENS_CACHED))
    return 100.0 * (fresh + CACHED_PRICE * cached) / (fresh + cached) if fresh + cached > 0 else None


def _wasted_when_down(world: World) -> int:
    s = world.state
    failed = s.fate == c.FAILED
    sent = s.arrival[failed] + s.wait[failed]
    return int((world.workload.outages.share_at(sent) >= 1.0).sum())


def _longest_trouble(world: World) -> float:
    """The longest run of minutes in which more than 1 % of the requests that came waited too long."""
    s, arrival = world.state, world.workload.requests["arrival"]
    minute = (arrival // 60).astype(np.int64)
    late = (s.wait > s.constants[c.LATE_AFTER]).astype(np.float64)
    offered = np.bincount(minute)
    bad = np.bincount(minute, weights=late) > 0.01 * np.maximum(offered, 1)
    edges = np.diff(np.concatenate([[0], bad.astype(np.int8), [0]]))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return 60.0 * float(lengths.max()) if len(lengths) else 0.0
