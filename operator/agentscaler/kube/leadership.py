"""Whether this process may write, and for how long: the gate that every write to the API server passes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from agentscaler.kube.errors import NotLeader
from agentscaler.kube.paths import Access

MARGIN_SECONDS: Final = 0.5
"""Kept free at the end of a Lease, since clocks drift and a request takes its time on the wire."""
LEAST_SECONDS: Final = 1.0
"""A write that would get less time than this is not begun."""
LONGEST_SECONDS: Final = 10.0

_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Seconds since the machine started. The time that it was suspended counts: a Lease does not wait for it."""
    return time.clock_gettime(_CLOCK)


class Leadership:
    """The right to write, in terms: a write belongs to the term in which it was decided, and to no later one.

    Safe to read in several threads; changed in one.
    """

    def __init__(self, clock: Callable[[], float] = boot_seconds) -> None:
        """Stand by.

        Args:
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._term = 0
        self._until = -math.inf

    @classmethod
    def without_end(cls) -> Leadership:
        """Of a process that acts alone."""
        alone = cls()
        alone.begin(math.inf)
        return alone

    @property
    def term(self) -> int:
        """Number of the current or last term."""
        return self._term

    @property
    def is_held(self) -> bool:
        """Whether a term is under way."""
        return self._clock() < self._until

    def begin(self, until: float) -> None:
        """A new term.

        Args:
            until: When it ends unless it is extended, by the clock.
        """
        self._term += 1
        self._until = until

    def extend(self, until: float) -> None:
        """The term goes on."""
        self._until = until

    def end(self) -> None:
        """The term is over."""
        self._until = -math.inf

    def budget_seconds(self, term: int, access: Access) -> float:
        """How long a write may take that is begun now.

        Args:
            term: In which it was decided.
            access: What it does, for the message.

        Raises:
            NotLeader: The term is over, or too little is left of it.
        """
        left = self._until - self._clock() - MARGIN_SECONDS
        if term != self._term or left < LEAST_SECONDS:
            raise NotLeader(f"did not {access}: this process does not hold the Lease", access=access)
        return min(left, LONGEST_SECONDS)
