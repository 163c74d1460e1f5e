"""What `decide` remembers of one object from tick to tick: a plain value that can be written down and read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from agentscaler.core.settings import Cache, Settings


@dataclass(frozen=True, slots=True)
class Change:
    """One applied change of the replica count; the HPA's rate policies count these."""

    at: float
    amount: int
    """Positive: pods added; negative: pods removed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value and its time, for windows."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Moments:
    """Exponentially decayed sums of pairs (x, y): enough for a regression line and its spread."""

    n: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0


@dataclass(frozen=True)
class Lateness:
    """Runs that began, and those of them that began too late, in decayed sums of some hours."""

    runs: float = 0.0
    late: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Learned:
    """What holds for the service and not for the moment. Stands in status and survives a restart."""

    start_up_seconds: float = 30.0
    """From a pod's creation to Ready: a slow-moving high estimate."""
    start_up_seen_at: float = 0.0
    """Ready time of the newest pod that has been counted."""
    service_seconds: float = 10.0
    """Mean run duration by Little's law over about an hour."""
    busy_integral: float = 20.0
    completions: float = 2.0
    service_seen: bool = False
    """Whether runs have ended: until then the two sums hold a prior of two calls of ten seconds."""
    lateness: Lateness = Lateness()
    hold_seconds: float = 120.0
    """How long a peak is remembered: longer where peaks come back soon after capacity went."""
    busy_level: int | None = None
    """Runs that a pod is sized for, once the law of memory has taught more than the start value."""
    busy_level_at: float = 0.0
    """When it last moved."""
    memory: Moments = Moments()
    """x: runs in flight per pod, y: bytes per pod without its cache."""
    run_bytes: float = 0.0
    """Slope of the law as last learned, for while the load is too steady to tell it; 0 while it is not known."""
    present_run_bytes: float = 0.0
    """What a run holds now, where the law of the last hour says less: it rises at once and fades in minutes."""
    memory_excess_bytes: float = 0.0
    """How far the worst pod stood above the mean law: a slowly decaying maximum (the tail)."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Arrivals per second at the lead time, as each of several forecasts had it."""

    at: float
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Foresight:
    """What the forecast of arrivals goes by. Of minutes: a restart rebuilds it from Prometheus."""

    since: float | None = None
    """Since when rates have had their history: a window that reaches further back shows too little."""

    work: tuple[Sample, ...] = ()
    """Runs in the system, running and queued, at each scrape of the last ten minutes."""
    ended: tuple[Sample, ...] = ()
    """Runs per second that ended within a minute, at the latest scrapes."""
    pending: tuple[Forecast, ...] = ()
    """Forecasts whose time has not come."""
    errors: tuple[float, ...] = ()
    """Relative squared error of each forecast, decayed; errors that were too low weigh more."""
    scored_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """Runs that ended within about an hour, in exponentially decayed sums."""

    runs: float = 0.0
    failed: float = 0.0


@dataclass(frozen=True, slots=True)
class ThrottleCut:
    """What became of the calls when workers were cut for 429s."""

    at: float
    share: float
    """Of the calls, answered 429."""
    succeeded: float
    """Calls per second."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A pod that the kernel killed for memory: the last time."""

    pod: str
    told_at: float
    """As the pod tells it."""
    at: float
    times: int = 1
    """So often in a row, a quarter of an hour apart at most."""


@dataclass(frozen=True)
class KillCap:
    """Highest worker count after pods were killed for memory."""

    workers: int
    at: float
    """When it last moved."""
    rest_seconds: float
    """So long after that it rises, if the pods live."""
    risen: bool = False
    """Whether it has risen since the last cut."""
    delivered: bool = False
    """Whether pods have reported to work under it."""


class TrialKind(StrEnum):
    """What is tried with the cache."""

    GROW = "grow"
    LENGTHEN = "lengthen"
    SHRINK = "shrink"


@dataclass(frozen=True, slots=True)
class Trial:
    """A move of the cache whose verdict is out."""

    at: float
    kind: TrialKind
    before: Cache
    after: Cache
    hit_ratio: float
    """Of the lookups before the move."""
    lookups: float
    """So many there were."""
    replicas: int
    """New pods begin with a cold cache: with other pods nothing can be compared."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Trials of a kind that has failed wait."""

    kind: TrialKind
    seconds: float
    until: float


