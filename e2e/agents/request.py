"""What a caller asks an agent for."""

from __future__ import annotations

import json

MEMORY_FACTOR_MAX = 100.0
KEY_LENGTH_MAX = 200


def parse_request(body: bytes) -> tuple[str | None, float]:
    """The key (None: the agent draws one) and the memory factor of a `POST /run`.

    Raises:
        ValueError: It makes no sense; the text says why.
    """
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not set(document) <= {"key", "memory_factor"}:
        raise ValueError('expected an object with "key" and "memory_factor", both optional')
    key = document.get("key")
    if key is not None and not (isinstance(key, str) and len(key) <= KEY_LENGTH_MAX and _is_text(key)):
        raise ValueError(f"key must be a string of at most {KEY_LENGTH_MAX} characters")
    factor = document.get("memory_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor <= MEMORY_FACTOR_MAX:
        raise ValueError(f"memory_factor must be a number from 0 to {MEMORY_FACTOR_MAX:.0f}")
    return key, factor


def _is_text(key: str) -> bool:
    # JSON may hold halves of surrogate pairs, which are no characters and have no bytes.
    return not any("\ud800" <= character <= "\udfff" for character in key)
