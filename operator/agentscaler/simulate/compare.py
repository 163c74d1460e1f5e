"""Several policies on several traces: what `agentscaler simulate` and `backtest` run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agentscaler.core import policy as core
from agentscaler.simulate import policies, suite, synthetic
from agentscaler.simulate.clairvoyant import static_replicas
from agentscaler.simulate.hindsight import Pair, best_pair
from agentscaler.simulate.hpa import Hpa
from agentscaler.simulate.model import Variant
from agentscaler.simulate.policies import Policy, Static
from agentscaler.simulate.product import EPOCH, Agentscaler
from agentscaler.simulate.recording import Recording, Trace
from agentscaler.simulate.run import Case, Timeline, play, prepare, simulate
from agentscaler.simulate.score import Row, score
from agentscaler.simulate.steps import Steps, steps
from agentscaler.simulate.trace import read
from agentscaler.simulate.workload import measured_calls

USUAL: Final = ("agentscaler", "hpa-cpu", "hpa-inflight", "keda", "kpa")
"""Compared where nothing else is asked for."""
SYNTHETIC: Final = "synthetic:"


class UnknownPolicyError(ValueError):
    """No such policy, or a parameter that it does not have; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A policy to be compared."""

    name: str
    """In rows and plots."""
    make: Callable[[Case], Policy]
    """A fresh one for one run."""


@dataclass(frozen=True, slots=True)
class Done:
    """One run of one policy."""

    row: Row
    steps: Steps | None
    """Where it was asked for."""


def contestant(text: str) -> Contestant:
    """A policy as a person writes it: `hpa-inflight`, or with parameters `hpa-inflight:target=0.5`.

    Raises:
        UnknownPolicyError: There is none of that name, or a parameter is no number.
    """
    kind, _, rest = text.partition(":")
    if kind not in policies.names():
        raise UnknownPolicyError(f"no policy is called {kind!r}: there are {', '.join(policies.names())}")
    parameters: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, separator, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise UnknownPolicyError(f"policy {text}: write parameters as NAME=NUMBER,NAME=NUMBER")
        parameters[key] = int(number) if number.is_integer() else number
    if kind == "static" and not parameters:
        return Contestant(text, lambda case: Static(static_replicas(case.workload, case.variant.model)))
    try:
        policies.make(kind, **parameters)
    except TypeError as error:
        raise UnknownPolicyError(f"policy {text}: {error}") from error
    return Contestant(text, lambda _: policies.make(kind, **parameters))


def product(name: str, manifest: core.Policy, epoch: float = EPOCH) -> Contestant:
    """The product under a user's own policy; `epoch` is the Unix time at which the trace starts.

    No trace knows of external demand. It would be unknown all the time, and no replica ever be taken away.
    """
    known = replace(manifest, replicas=replace(manifest.replicas, external_target=None))
    return Contestant(name, lambda _: Agentscaler(policy=known, epoch=epoch))


def usual() -> list[Contestant]:
    """What is compared where nothing is asked for."""
    return [contestant(name) for name in USUAL if name in policies.names()]


def recording(source: str) -> Recording:
    """A file of any known format, or `synthetic:NAME`.

    Raises:
        TraceError: It cannot be used.
        KeyError: No synthetic load has that name.
    """
    return synthetic.recording(source.removeprefix(SYNTHETIC)) if source.startswith(SYNTHETIC) else read(source)


def traces(found: Recording, *, seed: int, scale: float) -> Iterator[Trace]:
    """What this seed draws: one trace for each rate column of the recording, or its requests."""
    yield from found.traces(seed=seed, scale=scale)


def hindsight(
    trace: Trace, variant: Variant, seed: int, *, started: Callable[[str], None], advance: Callable[[], None]
) -> Pair | None:
    """The best fixed pair for one draw of a trace, if any keeps the gate: some fifty runs.

    Args:
        trace: What comes in.
        variant: Laws of the service.
        seed: Of all draws.
        started: Is told what is being done now.
        advance: Is called for each limit that is done.
    """
    case, limits = _case(trace, variant, seed, reference=False), set()

    def run(pair: Pair) -> Row:
        if pair.limit not in limits:
            limits.add(pair.limit)
            advance()
        started(f"HPA on {pair.level} of {pair.limit} workers")
        return simulate(case, _fixed(pair))

    return best_pair(run)


def compare(
    trace: Trace,
    contestants: Sequence[Contestant],
    variant: Variant,
    seed: int,
    *,
    with_steps: bool = False,
    started: Callable[[str], None] | None = None,
    reference: bool = True,
    pair: Pair | None = None,
) -> Iterator[Done]:
    """Run all policies on the same requests with the same draws.

    Args:
        trace: What comes in.
        contestants: Who is compared.
        variant: Laws of the service.
        seed: Of all draws.
        with_steps: Whether each result holds its course.
        started: Is told what is being done now.
        reference: Whether to look for what a clairvoyant pays.
        pair: The best fixed pair, where it was looked for.
    """
    tell = started or (lambda _: None)
    if reference:
        tell("clairvoyant")
    case = _case(trace, variant, seed, reference=reference)
    if pair is not None:
        tell("best fixed pair")
        case = replace(case, hindsight_hours=simulate(case, _fixed(pair)).replica_hours)
    for each in contestants:
        tell(each.name)
        policy, noted = each.make(case), Timeline() if with_steps else None
        world, actions, hours = play(case, policy, noted)
        row = score(
            world,
            actions,
            policy=each.name,
            replica_hours=hours,
            clairvoyant_hours=case.clairvoyant_hours,
            hindsight_hours=case.hindsight_hours,
        )
        yield Done(row, steps(world, noted, hours) if noted is not None else None)


def _case(trace: Trace, variant: Variant, seed: int, *, reference: bool) -> Case:
    folder = suite.folder()
    return prepare(trace, variant, seed, measured_calls(folder) if folder else None, reference=reference)


def _fixed(pair: Pair) -> Hpa:
    return Hpa(target=pair.target, workers=pair.limit)
