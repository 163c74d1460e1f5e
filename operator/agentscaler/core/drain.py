"""What a scale-in cuts: runs that outlive the grace period of the pod that goes.

Of runs in flight, the share that needs longer than `g` is 1 - E[min(D, g)] / E[D], D being a run's duration: the
residual life of renewal theory. Where it is not next to nothing, pods are given up as rarely as the promise allows.
"""

from __future__ import annotations

from math import ceil, sqrt

from agentscaler.api.conditions import Reason
from agentscaler.core.learn import work_within
from agentscaler.core.memory import Memory
from agentscaler.core.observation import SignalName
from agentscaler.core.situation import Draft, Situation
from agentscaler.core.values import replace

CUT_SHARE = 0.0004
"""Runs that scale-in may cut, of all: with what `LONGEST_SECONDS` lets go, a tenth of what a promise of 99 % leaves."""
SAVED_SECONDS = 3600.0
"""What may be cut adds up for so long."""
LONGEST_SECONDS = 12 * 3600.0
"""A pod whose runs never end may go after so long."""


def cut_runs(s: Situation) -> float:
    """Expected runs that are cut with one pod, the emptiest."""
    if s.demand is None:
        return 0.0
    service = s.demand.service_seconds
    outlive = max(1.0 - work_within(s.observation, service, s.target.grace_seconds) / service, 0.0)
    mean = s.demand.busy_runs / s.serving_pods
    return outlive * max(mean - sqrt(mean), mean / 2)


def spare_running(s: Situation, d: Draft) -> Draft:
    """No more pods go than the runs that may be cut allow."""
    current, wanted = s.current.replicas, d.settings.replicas
    each = cut_runs(s)
    if wanted >= current or each <= 0:
        return d
    # The quotient of a nearly empty service may be infinite.
    most = _empty_pods(s) + int(min(s.memory.cut_tokens / each, current))
    why = (
        f"about {each:.1f} runs would be cut with each pod: {s.target.grace_seconds:.0f} s of grace are short for them"
    )
    return d.replicas("spare-running", max(wanted, current - most), Reason.DRAINING, why)


def remember_cuts(s: Situation, replicas: int, memory: Memory) -> Memory:
    """Runs that may be cut come with those that end, and go with the pods that go. `replicas`: what is ordered now."""
    elapsed = min(max(s.now - s.memory.decided_at, 0.0), 60.0) if s.memory.decided_at else 0.0
    rate, each = s.value(SignalName.REQUEST_RATE_60) or 0.0, cut_runs(s)
    tokens = memory.cut_tokens + max(CUT_SHARE * rate, each / LONGEST_SECONDS) * elapsed
    tokens -= each * max(s.target.replicas - replicas - _empty_pods(s), 0)
    # One pod may always go once its runs have been saved up for.
    return replace(memory, cut_tokens=max(min(tokens, max(1.5 * each, CUT_SHARE * rate * SAVED_SECONDS)), 0.0))


def _empty_pods(s: Situation) -> int:
    """Pods that surely run nothing, whose runs-to-be-cut are none: scale-in takes them first."""
    busy = s.demand.busy_runs + s.demand.queued_runs if s.demand is not None else s.serving_pods
    return max(s.serving_pods - ceil(busy), 0)
