"""How much is kept free above the forecast: it follows from how often runs were late.

Square-root staffing (Halfin and Whitt 1981) says how the margin grows with the work; how many standard deviations it
takes depends on how bursty the load is, which only the lateness itself tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from agentscaler.core.memory import Lateness, Learned
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import Objectives
from agentscaler.core.values import replace

HALF_LIFE_SECONDS = 6 * 3600.0
PRIOR_SECONDS = 3600.0
"""The begin counts as an hour in which as many were late as may be."""
AIM = 0.7
"""Share of the tolerated lateness that is aimed at."""
HEADROOM = 1.08
"""Factor on the forecast for what forecasts miss, where no slots stand open."""
FULL_RESERVE = 1.5
"""From so many slots for each run that a pod is sized for, bursts are theirs to meet."""
NEUTRAL = 0.72
"""Standard deviations of Poisson work kept free while as many are late as may be."""
RESERVED = 0.9
"""So many fewer where a full reserve of slots stands open."""
LOOSEN, TIGHTEN = 1.08, 4.0
"""Deviations for a lateness that is off by all that is aimed at. A broken promise outweighs what capacity costs: the
margin takes what keeps it, up to `MOST`."""
LEAST, MOST = -1.4, 7.0


@dataclass(frozen=True, slots=True)
class Margin:
    """What is kept free above random work."""

    deviations: float = NEUTRAL
    """Standard deviations of Poisson work."""
    headroom: float = HEADROOM
    """Factor on the forecast."""

    def staffed(self, runs: float) -> float:
        """Workers for `runs` of random work: the mean, some headroom and the square root."""
        return max(runs * self.headroom + self.deviations * sqrt(runs), 0.0) if runs > 0 else 0.0


def judge(lateness: Lateness, objectives: Objectives, observation: Observation, elapsed_seconds: float) -> Lateness:
    """Take in one tick: how many runs began, and how many of them too late."""
    rate, share = observation.value(SignalName.REQUEST_RATE_60), late_share(objectives, observation)
    if rate is None or share is None or elapsed_seconds <= 0:
        return lateness
    step = min(elapsed_seconds, 60.0)
    fade = 0.5 ** (step / HALF_LIFE_SECONDS)
    return replace(
        lateness,
        runs=lateness.runs * fade + rate * step,
        late=lateness.late * fade + share * rate * step,
        seconds=lateness.seconds * fade + step,
    )


def late_share(objectives: Objectives, observation: Observation) -> float | None:
    """Share of the runs of the window that waited longer than the objective allows.

    Where no bucket ends at the objective it is estimated from the quantile: below the objective next to none did; above
    it, the tail beyond the quantile is taken for a power law. That is too little where a backlog made many late.
    """
    wait, late = observation.value(SignalName.QUEUE_WAIT), observation.value(SignalName.LATE_RATIO)
    if objectives.queue_wait is None or wait is None:
        return None
    if late is not None:
        return late
    tail = 1.0 - objectives.queue_wait.quantile
    ratio = wait / objectives.queue_wait.target_seconds
    return min(tail * ratio * ratio, 0.5) if ratio > 1.0 else 0.0


def margin(learned: Learned, objectives: Objectives, *, reserve: float = 1.0) -> Margin:
    """What to keep free.

    `reserve`: open worker slots over the busy level. What stands open for bursts need not be kept free twice.
    """
    headroom = HEADROOM - (HEADROOM - 1.0) * _reserved(reserve)
    return Margin(_deviations(learned, objectives, reserve), headroom)


def _reserved(reserve: float) -> float:
    """How far open slots take over from pods that are kept free, 0 to 1."""
    return min(max(reserve - 1.0, 0.0) / (FULL_RESERVE - 1.0), 1.0)


def is_broken(learned: Learned, objectives: Objectives) -> bool:
    """Whether more runs have been late than was promised."""
    share = _share(learned, objectives)
    return objectives.queue_wait is not None and share is not None and share > 1.0 - objectives.queue_wait.quantile


def _share(learned: Learned, objectives: Objectives) -> float | None:
    """Share of late runs, the prior of an hour among them; None before any."""
    if objectives.queue_wait is None:
        return None
    aim, lateness = AIM * (1.0 - objectives.queue_wait.quantile), learned.lateness
    prior = PRIOR_SECONDS * (lateness.runs / lateness.seconds) if lateness.seconds else 0.0
    return (lateness.late + aim * prior) / (lateness.runs + prior) if lateness.runs + prior > 0 else None


def _deviations(learned: Learned, objectives: Objectives, reserve: float) -> float:
    neutral, share = NEUTRAL - RESERVED * _reserved(reserve), _share(learned, objectives)
    if objectives.queue_wait is None or share is None:
        return neutral
    aim = AIM * (1.0 - objectives.queue_wait.quantile)
    off = (share - aim) / aim
    return min(max(neutral + (TIGHTEN if off > 0 else LOOSEN) * off, LEAST), MOST)
