"""An HTML page that loads nothing: plotly.js is inside, once. All words are escaped here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # it has no types

from agentscaler.simulate.plot import Figure

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}table{border-collapse:collapse;margin:.6rem 0;font-size:.9em}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}
th:first-child,td:first-child,.text{text-align:left}.bad{color:#b3261e;font-weight:600}.note{color:#555}
td{white-space:pre-line;vertical-align:top}.wide{overflow-x:auto}
"""
_SCRIPT: Final = """
for (const each of document.querySelectorAll('script.figure')) {
  const figure = JSON.parse(each.textContent), place = document.createElement('div');
  each.after(place);
  const legend = {orientation: 'h', y: 1, yanchor: 'bottom'};
  // The tools stand beside the figure: above it they would cover the legend.
  const modebar = {orientation: 'v', bgcolor: 'rgba(0,0,0,0)'};
  const base = {margin: {l: 60, r: 40, t: 20, b: 45}, legend, modebar, font: {size: 12}};
  Plotly.newPlot(place, figure.data, {...base, ...figure.layout}, {responsive: true, displaylogo: false});
}
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table; `bad` stands out."""

    words: str
    bad: bool = False


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file: a title and parts, which are HTML already."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n"
        f"<script>{get_plotlyjs()}</script>\n<script>{_SCRIPT}</script>\n</body></html>\n"
    )


def heading(words: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(words)}</h{level}>"


def note(words: str) -> str:
    """A sentence about what follows."""
    return f"<p class=note>{escape(words)}</p>"


def table(titles: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, text: Collection[int] = ()) -> str:
    """A table.

    Args:
        titles: One for each column.
        rows: Cells in the order of the titles.
        text: Columns that hold words, from 0; all but the first hold figures otherwise.
    """
    head = "".join(f"<th{_class(number in text)}>{escape(title)}</th>" for number, title in enumerate(titles))
    lines = "".join(f"<tr>{''.join(_cell(cell, n in text) for n, cell in enumerate(row))}</tr>" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>{lines}</table></div>"


def figure(shown: Figure) -> str:
    """A place for a figure, with its values."""
    # A closing tag inside of the JSON would end the script.
    values = json.dumps(shown, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return f'<script type="application/json" class="figure">{values}</script>'


def _cell(cell: Cell | str, text: bool) -> str:
    words, bad = (cell, False) if isinstance(cell, str) else (cell.words, cell.bad)
    return f"<td{_class(text, bad)}>{escape(words)}</td>"


def _class(text: bool, bad: bool = False) -> str:
    names = [name for name, given in (("text", text), ("bad", bad)) if given]
    if not names:
        return ""
    return f" class={names[0]}" if len(names) == 1 else f' class="{" ".join(names)}"'
