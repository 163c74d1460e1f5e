"""How hard properties are searched: `make search EFFORT=20` draws twenty times as many examples, and new ones."""

from __future__ import annotations

import os

from hypothesis import settings

EFFORT = int(os.environ.get("EFFORT", "1"))


def examples(count: int) -> settings:
    """So many examples, times the effort."""
    return settings(max_examples=count * EFFORT)
