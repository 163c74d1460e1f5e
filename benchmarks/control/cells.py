"""Cells of the benchmark: one run each, kept outside of the work tree until what it depends on changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import agentscaler
from agentscaler.simulate import suite
from agentscaler.simulate.model import Variant
from agentscaler.simulate.policies import make
from agentscaler.simulate.run import Case, prepare, simulate
from agentscaler.simulate.score import Row
from benchmarks.control.loads import AnyLoad, calls, draw

PROCESSES = 2
FOLDER = Path(agentscaler.__file__).parent
NOT_THE_ENGINE = {
    "report.py",
    "figures.py",
    "plot.py",
    "page.py",
    "compare.py",
    "backtest.py",
    "steps.py",
    "hindsight.py",
    "product.py",
}
PRODUCT = "agentscaler"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy with its parameters. `label` stands in tables and rows."""

    label: str
    policy: str
    parameters: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """All policies on one draw of a load."""

    load: AnyLoad
    variant: Variant
    seed: int
    entries: tuple[Entry, ...]


def _hash(*parts: object) -> str:
    return sha256("\n".join(map(repr, parts)).encode()).hexdigest()


def _sources(folder: str, without: Iterable[str] = ()) -> str:
    files = sorted((FOLDER / folder).glob("*.py"))
    return _hash(*(file.read_bytes() for file in files if file.name not in set(without)))


BASELINES = ("hpa.py", "shape.py")
"""Of the core: what the baselines share with it."""
ENGINE = _hash(_sources("simulate", NOT_THE_ENGINE), *((FOLDER / "core" / name).read_bytes() for name in BASELINES))
CORE = _hash(_sources("core"), (FOLDER / "simulate" / "product.py").read_bytes())


def _trace_sign(load: AnyLoad) -> str:
    folder = suite.folder()
    file = getattr(load, "file", None)
    return _hash(load, (folder / file).stat().st_size if folder is not None and file is not None else None)


def _store() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "agentscaler" / "control"


def _kept(key: str) -> Any:
    file = _store() / key[:2] / f"{key}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _keep(key: str, value: Any) -> None:
    file = _store() / key[:2] / f"{key}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(value))
    part.replace(file)


def cell_key(group: Group, entry: Entry) -> str:
    core = CORE if entry.policy.startswith(PRODUCT) else ""
    return _hash(
        ENGINE, core, _trace_sign(group.load), group.variant, group.seed, entry.policy, sorted(entry.parameters)
    )


def rows_of(group: Group) -> list[Row]:
    """The rows of a group, out of the store where they are."""
    rows: dict[str, Row] = {}
    case: Case | None = None
    for entry in group.entries:
        key = cell_key(group, entry)
        found = _kept(key)
        if found is None:
            if case is None:
                case = case_of(group)
            found = asdict(simulate(case, make(entry.policy, **dict(entry.parameters))))
            _keep(key, found)
        rows[entry.label] = replace(Row(**found), policy=entry.label)
    return list(rows.values())


def case_of(group: Group) -> Case:
    """The workload, and what the clairvoyant pays for it (kept apart: variants share it)."""
    trace = draw(group.load, group.seed)
    case = prepare(trace, group.variant, group.seed, calls(), reference=False)
    key = _hash(ENGINE, "clairvoyant", _trace_sign(group.load), group.seed, group.variant.outages, group.variant.model)
    hours = _kept(key)
    if hours is None:
        hours = prepare(trace, group.variant, group.seed, calls()).clairvoyant_hours
        _keep(key, hours)
    return replace(case, clairvoyant_hours=hours)


def each(
    function: Callable[[T], R], tasks: Sequence[T], done: Callable[[], None], processes: int = PROCESSES
) -> list[R]:
    """The results of all tasks, in their order, worked out side by side."""
    if processes == 1:
        results = []
        for task in tasks:
            results.append(function(task))
            done()
        return results
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        for _ in as_completed(futures):
            done()
        return [future.result() for future in futures]
