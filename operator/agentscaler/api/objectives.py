"""What the user promises: the objectives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agentscaler.api.rules import Model
from agentscaler.api.values import ErrorPercent, MemoryPercent, Quantile


class QuantileObjective(Model):
    """The quantile of a duration stays at or below the target."""

    quantile: Quantile
    """Share of runs for which the target holds, a decimal string between 0 and 1, such as "0.99"."""
    target_milliseconds: Annotated[int, Field(ge=1, le=86_400_000)]
    """Largest duration allowed at the quantile, in milliseconds."""


class ErrorObjective(Model):
    """The share of failed runs stays at or below the target."""

    target_percent: ErrorPercent
    """Largest share of ended runs that may fail, in percent, above 0 and below 100: 1, or "0.5"."""


class MemoryObjective(Model):
    """The memory of the worst pod stays at or below the target."""

    target_percent: MemoryPercent
    """Largest working set of any pod in percent of its memory limit, 10 to 95."""


class Objectives(Model):
    """What the service promises. The operator keeps it at the least cost."""

    queue_wait: QuantileObjective | None = None
    """Time before a run starts: what capacity can change. Effective default: 0.99 within 5000 ms."""
    latency: QuantileObjective | None = None
    """Time of a whole run, its wait included. Effective default: none."""
    error_rate: ErrorObjective | None = None
    """Failed runs. Effective default: 1 percent."""
    memory: MemoryObjective | None = None
    """Memory against its limit; without a limit it is off, and a condition says so. Effective default: 80 percent."""
