"""By which metrics a framework is known, and what it means when pods export others. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from functools import lru_cache
from typing import Final

from agentscaler.frameworks.preset import Metric, MetricKind, Metrics
from agentscaler.frameworks.registry import PRESETS

_EVERYWHERE: Final = frozenset({"memory", "cpu"})
_EXPECTED: Final = ("requests", "duration", "in_flight")
_MOST_NAMES: Final = 5


@lru_cache
def names(framework: str) -> frozenset[str]:
    """Names of series that a framework's preset reads, those of any process left out."""
    return frozenset(name for field in fields(Metrics) for name in _of(framework, field.name))


def stranger(framework: str, seen: Collection[str]) -> str:
    """What to tell of pods that answer their scrape and export nothing that their framework would.

    Args:
        framework: As the object names it.
        seen: Names of series of the pods that look like those of agents.

    Returns:
        Empty: some are of this framework alone, which has done no run yet.
    """
    others = {name: len((names(name) - names(framework)) & set(seen)) for name in PRESETS if name != framework}
    likely = max(others, key=lambda name: others[name])
    if not others[likely] and names(framework) & set(seen):
        return ""
    expected = ", ".join(dict.fromkeys(name for field in _EXPECTED for name in _of(framework, field, parts=False)))
    head = f"the pods answer their scrape, and none exports a metric of framework {framework} ({expected})"
    if not seen:
        mend = "check the port and the path that Prometheus scrapes, unless the agent exports them with its first run"
        return f"{head}, nor one that looks like an agent's: {mend}"
    shown = ", ".join(sorted(seen)[:_MOST_NAMES])
    mend = f"set spec.framework: {likely}" if others[likely] else "name them in spec.signals.overrides"
    return f"{head}; they export {shown}: {mend}, or mend what they export"


def _of(framework: str, field: str, *, parts: bool = True) -> list[str]:
    found: list[str] = []
    for metrics in PRESETS[framework].metrics.chain if field not in _EVERYWHERE else ():
        metric = getattr(metrics, field)
        if isinstance(metric, Metric):
            histogram = metric.kind is MetricKind.HISTOGRAM and parts
            found += [f"{metric.name}{part}" for part in ("_bucket", "_sum", "_count")] if histogram else []
            found.append(metric.name)
    return found
