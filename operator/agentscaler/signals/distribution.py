"""The distribution of run durations, out of classic bucket rows or a native histogram."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any, Final

from agentscaler.signals.item import BUCKETS
from agentscaler.signals.promql import OBJECT, SIGNAL

ROW: Final = BUCKETS

Shares = tuple[tuple[float, float], ...]
"""(upper bound in the metric's unit, share of observations at or below it), rising."""


def parse(result: Iterable[Any], namespace_label: str) -> dict[tuple[str, str], Shares]:
    """The shares of every object in an answer; objects without observations are left out.

    Args:
        result: Rows of an instant query.
        namespace_label: The label that holds the namespace.
    """
    classic: dict[tuple[str, str], list[tuple[float, float]]] = {}
    native: dict[tuple[str, str], Shares] = {}
    for row in result:
        labels = row["metric"]
        if labels.get(SIGNAL) != ROW:
            continue
        key = (labels.get(namespace_label, ""), labels.get(OBJECT, ""))
        if "histogram" in row:
            native[key] = _of_native(row["histogram"][1])
        elif "le" in labels:
            classic.setdefault(key, []).append((float(labels["le"]), float(row["value"][1])))
    shares = {key: _of_classic(rows) for key, rows in classic.items()}
    return {key: value for key, value in (native | shares).items() if value}


def _of_classic(rows: list[tuple[float, float]]) -> Shares:
    rows.sort()
    bound, total = rows[-1]
    if isfinite(bound) or not total > 0:
        return ()
    return tuple((le, min(1.0, count / total)) for le, count in rows[:-1])


def _of_native(histogram: Any) -> Shares:
    total = float(histogram["count"])
    if not total > 0:
        return ()
    shares: list[tuple[float, float]] = []
    below = 0.0
    for _, left, right, count in histogram.get("buckets", ()):
        if float(left) > (shares[-1][0] if shares else 0.0):  # empty buckets are left out of the answer
            shares.append((float(left), min(1.0, below / total)))
        below += float(count)
        if isfinite(float(right)):
            shares.append((float(right), min(1.0, below / total)))
    return tuple(shares)
