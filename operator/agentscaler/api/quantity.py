"""Sizes and decimal numbers as users write them, and back.

The grammar of sizes is the part of Kubernetes quantities that people use for sizes: a number, then no suffix, a power
of 1000 (k, M, G, T) or of 1024 (Ki, Mi, Gi, Ti). Exponents and milli-bytes are refused: a size written so is a mistake.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

SIZE_PATTERN: Final = r"^[0-9]{1,15}([.][0-9]{1,6})?(k|M|G|T|Ki|Mi|Gi|Ti)?$"
MAX_SIZE_BYTES: Final = 2**40
"""1Ti, the largest cache that the contract with agents allows."""

_SUFFIXES: Final = {
    "Ti": 2**40,
    "Gi": 2**30,
    "Mi": 2**20,
    "Ki": 2**10,
    "T": 10**12,
    "G": 10**9,
    "M": 10**6,
    "k": 10**3,
}
_SIZE: Final = re.compile(SIZE_PATTERN)
_TOLERANCE: Final = re.compile(r"^([0-9]{1,6}(?:[.][0-9]{1,6})?)(m?)$")


def parse_size(value: int | str) -> int:
    """Bytes of a size; a fraction of a byte counts as a whole one, as in Kubernetes.

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a size: write it as 256Mi, 1G or plain bytes")
    suffix = match[2] or ""
    exact = Decimal(match[0].removesuffix(suffix)) * _SUFFIXES.get(suffix, 1)
    return int(exact.to_integral_value(ROUND_CEILING))


def format_size(size_bytes: int) -> str:
    """The exact size with the fewest digits, 1024s before 1000s: `parse_size(format_size(n)) == n`."""
    if size_bytes == 0:
        return "0"
    exact = [(size_bytes // factor, suffix) for suffix, factor in _SUFFIXES.items() if size_bytes % factor == 0]
    number, suffix = min([*exact, (size_bytes, "")], key=lambda pair: len(str(pair[0])))
    return f"{number}{suffix}"


def parse_tolerance(value: int | str) -> float:
    """The ratio of a tolerance as autoscaling/v2 writes it: `0.05` or `50m`.

    Raises:
        ValueError: the text is neither.
    """
    match = _TOLERANCE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a tolerance: write it as 0.05 or 50m")
    number = Decimal(match[1])
    return float(number / 1000 if match[2] else number)


def percent_to_ratio(value: int | str) -> float:
    """The ratio of a percentage, exact in decimal: "0.1" is 0.001."""
    return float(Decimal(str(value)) / 100)
