"""What the benchmark runs on: the public traces, or synthetic loads where they are not at hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentscaler.simulate import suite, synthetic
from agentscaler.simulate.recording import Trace
from agentscaler.simulate.state import Floats
from agentscaler.simulate.suite import Load
from agentscaler.simulate.workload import measured_calls
from benchmarks.control.natures import Nature


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A load made by a rule."""

    name: str


AnyLoad = Load | Synthetic | Nature


def loads(*, full: bool) -> tuple[AnyLoad, ...]:
    if suite.folder() is None:
        return tuple(Synthetic(name) for name in synthetic.SHAPES)
    return (*suite.SUITE, suite.FOURTEEN_DAYS) if full else suite.SUITE


def draw(load: AnyLoad, seed: int) -> Trace:
    if isinstance(load, Nature):
        return load.trace(seed)
    if isinstance(load, Synthetic):
        return replace(synthetic.trace(load.name, seed=seed), name=load.name)
    folder = suite.folder()
    assert folder is not None
    return replace(load.trace(folder, seed), name=load.name)


def calls() -> Floats | None:
    folder = suite.folder()
    return None if folder is None else measured_calls(folder)
