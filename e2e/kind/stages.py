"""How long each stage took, said as it happens and once more at the end."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_taken: list[tuple[str, float]] = []


def say(text: str) -> None:
    """A line for the person at the terminal, past pytest's capture."""
    print(f"kind: {text}", file=sys.__stderr__, flush=True)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Run a stage; stages may contain others."""
    say(f"{name} ...")
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        _taken.append((name, seconds))
        say(f"{name}: {seconds:.1f} s")


def summary() -> str:
    """All stages so far, a line each."""
    return "\n".join(f"{seconds:7.1f} s  {name}" for name, seconds in _taken)
