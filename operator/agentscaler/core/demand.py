"""How much work there is, and how much there will be when an order placed now takes effect."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from agentscaler.core.learn import work_within
from agentscaler.core.memory import Learned
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.core.policy import Policy
from agentscaler.core.upstream import upstream_shares

HEADROOM = 1.08
SAFETY = 1.0
"""Standard deviations of Poisson work kept free: square-root staffing (Halfin and Whitt 1981)."""
LATE_SHARE_OF_OBJECTIVE = 0.3
"""A queue that would wait longer than this share of the objective is a surge."""
TREND_SECONDS = 300.0
"""The longest window that the trend looks at."""
FAILURES_SEEN = 0.01
"""Share of failed upstream calls from which hanging calls may stand in the gauge of running work."""
UNUSUAL = 2.0
"""Standard deviations of Poisson work above what the rate explains from which the gauge knows better."""
MOST_TREND = 2.0
"""A trend may at most double the present rate."""
RATES = (SignalName.REQUEST_RATE_60, SignalName.REQUEST_RATE_120, SignalName.REQUEST_RATE_300)


@dataclass(frozen=True, slots=True)
class Demand:
    """Work, counted in runs that each hold one worker."""

    busy_runs: float
    queued_runs: float
    urgent_runs: float
    """Busy runs and the part of the queue that needs a worker at once to keep the objective: what hot workers meet."""
    ahead_runs: float
    """Forecast at the lead time: what replicas are ordered for."""
    arrival_rate: float
    """Runs per second, those refused included."""
    service_seconds: float
    lead_seconds: float
    wait_seconds: float
    """How long the last one in the queue would wait for one of the workers that there are now."""
    surge: bool
    certain: bool
    """False where some pods did not report: then this is a lower bound, good for growing only."""

    def staffed(self, runs: float) -> float:
        """Workers for `runs` of random work: the mean, some headroom and the square root."""
        return runs * HEADROOM + SAFETY * sqrt(runs) if runs > 0 else 0.0


def _at_least(observation: Observation, name: SignalName) -> tuple[float | None, bool]:
    """The value and whether it is the whole of it. A Partial sum is a lower bound."""
    signal = observation.signal(name)
    if signal.health is Health.PARTIAL and signal.value is not None:
        return signal.value, False
    return observation.value(name), True


def demand(
    policy: Policy, observation: Observation, learned: Learned, now: float, *, slots: int, trend: bool
) -> Demand | None:
    """The demand, or None when the running work is not known.

    `slots` is the workers of all ready pods now. `trend`: whether the longer windows are full, since a trend out of
    less than a full window of history is wild.
    """
    busy, busy_whole = _at_least(observation, SignalName.IN_FLIGHT)
    if busy is None:
        return None
    queued, queue_whole = _at_least(observation, SignalName.QUEUE_DEPTH)
    queued = queued or 0.0
    measured = observation.value(SignalName.SERVICE_TIME)
    service = max(measured or learned.service_seconds, 1e-3)

    recent = observation.value(SignalName.REQUEST_RATE_60) or 0.0
    # Less running than the last minute explains: what rises there has passed already.
    passed = busy + queued < recent * service - UNUSUAL * sqrt(recent * service)
    rate = _rate_ahead(observation, trend=trend and not passed) + _refused(observation, slots / service)
    wait = queued * service / max(slots, 1)
    objective = policy.objectives.queue_wait
    target_wait = objective.target_seconds if objective else max(service, 1.0)
    surge = queued > 0 and wait > LATE_SHARE_OF_OBJECTIVE * target_wait
    usual = rate * service
    # Rates look back a minute. Little's law on the gauge says what really passes now; but calls that hang fill the
    # gauge too, so it is not asked once the upstream has begun to fail.
    if (surge or busy > usual + UNUSUAL * sqrt(usual)) and not _failures_seen(observation):
        rate = max(rate, busy / service)

    observed_at = observation.signal(SignalName.IN_FLIGHT).observed_at or observation.evaluated_at
    lead = max(now - observed_at, 0.0) + learned.start_up_seconds + policy.interval_seconds / 2
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
        service_seconds=service,
        lead_seconds=lead,
        wait_seconds=wait,
        surge=surge,
        certain=busy_whole and queue_whole,
    )


def _failures_seen(observation: Observation) -> bool:
    failing, throttled = upstream_shares(observation, least_rate=0.0)
    return failing + throttled > FAILURES_SEEN


def _refused(observation: Observation, passing: float) -> float:
    """Runs refused per second. Callers try again: refusals are worth no more than what used to come.

    After a long outage nobody knows what used to come: then no more than most of what the present workers can pass.
    """
    refused = sum(observation.value(n) or 0.0 for n in (SignalName.REJECTED_BREAKER_RATE, SignalName.REJECTED_RATE))
    slower = [observation.value(n) for n in (SignalName.REQUEST_RATE_300, SignalName.REQUEST_RATE_600)]
    usual = max((rate for rate in slower if rate), default=0.7 * passing)
    return min(refused, usual)


def _rate_ahead(observation: Observation, *, trend: bool) -> float:
    """The rate of the last minute, plus its trend where it rises: looking ahead may only add."""
    rates = [observation.value(name) for name in RATES]
    recent = next((r for r in rates if r is not None), None)
    if recent is None:
        return 0.0
    between, slower = rates[1], rates[-1]
    if not trend or slower is None or (between is not None and recent < between):
        return recent  # a spike that has ended still stands in the slow windows
    return min(recent + max(recent - slower, 0.0) / 2, MOST_TREND * recent)


def replicas_for(runs: float, per_replica: int) -> int:
    """Replicas that hold `runs` workers, one at least."""
    return max(1, ceil(runs / max(per_replica, 1) - 1e-9))
