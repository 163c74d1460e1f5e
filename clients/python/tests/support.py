"""What several tests need."""

import asyncio
import time
from collections.abc import Callable

from hypothesis import HealthCheck, settings

from agentscaler_runtime import Metrics

# For properties: a busy machine is no reason to fail.
PATIENCE_SECONDS = 60.0
"""Only a failure has to wait for so long."""
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(name, labels)
    assert value is not None, f"no series {name} {labels}"
    return value


async def until(condition: Callable[[], object], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_seconds} s: {what}"
        await asyncio.sleep(0.01)


async def settle() -> None:
    """Lets every task go as far as it can without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)
