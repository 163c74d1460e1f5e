"""Means, intervals and tables of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agentscaler.simulate.score import Row

RESAMPLES = 2000
GATE_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, and where 95 % of the bootstrap's values lie."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Results:
    """Rows of one variant."""

    title: str
    rows: tuple[Row, ...]

    @property
    def traces(self) -> list[str]:
        return list(dict.fromkeys(row.trace for row in self.rows))

    @property
    def policies(self) -> list[str]:
        return list(dict.fromkeys(row.policy for row in self.rows))

    def of(self, policy: str, trace: str | None = None) -> list[Row]:
        return [row for row in self.rows if row.policy == policy and trace in {None, row.trace}]

    def mean(self, policy: str, trace: str, value: Callable[[Row], float]) -> float:
        return float(np.mean([value(row) for row in self.of(policy, trace)]))

    def cost(self, policy: str, trace: str) -> float:
        return self.mean(policy, trace, _cost)

    def worst(self, policy: str, value: Callable[[Row], float]) -> tuple[str, float]:
        """The trace with the highest mean."""
        return max(((trace, self.mean(policy, trace, value)) for trace in self.traces), key=lambda found: found[1])

    def geometric(self, policy: str, value: Callable[[Row], float] | None = None) -> Estimate:
        """Geometric mean over traces of the mean over seeds; whole seeds are drawn again, so that pairs stay."""
        value = value or _cost
        found = [[value(row) for row in self.of(policy, trace)] for trace in self.traces]
        table = np.array([values for values in found if values])
        drawn = np.random.default_rng(0).integers(0, table.shape[1], (RESAMPLES, table.shape[1]))
        spread = np.exp(np.log(table[:, drawn].mean(axis=2)).mean(axis=0))
        low, high = np.percentile(spread, [2.5, 97.5])
        return Estimate(float(np.exp(np.log(table.mean(axis=1)).mean())), float(low), float(high))


def _cost(row: Row) -> float:
    assert row.cost_ratio is not None
    return row.cost_ratio


def markdown(results: Results) -> str:
    """Cost over the clairvoyant @ violations in percent / actions per hour; above the gate the figure is struck out."""
    policies = results.policies
    lines = [_line(["trace", *policies]), _line(["---"] * (len(policies) + 1))]
    lines += [_line([trace, *(_cell(results, policy, trace) for policy in policies)]) for trace in results.traces]
    lines.append(_line(["**geometric mean**", *(str(results.geometric(policy)) for policy in policies)]))
    lines.append(_line(["traces above 1 %", *(str(_over(results, policy)) for policy in policies)]))
    return "\n".join(lines)


def details(results: Results, policy: str) -> str:
    """One policy, all figures."""
    columns: dict[str, Callable[[Row], float]] = {
        "violations %": lambda row: row.violation_percent,
        "late %": lambda row: row.late_percent,
        "lost %": lambda row: row.lost_percent,
        "OOM kills": lambda row: row.oom_kills,
        "lost task-s": lambda row: row.lost_seconds,
        "actions/h": lambda row: row.actions_per_hour,
        "reversals/h": lambda row: row.reversals_per_hour,
        "worker changes/h": lambda row: row.worker_changes_per_hour,
        "recovery s": lambda row: row.recovery_seconds or 0.0,
    }
    lines = [_line(["trace", "cost", *columns]), _line(["---"] * (len(columns) + 2))]
    for trace in results.traces:
        values = [f"{results.mean(policy, trace, value):.2f}" for value in columns.values()]
        lines.append(_line([trace, str(_interval([_cost(row) for row in results.of(policy, trace)])), *values]))
    return "\n".join(lines)


def _interval(values: Sequence[float]) -> Estimate:
    found = np.array(values)
    drawn = np.random.default_rng(0).integers(0, len(found), (RESAMPLES, len(found)))
    low, high = np.percentile(found[drawn].mean(axis=1), [2.5, 97.5])
    return Estimate(float(found.mean()), float(low), float(high))


def _cell(results: Results, policy: str, trace: str) -> str:
    if not results.of(policy, trace):
        return "-"
    cost, late = results.cost(policy, trace), results.mean(policy, trace, lambda row: row.violation_percent)
    actions = results.mean(policy, trace, lambda row: row.actions_per_hour)
    shown = f"{cost:.2f}" if late <= GATE_PERCENT else f"~~{cost:.2f}~~"
    return f"{shown} @{late:.2f} /{actions:.0f}"


def _over(results: Results, policy: str) -> int:
    return sum(
        results.mean(policy, trace, lambda row: row.violation_percent) > GATE_PERCENT
        for trace in results.traces
        if results.of(policy, trace)
    )


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
