"""How many pods there are at least while nobody knows the demand."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.memory import Memory
from agentscaler.core.situation import Draft, Knowledge, Situation
from agentscaler.core.values import replace


def fall_back(s: Situation, d: Draft) -> Draft:
    """After so many observations in a row without a known demand: the user's size, and never fewer than what runs.

    A service without pods has nothing to observe: it is left as it is.
    """
    fallback = s.policy.replicas.fallback
    failures = blind_observations(s)
    if fallback is None or failures < fallback.failure_threshold:
        return d
    size = max(d.settings.replicas, fallback.replicas)
    why = f"demand has not been known for {fallback.failure_threshold} observations: at least {fallback.replicas} pods"
    return d.replicas("fall-back", size, Reason.FALLBACK, why)


def blind_observations(s: Situation) -> int:
    """Observations in a row, this one included, that did not tell the demand, not even in part."""
    blind = s.knowledge in {Knowledge.UNKNOWN, Knowledge.DEAD} and s.target.replicas > 0
    return s.memory.blind_observations + 1 if blind else 0


def remember_blindness(s: Situation, memory: Memory) -> Memory:
    """Count this observation."""
    blind = blind_observations(s)
    return memory if blind == memory.blind_observations else replace(memory, blind_observations=blind)