@dataclass(frozen=True)
class Memory:
    """Carried from one decision to the next."""

    settings: Settings | None = None
    """What the last decision set; None before the first one."""
    manual_replicas: int | None = None
    """`spec.replicas` as last heeded: a change of it restarts from that size once."""
    open_order: int | None = None
    """A smaller size that a person named for pods with state, and that demand has not let them go down to yet."""
    manual_heeded: bool = False
    """Whether `spec.replicas` is law where the mode is not Auto: at once for a target of ours, for an adopted one
    only after the field has changed, or adopting would scale five pods to the schema's default of one."""
    base_workers: int | None = None
    """The worker limit that pods reported before it was first set: replicas are sized for it unless `initial` is."""
    decided_at: float = 0.0
    known_since: float | None = None
    """Since when demand has been known without a break; None while it is not."""
    partial_since: float | None = None
    """Since when demand has been known in part only."""
    blind_observations: int = 0
    """How many in a row have not told the demand, not even in part."""
    rates_since: float | None = None
    """Since when rates have had their history; unlike `known_since` it outlives a restart, as Prometheus does."""
    learned: Learned = field(default_factory=Learned)
    foresight: Foresight = field(default_factory=Foresight)
    needs: tuple[Sample, ...] = ()
    """Replicas that demand asked for, raw, for the stabilization windows. Rebuilt from Prometheus after a restart."""
    shrunk_from: tuple[Sample, ...] = ()
    """Sizes that were given up within the last quarter of an hour: one that is needed again was given up too soon."""
    action_tokens: float = 6.0
    """Changes of replicas that may be made at once; they come back one every few minutes."""
    cut_tokens: float = 0.0
    """Runs that scale-in may cut now."""
    worker_needs: tuple[Sample, ...] = ()
    """Workers per pod that demand asked for, likewise."""
    changes: tuple[Change, ...] = ()
    """Applied changes of replicas, for rate policies. Stands in status."""
    undelivered_since: float | None = None
    """Since when pods have reported fewer workers than were set; None while they work under what was set."""
    unexplained: tuple[Sample, ...] = ()
    """Bytes of the worst pod above the law, at the last three scrapes: memory that rises without more runs."""
    kills: tuple[Kill, ...] = ()
    """Of the last quarter of an hour. Rebuilt from the pods, which tell of their last one."""
    kill_cap: KillCap | None = None
    worker_cap: int | None = None
    """Highest worker count after memory pressure forced a cut; it relaxes while memory stays calm."""
    relieved_at: float = 0.0
    """When memory pressure last forced a cut, or the cap last relaxed."""
    relieved_bytes: float = 0.0
    """What the worst pod held when pressure last forced a cut of workers."""
    throttle_cap: int | None = None
    """Highest worker count after 429s; it grows step by step while there are none."""
    throttled_since: float | None = None
    """Since when the provider has been answering 429."""
    throttled_at: float = 0.0
    """When the cap last moved."""
    throttle_cut: ThrottleCut | None = None
    """The last cut, until it is known whether it has helped."""
    throttle_futile: Sample | None = None
    """Share of calls answered 429 that fewer workers did not lower, and when it was last seen."""
    throttle_rate: float = 0.0
    """429s per second at the last tick: rates look back a minute, so only one that does not fall is news."""
    failure_rate: float = 0.0
    """Upstream calls per second that failed or were throttled, at the last tick: its rise is news."""
    ended: Ended = Ended()
    """What became of the runs of the last hour: the long window of the error budget."""
    failed_afresh_at: float = 0.0
    """When a good part of the calls of one tick last failed."""
    upstream_bad_since: float | None = None
    """Since when the upstream has been failing; None while it is well."""
    replicas_before_outage: int = 0
    """Size when the upstream began to fail."""
    breaker_tripped: bool = False
    """Whether a breaker was seen open in this outage."""
    breakers_closed: Sample | None = None
    """When all breakers had closed again in this outage, and the failures per second then; None while one is not, or
    none was open."""
    successes_at_close: float = 0.0
    """Calls per second that succeeded, at that time."""
    upstream_calm_since: float | None = None
    """Since when it has been well after a failure; None when nothing is to be taken back."""
    cache_changed_at: float = 0.0
    trial: Trial | None = None
    """The move of the cache that is being tried; None while none is."""
    rests: tuple[Rest, ...] = ()
    """Of kinds of trials that have failed."""
