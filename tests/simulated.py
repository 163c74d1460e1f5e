"""Small worlds for tests of the simulator: every draw is given by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agentscaler.simulate.model import Variant
from agentscaler.simulate.workload import Outages, Workload
from agentscaler.simulate.world import World

ROOMY = Variant()


def workload(
    arrivals: Sequence[float],
    service: Sequence[float] | float,
    *,
    duration: float | None = None,
    outages: Sequence[tuple[float, float, float]] = (),
    start_up: float = 30.0,
    phase: float = 0.0,
    **draws: Sequence[float] | float,
) -> Workload:
    """Requests that take little memory and CPU, unless `draws` say otherwise (fields of the kernel's state)."""
    n = len(arrivals)
    arrival = np.array(arrivals, dtype=np.float64)
    begin, end, share = (
        (np.array(column, dtype=np.float64) for column in zip(*outages, strict=True))
        if outages
        else (
            np.empty(0),
            np.empty(0),
            np.empty(0),
        )
    )
    fails = Outages(begin, end, share)
    plain: dict[str, Any] = {
        "service": service,
        "reply": service,
        "peak": 210.0,
        "peak_start": 0.5,
        "cores": 0.1,
        "fail_draw": 0.5,
        "kind_draw": 0.0,
        "tokens": 0.0,
    }
    requests = {
        name: np.broadcast_to(np.asarray(value, dtype=np.float64), n).copy() for name, value in (plain | draws).items()
    }
    requests["arrival"] = arrival
    requests |= {
        "input_tokens": np.zeros(n),
        "base_cached": np.zeros(n),
        "item_offsets": np.zeros(n + 1, np.int64),
        "items": np.empty(0, np.int64),
        "item_tokens": np.zeros(n),
    }
    requests["doomed"] = (requests["fail_draw"] < fails.share_at(arrival)).astype(np.uint8)
    last = float(arrival[-1]) + 1.0 if n else 1.0
    return Workload("by-hand", 0, last if duration is None else duration, requests, fails, np.full(64, start_up), phase)


def world(given: Workload, replicas: int, variant: Variant = ROOMY, **options: Any) -> World:
    """A world with so many ready pods."""
    return World(given, variant, replicas=replicas, **options)
