"""One row of results for each object, and how rows of metrics with other names stand in for each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Final, ParamSpec

from agentscaler.core.observation import SignalName as S
from agentscaler.frameworks.preset import Metrics
from agentscaler.signals.promql import OBJECT, Dialect, tagged

P = ParamSpec("P")

BUCKETS: Final = "buckets"
"""Row of the distribution of run durations."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row of results for each object."""

    row: str
    """Value of the label `signal` in the results."""
    fields: frozenset[str]
    """Fields of `Metrics` that it is made of."""
    promql: str

    @property
    def tagged(self) -> str:
        """The expression with its row's name on it."""
        return tagged(self.row, self.promql)


def quantile_row(signal: S, quantile: float, window: int) -> str:
    """Row of a quantile; of the share of late runs, by the objective in seconds."""
    return f"{signal.value}:{quantile!r}:{window}"


def window_row(name: str, window: int) -> str:
    """Row of a value over a window."""
    return f"{name}:{window}"


def along(
    make: Callable[Concatenate[Metrics, Dialect, P], list[Item]],
) -> Callable[Concatenate[Metrics, Dialect, P], list[Item]]:
    """The template for metrics with other names: an object without a row of the first ones gets that of the next.

    Each row is asked once, whatever the number of names. Rows of two fields take both from one set of names.
    """

    @wraps(make)
    def whole(m: Metrics, d: Dialect, /, *args: P.args, **kwargs: P.kwargs) -> list[Item]:
        items = {item.row: item for item in make(m, d, *args, **kwargs)}
        scale = m.duration.scale if m.duration else 1.0
        for other in m.chain[1:]:
            for item in make(other, d, *args, **kwargs):
                first = items.get(item.row)
                if first is None:
                    items[item.row] = item
                elif first.promql != item.promql:
                    if item.row == BUCKETS and (other.duration is None or other.duration.scale != scale):
                        continue  # bounds of two units would be mixed
                    items[item.row] = _first_or(d, first, item)
        return list(items.values())

    return whole


def _first_or(d: Dialect, first: Item, other: Item) -> Item:
    if first.row == BUCKETS:  # several rows for each object: all of one histogram
        names = f"{d.server.namespace_label},{OBJECT}"
        promql = f"({first.promql} or ({other.promql} unless on ({names}) {first.promql}))"
    else:
        promql = f"({first.promql} or {other.promql})"
    return Item(first.row, first.fields | other.fields, promql)
