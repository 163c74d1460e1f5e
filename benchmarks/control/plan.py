"""Which variants are run, by whom, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass

from agentscaler.simulate.model import MemoryLaw, Queue, StartUp, Variant, Workers
from benchmarks.control.bars import Bar
from benchmarks.control.cells import Entry

OURS = Entry("agentscaler", "agentscaler")
FIXED_BREAKER = Entry("agentscaler, fixed breaker", "agentscaler-fixed-breaker")
HPA = Entry("HPA in-flight 70 %", "hpa-inflight")
HPA_CPU = Entry("HPA CPU 80 %", "hpa-cpu")
KEDA = Entry("KEDA", "keda")
KPA = Entry("KPA", "kpa")


@dataclass(frozen=True, slots=True)
class Part:
    """One variant of the benchmark. `tuned` names the searches of `tuning.Search` that join it."""

    title: str
    variant: Variant
    entries: tuple[Entry, ...]
    bar: Bar
    tuned: tuple[str, ...] = ()
    outages: bool = False


FROZEN = Variant()
FREE = Variant(workers=Workers.FREE)
HEAVY = Variant(workers=Workers.FREE, memory=MemoryLaw.HEAVY)

PARTS = (
    Part(
        "workers frozen, 15 s scrape",
        FROZEN,
        (OURS, HPA, HPA_CPU, KEDA, KPA),
        Bar(cost=1.25, target=1.15, ramp_percent=1.5),
        ("static", "hpa", "kpa"),
    ),
    Part(
        "workers frozen, 5 s scrape",
        Variant(scrape_seconds=5.0),
        (OURS, HPA),
        Bar(cost=1.24, target=1.13),
    ),
    Part(
        "workers free, typical memory",
        FREE,
        (OURS, HPA),
        Bar(cost=0.80, pair=1.0, each_pair=True, lost_percent=0.1),
        ("pair",),
    ),
    Part("workers free, heavy memory", HEAVY, (OURS, HPA), Bar(pair=1.0, each_pair=True), ("pair",)),
    Part(
        "workers frozen, log-normal start-up",
        Variant(startup=StartUp.LOGNORMAL),
        (OURS, HPA, KPA),
        Bar(ramp_percent=1.5),
    ),
    Part(
        "workers frozen, outages",
        Variant(outages=True),
        (OURS, FIXED_BREAKER, HPA, KPA),
        Bar(ramp_percent=1.5, actions=False),
        outages=True,
    ),
)
MORE = (
    Part(
        "workers free, outages",
        Variant(workers=Workers.FREE, outages=True),
        (OURS, FIXED_BREAKER, HPA),
        Bar(actions=False),
        outages=True,
    ),
    Part(
        "workers free, log-normal start-up",
        Variant(workers=Workers.FREE, startup=StartUp.LOGNORMAL),
        (OURS, HPA),
        Bar(),
    ),
    Part(
        "workers free, heavy memory, 5 s scrape",
        Variant(workers=Workers.FREE, memory=MemoryLaw.HEAVY, scrape_seconds=5.0),
        (OURS, HPA),
        Bar(),
    ),
    Part("workers free, queue of each pod", Variant(workers=Workers.FREE, queue=Queue.POD), (OURS, HPA), Bar()),
    Part("workers frozen, queue of each pod", Variant(queue=Queue.POD), (OURS, HPA), Bar()),
)
