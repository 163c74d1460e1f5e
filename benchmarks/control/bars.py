"""The bar of the control benchmark, line by line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.control.table import Results

RAMP, RAMP_PERCENT = "r1_ramp2h", 1.5
"""Nobody can be better than 0.98 % there: it doubles unannounced."""
OURS = "agentscaler"


@dataclass(frozen=True, slots=True)
class Line:
    """One demand of the bar, and what was measured."""

    text: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'}  {self.text}: {self.measured}"


@dataclass(frozen=True, slots=True)
class Bar:
    """What one variant asks for."""

    cost: float | None = None
    target: float | None = None
    ramp_percent: float = 1.0
    lost_percent: float | None = None
    pair: float | None = None
    each_pair: bool = False
    actions: bool = True


def judge(results: Results, bar: Bar) -> list[Line]:
    """The lines of one variant."""
    title = results.title
    over = {
        trace: late
        for trace in results.traces
        if (late := results.mean(OURS, trace, lambda row: row.violation_percent))
        > (bar.ramp_percent if trace == RAMP else 1.0)
    }
    worst = results.worst(OURS, lambda row: row.violation_percent)
    told = ", ".join(f"{trace} {late:.2f} %" for trace, late in over.items()) or f"worst {worst[0]} {worst[1]:.2f} %"
    beside = f" ({RAMP}: {bar.ramp_percent:g} %)" if bar.ramp_percent > 1.0 else ""
    lines = [Line(f"{title}: violations at most 1 % on every trace{beside}", told, not over)]
    if bar.cost is not None:
        cost = results.geometric(OURS)
        lines.append(Line(f"{title}: cost at most {bar.cost} x clairvoyant", str(cost), cost.value <= bar.cost))
        if bar.target is not None:
            lines.append(Line(f"{title}: cost target {bar.target}", str(cost), cost.value <= bar.target))
    if bar.lost_percent is not None:
        lost = results.worst(OURS, lambda row: row.lost_percent)
        text = f"{title}: lost at most {bar.lost_percent} %"
        lines.append(Line(text, f"worst {lost[0]} {lost[1]:.3f} %", lost[1] <= bar.lost_percent))
    if bar.pair is not None:
        lines += _pairs(results, bar)
    if bar.actions:
        actions = results.worst(OURS, lambda row: row.actions_per_hour)
        text = f"{title}: at most 20 replica actions per hour"
        lines.append(Line(text, f"worst {actions[0]} {actions[1]:.1f}", actions[1] <= 20))
        back = results.worst(OURS, lambda row: row.reversals_per_hour)
        text = f"{title}: at most 4 reversals within 5 minutes per hour"
        lines.append(Line(text, f"worst {back[0]} {back[1]:.1f}", back[1] <= 4))
    return lines


def _pairs(results: Results, bar: Bar) -> list[Line]:
    text = f"{results.title}: cost at most {bar.pair} x the best fixed pair in hindsight"
    with_pair = tuple(row for row in results.rows if row.cost_ratio_hindsight is not None)
    if not with_pair:
        return [Line(text, "no pair keeps the gate on any trace", met=True)]
    without = [trace for trace in results.traces if all(row.trace != trace for row in with_pair)]
    if without:
        text += f" (no pair keeps the gate on {', '.join(without)})"
    results = replace(results, rows=with_pair)
    ratio = results.geometric(OURS, lambda row: row.cost_ratio_hindsight or 1.0)
    lines = [Line(f"{text}, geometric mean", str(ratio), ratio.value <= (bar.pair or 0))]
    if bar.each_pair:
        worst = results.worst(OURS, lambda row: row.cost_ratio_hindsight or 1.0)
        lines.append(Line(f"{text}, each trace", f"worst {worst[0]} {worst[1]:.3f}", worst[1] <= (bar.pair or 0)))
    return lines


def judge_outages(results: Results, fixed: str) -> list[Line]:
    """What the breaker spares while the provider fails, against resilience4j's defaults on the same policy."""

    def total(policy: str, name: str) -> float:
        return float(sum(getattr(row, name) for row in results.of(policy)))

    ours, theirs = total(OURS, "wasted_calls"), total(fixed, "wasted_calls")
    fewer = 100.0 * (1 - ours / theirs) if theirs else 0.0
    base = total(fixed, "wasted_calls_when_down")
    down = 100.0 * (1 - total(OURS, "wasted_calls_when_down") / base) if base else 0.0
    refused, before = total(OURS, "healthy_refusals"), total(fixed, "healthy_refusals")
    return [
        Line(
            f"{results.title}: at least 90 % fewer wasted calls than resilience4j's defaults",
            f"{fewer:.1f} % fewer ({ours:.0f} of {theirs:.0f})",
            fewer >= 90,
        ),
        Line(
            f"{results.title}: the same while it fails every call (else a breaker would refuse more)",
            f"{down:.1f} % fewer ({total(OURS, 'wasted_calls_when_down'):.0f})",
            down >= 90,
        ),
        Line(
            f"{results.title}: no more refusals while the provider is well",
            f"{refused:.0f} against {before:.0f}",
            refused <= before,
        ),
    ]
