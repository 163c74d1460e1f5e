"""What becomes of the calls to the model provider."""

from __future__ import annotations

from agentscaler.core.observation import Observation, SignalName

LEAST_FAILURE_RATE = 0.045
"""Failures per second below which a share is noise (fewer than three in a minute)."""


def upstream_shares(observation: Observation, least_rate: float = LEAST_FAILURE_RATE) -> tuple[float, float]:
    """(failing, throttled) shares of the upstream calls of the last minute; 0 where not known or below the rate."""
    calls = observation.value(SignalName.UPSTREAM_CALL_RATE) or 0.0
    failing = sum(observation.value(n) or 0.0 for n in (SignalName.UPSTREAM_5XX_RATE, SignalName.UPSTREAM_TIMEOUT_RATE))
    throttled = observation.value(SignalName.UPSTREAM_429_RATE) or 0.0
    # Without a counter of all calls, runs stand in: a run makes one call at least.
    calls = max(calls, observation.value(SignalName.REQUEST_RATE_60) or 0.0, failing + throttled)
    if calls <= 0:
        return 0.0, 0.0
    return (
        failing / calls if failing >= least_rate else 0.0,
        throttled / calls if throttled >= least_rate else 0.0,
    )
