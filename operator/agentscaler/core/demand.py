"""How much work there is, and how much there will be when an order placed now takes effect."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from agentscaler.core.forecast import arrival_rate, rate_of_this_moment
from agentscaler.core.learn import work_within
from agentscaler.core.margin import Margin, margin
from agentscaler.core.memory import Foresight, Learned
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.core.policy import Policy

LATE_SHARE_OF_OBJECTIVE = 0.3
"""A queue that would wait longer than this share of the objective is a surge."""
NO_FORESIGHT = Foresight()


@dataclass(frozen=True)
class Demand:
    """Work, counted in runs that each hold one worker."""

    busy_runs: float
    queued_runs: float
    urgent_runs: float
    """Busy runs and the part of the queue that needs a worker at once to keep the objective: what hot workers meet."""
    ahead_runs: float
    """Forecast at the lead time: what replicas are ordered for."""
    arrival_rate: float
    """Runs per second at the lead time, those refused included."""
    present_rate: float
    """Runs per second of this moment: noisy, and the first to tell a burst."""
    service_seconds: float
    lead_seconds: float
    wait_seconds: float
    """How long the last one in the queue would wait for one of the workers that there are now."""
    surge: bool
    certain: bool
    """False where some pods did not report: then this is a lower bound, good for growing only."""
    margin: Margin
    """What is kept free beside the slots that stand open for bursts."""
    bare_margin: Margin
    """What is kept free where no slots stand open."""

    def staffed(self, runs: float) -> float:
        """Workers for `runs` of random work."""
        return self.margin.staffed(runs)


def _at_least(observation: Observation, name: SignalName) -> tuple[float | None, bool]:
    """The value and whether it is the whole of it. A Partial sum is a lower bound."""
    signal = observation.signal(name)
    if signal.health is Health.PARTIAL and signal.value is not None:
        return signal.value, False
    return observation.value(name), True


def lead_seconds(policy: Policy, observation: Observation, learned: Learned, now: float) -> float:
    """From the scrape that is looked at until an order placed now takes effect."""
    observed_at = observation.signal(SignalName.IN_FLIGHT).observed_at or observation.evaluated_at
    return max(now - observed_at, 0.0) + learned.start_up_seconds + policy.interval_seconds / 2


def demand(
    policy: Policy,
    observation: Observation,
    learned: Learned,
    now: float,
    *,
    slots: int,
    foresight: Foresight = NO_FORESIGHT,
    reserve: float = 1.0,
) -> Demand | None:
    """The demand, or None when the running work is not known.

    `slots` is the workers of all ready pods now, `reserve` how many of a pod's workers stand open for each run that it
    is sized for.
    """
    busy, busy_whole = _at_least(observation, SignalName.IN_FLIGHT)
    if busy is None:
        return None
    queued, queue_whole = _at_least(observation, SignalName.QUEUE_DEPTH)
    queued = queued or 0.0
    service = max(learned.service_seconds, 1e-3)
    lead = lead_seconds(policy, observation, learned, now)
    rate = (arrival_rate(foresight, observation, lead) or 0.0) + _refused(observation, slots / service)
    wait = queued * service / max(slots, 1)
    objective = policy.objectives.queue_wait
    target_wait = objective.target_seconds if objective else max(service, 1.0)
    surge = queued > 0 and wait > LATE_SHARE_OF_OBJECTIVE * target_wait
    within = work_within(observation, service, lead)
    still_running = max(0.0, 1.0 - within / service)
    urgent = busy + queued * min(1.0, service / target_wait)
    ahead = (busy + queued) * still_running + rate * within
    return Demand(
        busy_runs=busy,
        queued_runs=queued,
        urgent_runs=urgent,
        ahead_runs=ahead,
        arrival_rate=rate,
        present_rate=rate_of_this_moment(foresight, min(busy, slots) / service),
        service_seconds=service,
        lead_seconds=lead,
        wait_seconds=wait,
        surge=surge,
        certain=busy_whole and queue_whole,
        margin=margin(learned, policy.objectives, reserve=reserve),
        bare_margin=margin(learned, policy.objectives),
    )


def _refused(observation: Observation, passing: float) -> float:
    """Runs refused per second. Callers try again: refusals are worth no more than what used to come.

    After a long outage nobody knows what used to come: then no more than most of what the present workers can pass.
    """
    refused = sum(observation.value(n) or 0.0 for n in (SignalName.REJECTED_BREAKER_RATE, SignalName.REJECTED_RATE))
    slower = [observation.value(n) for n in (SignalName.REQUEST_RATE_300, SignalName.REQUEST_RATE_600)]
    usual = max((rate for rate in slower if rate), default=0.7 * passing)
    return min(refused, usual)


def replicas_for(runs: float, per_replica: int) -> int:
    """Replicas that hold `runs` workers, one at least."""
    return max(1, ceil(runs / max(per_replica, 1) - 1e-9))
