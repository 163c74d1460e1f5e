"""Services whose pods keep state in memory: a pod that goes takes it along."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.situation import Draft, Situation


def keep_state(s: Situation, d: Draft) -> Draft:
    """Only a person takes pods away: by a size, a bound or a schedule."""
    if not s.policy.state_in_memory:
        return d
    why = "pods keep state in memory: only a person takes one away"
    return d.replicas("keep-state", max(d.settings.replicas, s.current.replicas), Reason.HOLDING_STATE, why)
