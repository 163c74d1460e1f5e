"""What becomes of the calls to the model provider."""

from __future__ import annotations

from math import sqrt

from agentscaler.core.observation import Observation, SignalName

LEAST_FAILURE_RATE = 0.045
"""Failures per second below which a share is noise (fewer than three in a minute)."""

FRESH_FAILURES = 3
FRESH_SHARE = 0.05
FRESH_SECONDS = 30.0
"""For so long the sign holds: calls that hang end in time-outs by then."""
RATE_WINDOW_SECONDS = 60.0


def failure_rate(observation: Observation) -> float | None:
    """Upstream calls per second that failed or were throttled in the last minute; None when not known."""
    kinds = (SignalName.UPSTREAM_5XX_RATE, SignalName.UPSTREAM_TIMEOUT_RATE, SignalName.UPSTREAM_429_RATE)
    rates = [rate for kind in kinds if (rate := observation.value(kind)) is not None]
    return sum(rates) if rates else None


def success_rate(observation: Observation) -> float:
    """Upstream calls per second that succeeded in the last minute; 0 when not known."""
    calls = observation.value(SignalName.UPSTREAM_CALL_RATE) or 0.0
    return max(calls - (failure_rate(observation) or 0.0), 0.0)


def fails_afresh(observation: Observation, before: float, elapsed_seconds: float) -> bool:
    """Whether a good part of the calls since the last tick failed, though the last minute as a whole looks well.

    Calls that hang are counted when they time out, and fill the workers until then: the first quick failures are the
    only early sign that what looks like more work is none. When all workers hang, even those cease.

    Args:
        observation: Of this tick.
        before: `failure_rate` at the last tick.
        elapsed_seconds: Since then.
    """
    rate, calls = failure_rate(observation), observation.value(SignalName.UPSTREAM_CALL_RATE)
    calls = max(calls or 0.0, observation.value(SignalName.REQUEST_RATE_60) or 0.0)
    if rate is None or not 0 < elapsed_seconds <= RATE_WINDOW_SECONDS:
        return False
    fresh = (rate - before) * RATE_WINDOW_SECONDS
    # The difference of two Poisson counts: three standard deviations are no chance.
    chance = 3 * sqrt(2 * before * elapsed_seconds)
    return fresh >= FRESH_FAILURES + chance and fresh >= FRESH_SHARE * calls * elapsed_seconds


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
