"""The product with other constants in its core: what leave-one-out checks compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

from agentscaler.core import capacity, hold, level, margin
from agentscaler.simulate import policies
from agentscaler.simulate.model import Variant
from agentscaler.simulate.product import Agentscaler
from agentscaler.simulate.scrape import View
from agentscaler.simulate.world import Orders
from benchmarks.control.cells import PRODUCT, Entry

POLICY = f"{PRODUCT}-with"
PLACES: dict[str, tuple[tuple[ModuleType, str, float], ...]] = {
    # The number is what one unit of the constant is worth there.
    "reserve": ((capacity, "RESERVE", 1.0), (level, "RESERVE", 1.0)),
    "tighten": ((margin, "TIGHTEN", 1.0),),
    "hold": ((hold, "LEAST_HOLD_SECONDS", 1.0), (hold, "HELD_START_UPS", 1 / 30)),
}
"""Where each constant stands. The core reads them when it decides."""
ABOUT = {
    "reserve": "open worker slots over the busy level (`capacity.RESERVE`); without effect where workers are frozen",
    "tighten": "deviations of margin for a lateness that is off by all that is aimed at (`margin.TIGHTEN`)",
    "hold": "seconds for which a peak is held at least (`hold.LEAST_HOLD_SECONDS`, and as many start-ups of 30 s)",
}


def shipped() -> dict[str, float]:
    """The values that the product has."""
    return {name: float(getattr(*places[0][:2])) for name, places in PLACES.items()}


@contextmanager
def constants(values: dict[str, float]) -> Iterator[None]:
    """The core with these constants, in this process, until the end of the block."""
    places = [(module, name, unit * values[key]) for key in values for module, name, unit in PLACES[key]]
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(places, before, strict=True):
            setattr(module, name, value)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One value for each constant."""

    values: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in self.values)

    def entry(self, *, frozen: bool) -> Entry:
        """The run that measures it: one without any change where it is what the product ships."""
        ours = shipped()
        changed = tuple((n, v) for n, v in self.values if v != ours[n] and not (frozen and n == "reserve"))
        return Entry(str(self), POLICY if changed else PRODUCT, changed)


class With(Agentscaler):
    """The product; its core has other constants whenever it decides."""

    def __init__(self, **values: float) -> None:
        super().__init__(name=POLICY)
        self.values = values

    def begin(self, variant: Variant, replicas: int) -> None:
        super().begin(variant, replicas)
        if "hold" in self.values:
            learned = replace(self.memory.learned, hold_seconds=self.values["hold"])
            self.memory = replace(self.memory, learned=learned)

    def act(self, view: View, now: float) -> Orders:
        with constants(self.values):
            return super().act(view, now)


policies.register(POLICY, With)
