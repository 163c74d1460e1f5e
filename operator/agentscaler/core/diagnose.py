"""What limits the service: found before any knob is chosen."""

from __future__ import annotations

from agentscaler.core.decision import Diagnosis
from agentscaler.core.demand import Demand
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.core.policy import Policy
from agentscaler.core.target import Target
from agentscaler.core.upstream import upstream_shares

FAILING_SHARE = 0.05
"""Share of upstream calls that fail (5xx, time-out) from which the provider is the limit."""
THROTTLED_SHARE = 0.02
"""Share of upstream calls answered 429 from which more concurrency only buys more of them."""
OPEN = 2
REFUSED_SHARE = 0.25
"""Share of the runs that open breakers refuse from which it is the provider and not one pod."""
MOST = 0.5
"""Share of the runs."""
FULL = 0.8
OVERSIZED = 0.4


def upstream_failing(observation: Observation) -> bool:
    """Calls fail, or open breakers refuse a good part of the runs. Needs fresh signals: unknown is not failing.

    The state of a breaker alone proves little: it is the worst of all pods, and half-open lasts until somebody calls.
    With runs refused it does: a trial call that hangs is too little for a rate, and nothing is well meanwhile.
    """
    if upstream_shares(observation)[0] >= FAILING_SHARE:
        return True
    state = observation.value(SignalName.BREAKER_STATE) or 0
    refused = observation.value(SignalName.REJECTED_BREAKER_RATE)
    if refused is None or state == 0:
        return state >= OPEN
    arrivals = refused + (observation.value(SignalName.REQUEST_RATE_60) or 0.0)
    return refused > REFUSED_SHARE * arrivals


def upstream_throttled(observation: Observation) -> bool:
    """The provider refuses for rate."""
    return upstream_shares(observation)[1] >= THROTTLED_SHARE


def all_targets_down(observation: Observation) -> bool:
    """Scrape targets exist and every one of them is down."""
    targets, up = observation.value(SignalName.TARGETS), observation.value(SignalName.TARGETS_UP)
    return bool(targets) and up == 0


def diagnose(
    policy: Policy,
    target: Target,
    observation: Observation,
    *,
    memory_short: bool,
    demand: Demand | None,
    workers: int | None,
    reach: int,
    slots: int,
    failing_afresh: bool,
    throttled: bool,
) -> Diagnosis:
    """The first that fits, most dangerous first.

    `reach` is the highest worker count that is safe now, `slots` the workers of all pods that serve, `failing_afresh`
    whether `fails_afresh` said so within the last half minute, `throttled` whether 429s are a limit.
    """
    if memory_short:
        return Diagnosis.MEMORY_BOUND
    if all_targets_down(observation):
        return Diagnosis.DEAD
    if demand is None:
        return Diagnosis.UNKNOWN
    if failing_afresh or upstream_failing(observation) or throttled:
        return Diagnosis.DEPENDENCY_BOUND
    if demand.queued_runs > 0 and (demand.surge or demand.busy_runs >= FULL * slots):
        return Diagnosis.WORKER_BOUND if workers is None or workers < reach else Diagnosis.REPLICA_BOUND
    if demand.busy_runs == 0 and observation.signal(SignalName.REQUEST_RATE_60).health is Health.IDLE:
        return Diagnosis.IDLE
    if _errors_without_load(policy, observation, full=demand.busy_runs >= FULL * slots):
        return Diagnosis.DEPENDENCY_BOUND
    if demand.ahead_runs < OVERSIZED * slots and target.ready_replicas > policy.replicas.min:
        return Diagnosis.OVERSIZED
    return Diagnosis.STEADY


def _errors_without_load(policy: Policy, observation: Observation, *, full: bool) -> bool:
    """Errors of an agent that says nothing of its upstream are taken for the provider's.

    Unless its workers are full and most runs succeed: what is overloaded fails, too, and needs capacity.
    """
    if observation.value(SignalName.UPSTREAM_5XX_RATE) is not None:
        return False
    errors = observation.value(SignalName.ERROR_RATIO)
    promised = policy.objectives.error_ratio
    if errors is None or promised is None or (full and errors < MOST):
        return False
    return errors > max(promised, FAILING_SHARE)
