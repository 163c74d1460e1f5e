"""What the frameworks' scenarios measured, as the page that ``REPORT=file`` names."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.scenarios.frameworks import Framework

_BEGAN = time.monotonic()
_PAGE = """# Agent frameworks, measured

Written by `REPORT=docs/frameworks-measured.md make e2e-frameworks`: the example of each framework and its agent on \
kind, all at the same time, on {cores} cores. Do not edit.

Changed for that machine: runs of 4 s, 2 to 3 pods of 8 to 24 workers, decisions each 5 s over windows of a minute, \
smaller requests, a quicker probe, a pause before a pod ends.

{table}

- *settings*: those that the adapter lists; *enforced*: that somebody acts on; *mapped*: of these, those that follow \
the knobs; *live*: of these, those that a running pod takes. [frameworks.md](frameworks.md) has them all.
- *in force*: seconds from each write of the settings until every pod reports them, seen from outside twice a second: \
the pods that there were, or where settings come by a restart, the ready new ones.
- *requests lost*: of all that were sent, through a spike and every change; one that was refused counts as lost.
- *moved*: from and to, as the operator wrote it. Bounds of cache and breaker were changed by hand, those of \
workers too where they come by a restart; the rest moved by itself. Where no breaker is named, the guide has none \
and its agent none.

The run took {seconds:.0f} s, the cluster, the images and the operator included.
"""


@dataclass
class Row:
    """One framework.

    Attributes:
        framework: Which.
        image_bytes: Of its agent, all layers.
        in_force_seconds: From each write until every pod reported it.
        sent: Requests.
        lost: Those without the answer that they were sent for.
        moved: Values before and after, by what moved.
        complete: Whether the trial came to its end.
    """

    framework: Framework
    image_bytes: int
    delivery: str = ""
    in_force_seconds: list[float] = field(default_factory=list)
    sent: int = 0
    lost: int = 0
    moved: dict[str, tuple[object, object]] = field(default_factory=dict)
    complete: bool = False

    def cells(self) -> tuple[str, ...]:
        """As the table has them."""
        return (
            self.framework.name,
            self.delivery,
            *map(str, self.framework.counts()),
            ", ".join(f"{each:.1f} s" for each in self.in_force_seconds),
            f"{self.lost} of {self.sent}",
            "; ".join(f"{what} {before} to {after}" for what, (before, after) in self.moved.items()),
            f"{self.image_bytes / 1e6:.0f} MB",
        )


def page(rows: Iterable[Row]) -> str:
    """The page, with the time since the tests began."""
    head = (
        "framework",
        "delivery",
        "settings",
        "enforced",
        "mapped",
        "live",
        "in force",
        "requests lost",
        "moved",
        "image",
    )
    lines = [head, ("---",) * len(head), *(row.cells() for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return _PAGE.format(table=table, cores=os.cpu_count(), seconds=time.monotonic() - _BEGAN)


def report_file() -> Path | None:
    """Where the page goes; None: nobody asked for it."""
    return Path(os.environ["REPORT"]) if os.environ.get("REPORT") else None
