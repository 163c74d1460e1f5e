"""Memory as it stands in the status: what is kept, and what of it is folded or left out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agentscaler.core.memory import Change, Foresight, Memory
from agentscaler.kube import codec
from tests.worlds import START, Loop


def test_memory_survives_status_but_for_what_prometheus_gives_back() -> None:
    loop = Loop(now=START - 5)
    loop.tick()
    memory = replace(loop.memory, changes=(Change(START, 3),), learned=replace(Memory().learned, completions=7.0))
    back = codec.decode(json.loads(json.dumps(codec.encode(memory))))
    assert memory.foresight != Foresight()
    gone = replace(memory, needs=(), worker_needs=(), known_since=None, foresight=Foresight(), shrunk_from=())
    assert back == replace(gone, action_tokens=Memory().action_tokens)


def test_a_long_history_of_changes_is_folded_and_forbids_no_less() -> None:
    memory = Memory(changes=tuple(Change(START + n, 1) for n in range(100)))
    back = codec.decode(codec.encode(memory))
    assert len(back.changes) == codec.MOST_CHANGES
    assert sum(each.amount for each in back.changes) == 100


@pytest.mark.parametrize("broken", [{"learned": "x"}, {"settings": {"workers": 3}}, {"unknown": 1}])
def test_a_memory_that_cannot_be_read_is_an_empty_one(broken: dict[str, Any]) -> None:
    assert codec.decode(broken) == Memory()
