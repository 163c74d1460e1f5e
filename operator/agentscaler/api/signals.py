"""Where the signals come from: the window, and metrics that are named otherwise than the framework preset says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from agentscaler.api.rules import Checked, Model, Rule
from agentscaler.api.values import MetricName, Scale

HISTOGRAMS: Final = ("latency", "duration", "queueWait")
COUNTERS: Final = (
    "requests",
    "failedRequests",
    "rejectedByBreaker",
    "rejected",
    "cacheHits",
    "cacheMisses",
    "cacheEvictions",
    "cacheExpired",
    "upstream429",
    "upstream5xx",
    "upstreamTimeout",
    "upstreamCalls",
    "cpu",
)
GAUGES: Final = (
    "inFlight",
    "queueDepth",
    "workerLimit",
    "cacheBytes",
    "breakerState",
    "appliedGeneration",
    "memory",
)
KINDS: Final = (
    (("Histogram",), HISTOGRAMS),
    (("Counter", "Histogram"), COUNTERS),
    (("Gauge",), GAUGES),
)
"""Kinds of metrics, and the signals that are read from them; a histogram can count, too."""
OVERRIDABLE: Final = HISTOGRAMS + COUNTERS + GAUGES

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _listed(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _labels_are_plain(matchers: Mapping[str, str]) -> bool:
    return all(_LABEL.fullmatch(label) and not label.startswith("__") for label in matchers)


def _signals_are_known(overrides: Mapping[str, Override]) -> bool:
    return all(name in OVERRIDABLE for name in overrides)


def _kind_rule(kinds: tuple[str, ...], names: tuple[str, ...]) -> Rule:
    def holds(overrides: Mapping[str, Override]) -> bool:
        return all(name not in names or override.kind in kinds for name, override in overrides.items())

    return Rule(
        f"{_listed(names)}.all(name, !(name in self) || self[name].kind in {_listed(kinds)})",
        f"kind must be {' or '.join(kinds)} for {', '.join(names)}: name a metric of that kind",
        holds,
    )


def _failures_have_a_whole(overrides: Mapping[str, Override]) -> bool:
    return "failedRequests" not in overrides or "requests" in overrides


class Override(Model):
    """The metric that carries one signal."""

    metric: MetricName
    """Name of the metric; of a histogram without `_bucket`, `_sum` or `_count`."""
    kind: Literal["Histogram", "Counter", "Gauge"]
    """How the metric is read. A histogram may be classic or native; where a Counter is wanted, its count is read."""
    matchers: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=256)]],
            Field(max_length=10),
            Checked(
                rules=(
                    Rule(
                        "self.all(label, label.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && !label.startsWith('__'))",
                        "matchers must name Prometheus labels: letters, digits and '_', not starting with '__'",
                        _labels_are_plain,
                    ),
                )
            ),
        ]
        | None
    ) = None
    """Label values that select the series; a value that starts with ~ is an anchored regular expression."""
    scale: Scale | None = None
    """Factor to the signal's unit (seconds, bytes, cores): "0.001" where the metric counts milliseconds."""


class Signals(Model):
    """How the signals are measured."""

    window_seconds: Literal[60, 120, 300, 600] | None = None
    """Window of quantiles and ratios, in seconds, not shorter than the interval. Effective default: 120."""
    overrides: (
        Annotated[
            dict[str, Override],
            Field(max_length=len(OVERRIDABLE)),
            Checked(
                rules=(
                    Rule(
                        f"self.all(name, name in {_listed(OVERRIDABLE)})",
                        f"overrides must name signals: one of {', '.join(OVERRIDABLE)}",
                        _signals_are_known,
                    ),
                    *(_kind_rule(kinds, names) for kinds, names in KINDS),
                    Rule(
                        "!('failedRequests' in self) || 'requests' in self",
                        "failedRequests needs requests beside it: a share needs both counters from one source",
                        _failures_have_a_whole,
                    ),
                )
            ),
        ]
        | None
    ) = None
    """Metrics that replace those of the framework preset, by signal.

    Histograms: latency (successful runs), duration (all runs; default: as latency), queueWait. Counters: requests,
    failedRequests, rejectedByBreaker, rejected, cacheHits, cacheMisses, cacheEvictions, cacheExpired, upstream429,
    upstream5xx, upstreamTimeout, upstreamCalls, cpu. Gauges: inFlight, queueDepth, workerLimit, cacheBytes,
    breakerState, appliedGeneration, memory.
    """
