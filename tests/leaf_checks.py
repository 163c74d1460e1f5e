"""Ways to show that a field of the spec has an effect: on a decision, a query, the Deployment, a restart."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agentscaler.api.crd import API_VERSION, KIND
from agentscaler.api.spec import SpecError, parse_spec
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.frameworks.generic import METRICS
from agentscaler.kube import bases
from agentscaler.kube.case import Case
from agentscaler.kube.delivery import Delivery
from agentscaler.kube.facts import deployment_facts
from agentscaler.kube.live import BaseFacts, Live
from agentscaler.kube.store import Record, Store
from agentscaler.kube.workload import deployment
from agentscaler.objects import Watched
from agentscaler.signals import external
from agentscaler.signals.plan import plan
from agentscaler.signals.servers import Server
from tests.api_corpus import owned
from tests.worlds import MEBIBYTE, TARGET, Loop

Ticks = tuple[tuple[int, dict[str, Any]], ...]
"""(how many ticks of 5 s, the signals that differ from an easy load)."""


SERVER = Server(
    "default",
    "http://127.0.0.1",
    scrape_interval_seconds=5,
    demand_templates=(("one", 'one{queue="${queue}"}'), ("two", 'two{queue="${queue}"}')),
)


def changed(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The spec with the value at a path such as `spec.tuning.policies[].type`."""
    spec = copy.deepcopy(spec)
    at: Any = spec
    *parts, last = path.removeprefix("spec.").replace("[]", ".0").split(".")
    for part in parts:
        if part == "*":
            (at,) = at.values()
            continue
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    at[int(last) if isinstance(at, list) else last] = value
    return spec


def record(spec: dict[str, Any]) -> Record:
    store = Store()
    metadata = {
        "uid": "u-1",
        "name": "sample",
        "namespace": "default",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    store.put({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"replicas": 1} | spec})
    (only,) = store.snapshot()
    assert only.invalid == ""
    return only


def watched(spec: dict[str, Any]) -> Watched:
    only = record(spec)
    found = Watched(only)
    found.take(only)
    return found


def asked(spec: dict[str, Any]) -> tuple[Any, ...]:
    """Where the signals of an object are read, and by which queries."""
    request = watched(spec).request
    assert request is not None
    made = plan(SERVER, METRICS, [request])
    queries = (*made.quick, *made.slow, *external.queries(SERVER, made.demand_templates, [request]))
    return request.server, request.preset, request.workload, sorted(repr(query) for query in queries)


def decided(spec: dict[str, Any], ticks: Ticks, limit_bytes: int | None) -> list[Any]:
    """What the core makes of a spec, tick by tick."""
    policy = watched(spec).policy
    assert policy is not None
    loop = Loop(policy=policy, target=replace(TARGET, memory_limit_bytes=limit_bytes))
    for count, signals in ticks:
        loop.ticks(count, **signals)
    return [(each.settings, each.conditions) for each in loop.decisions]


def waits_for_restart(spec: dict[str, Any]) -> bool:
    one = record(spec)
    body = deployment(one, replicas=1, restart_generation=1, restarted_at=1000)
    body["metadata"] |= {"uid": "d-1", "resourceVersion": "1", "generation": 1}
    live = Live(deployment=deployment_facts(body | {"status": {}}))
    case = Case(
        record=one,
        live=live,
        policy=None,
        effective={},
        observation=Observation(1100.0),
        decision=None,
        fresh=False,
        before=Memory(),
        now=1100.0,
        in_flight=_nothing,
    )
    return Delivery(None)._restart_pending(case)  # type: ignore[arg-type]  # it asks the API server nothing


async def _nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True)
class Decides:
    """With the one value the core decides otherwise than with the other."""

    one: Any
    other: Any
    ticks: Ticks
    base: dict[str, Any] = field(default_factory=owned)
    limit_bytes: int | None = 1024 * MEBIBYTE

    def check(self, path: str) -> None:
        first, second = changed(self.base, path, self.one), changed(self.base, path, self.other)
        made = decided(first, self.ticks, self.limit_bytes)
        assert made == decided(first, self.ticks, self.limit_bytes)
        assert made != decided(second, self.ticks, self.limit_bytes)


@dataclass(frozen=True)
class Asks:
    """With the one value Prometheus is asked otherwise than with the other."""

    one: Any
    other: Any
    base: dict[str, Any] = field(default_factory=owned)

    def check(self, path: str) -> None:
        first, second = changed(self.base, path, self.one), changed(self.base, path, self.other)
        assert asked(first) == asked(first)
        assert asked(first) != asked(second)


@dataclass(frozen=True)
class Builds:
    """With the one value the operator makes another Deployment than with the other."""

    one: Any
    other: Any
    base: dict[str, Any] = field(default_factory=owned)

    def check(self, path: str) -> None:
        first, second = changed(self.base, path, self.one), changed(self.base, path, self.other)
        assert deployment(record(first)) != deployment(record(second))


@dataclass(frozen=True)
class Restarts:
    """With the one value settings wait for the next restart, with the other they do not; the last one is 100 s old."""

    one: Any
    other: Any
    base: dict[str, Any] = field(default_factory=owned)

    def check(self, path: str) -> None:
        assert waits_for_restart(changed(self.base, path, self.one))
        assert not waits_for_restart(changed(self.base, path, self.other))


@dataclass(frozen=True)
class Names:
    """There is one value in this version; it says what the object is about, and any other is refused."""

    only: str
    other: str
    base: dict[str, Any] = field(default_factory=owned)

    def check(self, path: str) -> None:
        parse_spec(changed(self.base, path, self.only))
        with pytest.raises(SpecError, match=re.escape(path)):
            parse_spec(changed(self.base, path, self.other))


@dataclass(frozen=True)
class Bases:
    """With the one value the framework's file starts from another file than with the other."""

    one: Any
    other: Any
    base: dict[str, Any] = field(default_factory=owned)

    def check(self, path: str) -> None:
        files = [read_base(changed(self.base, path, value)) for value in (self.one, self.other)]
        assert len({file.text for file in files}) == 2
        assert all(file.text is not None for file in files)


def read_base(spec: dict[str, Any]) -> BaseFacts:
    only = record(spec)
    known = bases.Bases(None, clusterwide=True)  # type: ignore[arg-type]  # it asks the API server nothing
    contents = {name: {key: f"{name} {key}" for key in ("aiecs.env", "a", "b")} for name in ("mine", "yours")}
    known._known = {("default", name): data for name, data in contents.items()}
    found = known.of(only)
    assert found is not None
    return found


Check = Decides | Asks | Builds | Restarts | Names | Bases
