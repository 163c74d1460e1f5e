"""Runs that hold more and more memory, until the pods of the beginning cannot hold them inside the objective."""

from __future__ import annotations

from collections.abc import Sequence

from e2e.demo.world import PodsSample
from e2e.harness.load import Load

FIRST_FACTOR = 3.0
STEP_PER_POD = 0.15
"""More pods share the work, so that each step weighs less in a pod. Memory grows as a leak or longer contexts make it
grow, over several scrapes: what doubles within one scrape no controller sees in time. With two pods a run holds a tenth
more at each scrape; where it is a sixth, a run doubles while the first new pod starts and is seen."""
STEP_SECONDS = 5.0
LARGEST_PER_POD = 3.0
LARGEST_FACTOR = 9.0
SAMPLES = 5
SAMPLES_ABOVE = 4
"""One of the last samples above the objective is one large run; four are pressure."""


class Pressure:
    """Drives the memory factor of the load.

    Args:
        load: Whose runs grow.
        allowed_bytes: What the memory objective leaves to a pod.
    """

    def __init__(self, load: Load, allowed_bytes: float) -> None:
        self._load = load
        self._allowed_bytes = allowed_bytes
        self._factor = 0.0
        self._pods = 0
        self._stepped_at = 0.0

    @property
    def active(self) -> bool:
        """Whether runs are larger than usual."""
        return self._factor > 0

    def begin(self, now: float) -> None:
        """Make runs larger."""
        self._pods = 0
        self._set(FIRST_FACTOR, now)

    def end(self) -> None:
        """Make runs as they were."""
        self._factor = 0.0
        self._load.set_body(None, 0)

    def step(self, now: float, pods: Sequence[PodsSample]) -> str:
        """Make runs larger again if it is time and memory is still within its objective; says what it did."""
        if not self.active or not pods:
            return ""
        # How much it takes depends on the pods that share the work at the beginning; more of them are the remedy.
        self._pods = self._pods or pods[-1].running
        largest = min(LARGEST_PER_POD * self._pods, LARGEST_FACTOR)
        if now - self._stepped_at < STEP_SECONDS or self._factor >= largest:
            return ""
        above = sum(sample.worst_rss_bytes > self._allowed_bytes for sample in pods[-SAMPLES:])
        if above >= SAMPLES_ABOVE:
            self._stepped_at = float("inf")  # there it is
            return f"the worst pod stands above its memory objective, runs hold {self._factor:g} times the memory"
        self._set(min(self._factor + STEP_PER_POD * self._pods, largest), now)
        return ""

    def _set(self, factor: float, now: float) -> None:
        self._factor, self._stepped_at = factor, now
        self._load.set_body(factor, 0)
