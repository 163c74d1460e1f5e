"""The error budget: how fast failed runs use up what `objectives.errorRate` allows.

Two windows, as of a burn-rate alert: the long one tells that it matters, the short one that it goes on. One failed run
of a quiet minute is no reason to keep pods, and neither is an outage that is over.
"""

from __future__ import annotations

from math import exp

from agentscaler.core.memory import Ended, Memory
from agentscaler.core.observation import SignalName
from agentscaler.core.situation import Situation
from agentscaler.core.values import replace

LONG_SECONDS = 3600.0


def budget_burns(s: Situation) -> bool:
    """Whether runs fail faster than the objective allows, in the window of the signals and over about an hour."""
    promised, short = s.policy.objectives.error_ratio, s.value(SignalName.ERROR_RATIO)
    if promised is None or short is None or short <= promised:
        return False
    ended = _with_this(s)
    return ended.failed > promised * ended.runs or ended.runs == 0


def remember_failures(s: Situation, memory: Memory) -> Memory:
    """Count the runs that have ended since the last decision."""
    return replace(memory, ended=_with_this(s))


def _with_this(s: Situation) -> Ended:
    before, elapsed = s.memory.ended, s.now - s.memory.decided_at
    # A gap is not made up for: what the last minute was like says nothing of an hour.
    elapsed = min(max(elapsed, 0.0), 2.0 * s.policy.interval_seconds)
    keep = exp(-elapsed / LONG_SECONDS)
    runs = (s.value(SignalName.REQUEST_RATE_60) or 0.0) * elapsed
    failed = runs * min(s.value(SignalName.ERROR_RATIO) or 0.0, 1.0)
    return Ended(keep * before.runs + runs, keep * before.failed + failed)
