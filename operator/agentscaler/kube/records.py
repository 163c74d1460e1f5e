"""Full records of decisions: enough to make each of them once more, bit for bit."""

from __future__ import annotations

import json
import logging
import zlib
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, with_config

from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Policy
from agentscaler.core.settings import Settings
from agentscaler.core.target import Target
from agentscaler.logs import JsonText

MOST_OF_ONE: Final = 64
MOST_OF_ALL: Final = 5000
"""About 10 MB: a record is about 2 KB compressed."""

log = logging.getLogger(__name__)


@with_config(ConfigDict(ser_json_inf_nan="strings"))
@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision with everything that went into it."""

    namespace: str
    name: str
    uid: str
    generation: int
    """Of the spec."""
    now: float
    """The time that `decide` was given, Unix seconds."""
    spec: Mapping[str, Any]
    """As the user wrote it."""
    policy: Policy
    target: Target
    observation: Observation
    memory: Memory
    """What `decide` started from."""
    decision: Decision

    def inputs(self) -> tuple[Policy, Target, Observation, Memory, float]:
        """The arguments of `decide`, in its order."""
        return self.policy, self.target, self.observation, self.memory, self.now


_ADAPTER: Final = TypeAdapter(DecisionRecord)


def to_json(record: DecisionRecord) -> dict[str, Any]:
    """The record as plain JSON; infinite bucket bounds as the text `Infinity`, which JSON has no number for."""
    return dict(json.loads(_ADAPTER.dump_json(record)))


def from_json(plain: Mapping[str, Any]) -> DecisionRecord:
    """The record that `to_json` wrote.

    Raises:
        pydantic.ValidationError: It is none.
    """
    return _ADAPTER.validate_python(dict(plain))


@dataclass(frozen=True, slots=True)
class _Kept:
    """Of the record that was kept last."""

    now: float
    says: tuple[Any, ...]
    move: tuple[Settings, Settings] | None


class Records:
    """The last records of each object, and the newest tick of each, whether it moved something or not."""

    def __init__(self, most_of_one: int = MOST_OF_ONE, most_of_all: int = MOST_OF_ALL) -> None:
        self._most_of_one = most_of_one
        self._most_of_all = most_of_all
        self._rings: OrderedDict[tuple[str, str], deque[bytes]] = OrderedDict()
        self._latest: dict[tuple[str, str], DecisionRecord] = {}
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._count = 0

    def add(self, record: DecisionRecord) -> bool:
        """Take in the record of a tick; whether it is kept and logged, because it moved or says something new."""
        key, decision = (record.namespace, record.name), record.decision
        self._latest[key] = record
        kept = self._kept.get(key)
        move = (decision.current, decision.settings) if decision.changed else None
        # The same move once more is one that is held, until pods that leave are idle: it is told once.
        if kept is not None and kept.says == _says(record) and move in (None, kept.move):
            return False
        self._kept[key] = _Kept(record.now, _says(record), move)
        plain = _ADAPTER.dump_json(record)
        if log.isEnabledFor(logging.INFO):
            log.info("decision", extra={"record": JsonText(plain.decode())})
        ring = self._rings.setdefault(key, deque())
        self._rings.move_to_end(key)
        ring.append(zlib.compress(plain, 1))
        self._count += 1
        while len(ring) > self._most_of_one:
            ring.popleft()
            self._count -= 1
        while self._count > self._most_of_all:
            self._drop_oldest()
        return True

    def of(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """The records of one object, oldest first; the last one is its newest tick."""
        key = (namespace, name)
        records = [from_bytes(each) for each in self._rings.get(key, ())]
        latest = self._latest.get(key)
        if latest is not None and self._kept[key].now != latest.now:
            records.append(latest)
        return [to_json(record) for record in records]

    def forget(self, namespace: str, name: str) -> None:
        """Drop the records of an object that is gone."""
        key = (namespace, name)
        self._count -= len(self._rings.pop(key, ()))
        self._latest.pop(key, None)
        self._kept.pop(key, None)

    def _drop_oldest(self) -> None:
        """Take one from the object that has been quiet for longest, but never its last one."""
        for ring in self._rings.values():
            if len(ring) > 1:
                ring.popleft()
                self._count -= 1
                return
        self._count -= len(self._rings.popitem(last=False)[1])


def from_bytes(packed: bytes) -> DecisionRecord:
    """A record out of the ring."""
    return _ADAPTER.validate_json(zlib.decompress(packed))


def _says(record: DecisionRecord) -> tuple[Any, ...]:
    """What makes it different from the one that was kept before, even if it moves nothing."""
    decision = record.decision
    conditions = tuple((each.type, each.status, each.reason) for each in decision.conditions)
    return record.uid, record.generation, decision.reason, conditions
