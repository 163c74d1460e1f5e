"""How fast a replica count may move: `behavior` of autoscaling/v2, in exact integers.

Source of the rules: the HPA of Kubernetes 1.36 (`horizontal.go`). One difference, on purpose: the HPA computes
percentages in floating point, where +10 % of 100 gives 111; here it gives 110.
"""

from __future__ import annotations

from collections.abc import Iterable

from agentscaler.core.memory import Change, Sample
from agentscaler.core.policy import PolicyType, ScalingPolicy, ScalingRules, SelectPolicy

HPA_TOLERANCE = 0.1
HPA_SCALE_UP = ScalingRules(
    policies=(ScalingPolicy(PolicyType.PODS, 4, 15), ScalingPolicy(PolicyType.PERCENT, 100, 15)),
)
HPA_SCALE_DOWN = ScalingRules(stabilization_window_seconds=300, policies=(ScalingPolicy(PolicyType.PERCENT, 100, 15),))


def within_tolerance(current: int, wanted: int, tolerance: float) -> bool:
    """Whether `wanted` is so near to `current` that moving is not worth it. Zero replicas are near to nothing.

    Whole replicas are compared, where the HPA compares the usage before it rounds up: a forecast has no usage ratio.
    """
    return current > 0 and abs(wanted - current) <= tolerance * current + 1e-9


def stabilized(
    current: int,
    wanted: int,
    *,
    ups: Iterable[Sample],
    downs: Iterable[Sample],
    up_window_seconds: float,
    down_window_seconds: float,
    now: float,
) -> int:
    """The lowest recent recommendation bounds growth, the highest recent one bounds shrinking.

    A sample exactly as old as the window is outside of it.
    """
    floor = min([wanted, *(int(s.value) for s in ups if 0 <= now - s.at < up_window_seconds)])
    ceiling = max([wanted, *(int(s.value) for s in downs if 0 <= now - s.at < down_window_seconds)])
    return min(max(current, floor), ceiling)


def limited(current: int, wanted: int, rules: ScalingRules, changes: Iterable[Change], now: float) -> int:
    """`wanted`, as far as the policies of its direction allow from `current` now."""
    if wanted == current:
        return wanted
    if rules.select_policy is SelectPolicy.DISABLED:
        return current
    if not rules.policies:
        return wanted
    past = tuple(changes)
    up = wanted > current
    limits = [_limit(current, policy, past, now, up=up) for policy in rules.policies]
    widest = rules.select_policy is SelectPolicy.MAX
    if up:
        return min(wanted, max(current, max(limits) if widest else min(limits)))
    return max(wanted, min(current, min(limits) if widest else max(limits)))


def _limit(current: int, policy: ScalingPolicy, changes: tuple[Change, ...], now: float, *, up: bool) -> int:
    start = current - sum(c.amount for c in changes if now - c.at < policy.period_seconds)
    if policy.type is PolicyType.PODS:
        return start + policy.value if up else start - policy.value
    if up:
        # A percentage of nothing would keep a service that rests at zero there.
        return -(-max(start, 1) * (100 + policy.value) // 100)
    return start * (100 - policy.value) // 100
