"""Demand that stands elsewhere than in the agent, a broker's backlog for one."""

from __future__ import annotations

from math import ceil

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, SignalName
from agentscaler.core.situation import Draft, Situation

MOST_REPLICAS = 1_000_000


def external_replicas(s: Situation) -> int | None:
    """Replicas that it asks for by itself; None when it is not known, 0 where there is none by the user's word."""
    target = s.policy.replicas.external_target
    if target is None:
        return 0
    signal = s.observation.signal(SignalName.EXTERNAL_DEMAND)
    # A part of it is a lower bound: enough to grow, and never to shrink.
    value = signal.value if signal.health is Health.PARTIAL else s.value(SignalName.EXTERNAL_DEMAND)
    return None if value is None else ceil(min(value / target, MOST_REPLICAS) - 1e-9)


def is_external_known(s: Situation) -> bool:
    """Whether all of it is known, or there is none."""
    return s.policy.replicas.external_target is None or s.value(SignalName.EXTERNAL_DEMAND) is not None


def follow_external(s: Situation, d: Draft) -> Draft:
    """It adds to what the service itself shows, and never lowers that."""
    needed = external_replicas(s)
    if not needed:
        return d
    why = f"external demand needs {needed} replicas at {s.policy.replicas.external_target:g} each"
    return d.replicas("follow-external", max(d.settings.replicas, needed), Reason.EXTERNAL_DEMAND, why)


def keep_unknown_external(s: Situation, d: Draft) -> Draft:
    """While it is not known, no replica goes."""
    if is_external_known(s):
        return d
    why = "external demand is not known: no replica is taken away"
    return d.replicas("keep-the-unknown", max(d.settings.replicas, s.current.replicas), Reason.HOLDING_UNKNOWN, why)
