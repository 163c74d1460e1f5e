"""What a step costs: how long requests come late after the load has risen fourfold; and what one `decide` takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from agentscaler.simulate import policies, state, synthetic
from agentscaler.simulate.model import Variant, Workers
from agentscaler.simulate.product import Agentscaler
from agentscaler.simulate.run import Case, play, prepare
from benchmarks.control.bars import OURS, Line
from benchmarks.control.loads import calls

STEP_AT = 1200.0
LOOKED_AT_SECONDS = 1200.0
SCRAPES_SECONDS = (15.0, 5.0)
DECIDE_MILLISECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """One policy after the step, seconds until the last late request came; one value for each seed."""

    policy: str
    workers: str
    scrape_seconds: float
    seconds: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.seconds))


def _case(seed: int, workers: Workers, scrape_seconds: float = SCRAPES_SECONDS[0]) -> Case:
    trace = replace(synthetic.trace("step", seed=seed), name="step")
    variant = Variant(workers=workers, scrape_seconds=scrape_seconds)
    return prepare(trace, variant, seed, calls(), reference=False)


def _recovery(case: Case, policy: str) -> float:
    world, _, _ = play(case, policies.make(policy))
    s = world.state
    after = (s.arrival >= STEP_AT) & (s.arrival < STEP_AT + LOOKED_AT_SECONDS)
    late = s.arrival[after & (s.wait > s.constants[state.LATE_AFTER])]
    return float(late[-1]) - STEP_AT if len(late) else 0.0


def steps(seeds: range) -> list[Step]:
    """The product with each scrape interval, and last KPA, which needs no scrape."""
    played = [(OURS, workers, scrape) for scrape in SCRAPES_SECONDS for workers in (Workers.FROZEN, Workers.FREE)]
    return [
        Step(policy, workers.value, scrape, tuple(_recovery(_case(seed, workers, scrape), policy) for seed in seeds))
        for policy, workers, scrape in (*played, ("kpa", Workers.FROZEN, SCRAPES_SECONDS[0]))
    ]


def judge(found: list[Step]) -> list[Line]:
    kpa = found[-1]
    return [
        Line(
            f"step x 4, workers {ours.workers}, {ours.scrape_seconds:g} s scrape: back in the objective no later than "
            "KPA's defaults, which read statistics of each second",
            f"{ours.mean:.0f} s, KPA {kpa.mean:.0f} s",
            ours.mean <= kpa.mean,
        )
        for ours in found[:-1]
    ]


def decide_line() -> Line:
    """The mean time of one decision on this machine now."""
    policy = Agentscaler()
    play(_case(0, Workers.FREE), policy)
    each = 1000 * policy.decide_seconds / policy.decided
    return Line(
        f"decide takes at most {DECIDE_MILLISECONDS} ms", f"{each:.2f} ms on average", each <= DECIDE_MILLISECONDS
    )
