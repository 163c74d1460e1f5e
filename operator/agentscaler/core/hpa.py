"""What the HPA's rule would ask for, beside every decision of ours: a comparison, never an input."""

from __future__ import annotations

from math import ceil

TARGET_UTILIZATION = 0.7


def hpa_replicas(*, replicas: int, ready: int, in_flight: float, workers: int, minimum: int, maximum: int) -> int:
    """Replicas by autoscaling/v2 on a pods metric of running work, target 70 % of the workers, before stabilization.

    `in_flight` counts running work only: the HPA sees no queue unless somebody exports one.
    """
    if ready < 1 or workers < 1:
        return replicas
    ratio = in_flight / ready / (TARGET_UTILIZATION * workers)
    wanted = replicas if abs(ratio - 1.0) <= 0.1 else ceil(ratio * ready)
    return min(max(wanted, minimum), maximum)
