"""Services whose pods keep state in memory: a pod that goes takes it along."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.memory import Memory
from agentscaler.core.situation import Draft, Situation
from agentscaler.core.values import replace


def keep_state(s: Situation, d: Draft) -> Draft:
    """Only a person takes pods away: by a size, a bound or a schedule."""
    if not s.policy.state_in_memory:
        return d
    order, least = s.memory.open_order, s.current.replicas
    if order is not None:
        least = min(least, order)
    why = "pods keep state in memory: only a person takes one away"
    return d.replicas("keep-state", max(d.settings.replicas, least), Reason.HOLDING_STATE, why)


def remember_order(s: Situation, replicas: int, memory: Memory) -> Memory:
    """A smaller size that a person named stays open until pods are down to it, or demand has added to them.

    Where pods keep no state, demand takes them away by itself once it needs fewer. `replicas`: what is ordered now.
    """
    order = memory.open_order
    if order is None or (s.policy.state_in_memory and order < replicas <= s.target.replicas):
        return memory
    return replace(memory, open_order=None)


def tell_order(memory: Memory, d: Draft) -> Draft:
    """Say that a person's size is still to come."""
    if memory.open_order is None:
        return d
    return d.limit(Reason.DEMAND, "spec.replicas names a smaller size: pods go down to it as soon as demand allows")
