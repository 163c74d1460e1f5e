"""Cost against violations as an SVG: one point for each policy on each trace, and its mean."""

from __future__ import annotations

from html import escape
from math import log10

from benchmarks.control.table import Results

WIDTH, HEIGHT, EDGE = 760, 420, 54
COLOURS = ("#1a73e8", "#d93025", "#f29900", "#188038", "#9334e6", "#00838f", "#5f6368", "#b06000")
LEAST_PERCENT, MOST_PERCENT = 0.01, 30.0


def pareto(results: Results, trace: str | None = None) -> str:
    """The picture of one variant, of one trace or of all."""
    shown = [trace] if trace else results.traces
    points = {
        policy: [
            (results.cost(policy, t), results.mean(policy, t, lambda row: row.violation_percent))
            for t in shown
            if results.of(policy, t)
        ]
        for policy in results.policies
    }
    most = max(2.0, *(cost for found in points.values() for cost, _ in found))

    def x(cost: float) -> float:
        return EDGE + (WIDTH - 200 - EDGE) * (cost - 0.4) / (most - 0.4)

    def y(percent: float) -> float:
        high = log10(MOST_PERCENT / LEAST_PERCENT)
        return HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * log10(max(percent, LEAST_PERCENT) / LEAST_PERCENT) / high

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<style>text { font-size: 12px }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{EDGE}" y="22">{escape(results.title)}{f": {trace}" if trace else ""}</text>',
        f'<line x1="{EDGE}" y1="{y(1):.1f}" x2="{WIDTH - 200}" y2="{y(1):.1f}" stroke="#d93025" stroke-dasharray="4"/>',
    ]
    parts += [
        f'<text x="{EDGE - 6}" y="{y(percent) + 4:.1f}" text-anchor="end">{percent:g} %</text>'
        for percent in (0.01, 0.1, 1.0, 10.0)
    ]
    parts += [
        f'<text x="{x(tick / 4):.1f}" y="{HEIGHT - EDGE + 18}" text-anchor="middle">{tick / 4:g}</text>'
        for tick in range(2, int(most * 4) + 1)
    ]
    parts.append(f'<text x="{WIDTH / 2 - 80:.0f}" y="{HEIGHT - 12}">replica-hours over the clairvoyant</text>')
    radius = 4 if len(shown) > 1 else 7
    for n, (policy, found) in enumerate(points.items()):
        colour = COLOURS[n % len(COLOURS)]
        parts += [
            f'<circle cx="{x(cost):.1f}" cy="{y(percent):.1f}" r="{radius}" fill="{colour}" fill-opacity="0.8"/>'
            for cost, percent in found
        ]
        parts.append(f'<circle cx="{WIDTH - 184}" cy="{EDGE + 20 * n}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - 174}" y="{EDGE + 20 * n + 4}">{escape(policy)}</text>')
    return "\n".join([*parts, "</svg>\n"])
