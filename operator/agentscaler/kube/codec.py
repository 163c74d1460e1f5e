"""`Memory` as it stands in `status.memory`: only what Prometheus cannot give back after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from agentscaler.core.memory import Memory

MOST_CHANGES: Final = 40
"""Newest changes of replicas that are kept; older ones are folded into the oldest of them."""
# Windows are rebuilt from Prometheus, kills from the pods. `known_since` starts anew, so that a full window passes
# before any saving.
_REBUILT: Final = frozenset(
    {"needs", "worker_needs", "known_since", "foresight", "shrunk_from", "action_tokens", "unexplained", "kills"}
)
_ADAPTER: Final = TypeAdapter(Memory)
_DEFAULT: Final = Memory()


def encode(memory: Memory) -> dict[str, Any]:
    """Plain JSON without what is rebuilt and what has its default; numbers to six digits."""
    changes = memory.changes
    if len(changes) > MOST_CHANGES:
        # Folded into the oldest one that stays: later than they were, so that policies allow less, never more.
        folded, kept = changes[:-MOST_CHANGES], changes[-MOST_CHANGES:]
        amount = kept[0].amount + sum(each.amount for each in folded)
        changes = (replace(kept[0], amount=amount), *kept[1:])
    kept_fields = {field.name for field in fields(Memory)} - _REBUILT
    plain = _ADAPTER.dump_python(
        replace(memory, changes=changes), mode="json", include=kept_fields, exclude_defaults=True
    )
    return dict(_rounded(plain))


def decode(plain: Mapping[str, Any]) -> Memory:
    """The memory that `encode` wrote; an empty one where it cannot be read (an older form, or somebody's edit)."""
    try:
        memory = _ADAPTER.validate_python(dict(plain))
    except ValidationError:
        return _DEFAULT
    return replace(memory, **{name: getattr(_DEFAULT, name) for name in _REBUILT})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        # Times need their seconds, everything else six digits.
        return round(value, 3) if value > 1e8 else float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value
