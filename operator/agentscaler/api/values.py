"""Types of single fields: forms that a plain schema cannot say, with messages that tell how to write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from agentscaler.api.quantity import MAX_SIZE_BYTES, SIZE_PATTERN, parse_size
from agentscaler.api.rules import Checked, Rule

INT_OR_STRING: Final = (("x-kubernetes-int-or-string", True), ("maxLength", 24))

_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_QUANTILE: Final = r"^0?[.][0-9]{0,5}[1-9][0-9]{0,5}$"
_DECIMAL: Final = r"^[0-9]{1,12}([.][0-9]{1,12})?$"
_METRIC: Final = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"

Mode = Literal["Auto", "Recommend", "Off"]


def _matches(pattern: str) -> Callable[[object], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.fullmatch(str(value)) is not None


def _cel(pattern: str) -> str:
    return f"string(self).matches('{pattern}')"


def _decimal_within(low: str, high: str, message: str) -> Checked:
    """An integer or a decimal string, low < value < high."""
    form = _matches(_DECIMAL)
    cel = f"{_cel(_DECIMAL)} && double(string(self)) > {low} && double(string(self)) < {high}"
    return Checked(
        schema=INT_OR_STRING,
        rules=(Rule(cel, message, lambda value: form(value) and Decimal(low) < Decimal(str(value)) < Decimal(high)),),
    )


def _is_size(value: int | str) -> bool:
    try:
        return parse_size(value) <= MAX_SIZE_BYTES
    except ValueError:
        return False


DnsLabel = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Checked(
        rules=(
            Rule(
                f"self.matches('{_LABEL}')",
                "a name must be a DNS label: use lower case letters, digits and '-', no '-' at an end",
                _matches(_LABEL),
            ),
        )
    ),
]
"""A name as Kubernetes has them, at most 63 characters."""

Quantile = Annotated[
    str,
    Field(max_length=12),
    Checked(
        rules=(
            Rule(
                f"self.matches('{_QUANTILE}')",
                'quantile must lie between 0 and 1: write it as a string such as "0.99"',
                _matches(_QUANTILE),
            ),
        )
    ),
]
"""A quantile between 0 and 1, as a decimal string."""

ErrorPercent = Annotated[
    int | str,
    _decimal_within(
        "0.0", "100.0", 'targetPercent must be above 0 and below 100: write it as 1 or as a string such as "0.5"'
    ),
]
MemoryPercent = Annotated[
    int | str,
    _decimal_within(
        "9.0", "96.0", 'targetPercent must be above 9 and below 96: write it as 80 or as a string such as "82.5"'
    ),
]
Scale = Annotated[
    int | str,
    _decimal_within(
        "0.0", "1000000000000.0", 'scale must be a positive factor: write it as 1024 or as a string such as "0.001"'
    ),
]
TargetPerReplica = Annotated[
    int | str,
    _decimal_within(
        "0.0", "1000000000000.0", 'targetPerReplica must be above 0: write it as 20 or as a string such as "0.5"'
    ),
]
Size = Annotated[
    int | str,
    Checked(
        schema=INT_OR_STRING,
        rules=(
            Rule(
                f"{_cel(SIZE_PATTERN)} && quantity(string(self)).compareTo(quantity('1Ti')) <= 0",
                "a size is at most 1Ti: write it as 256Mi, 1G or plain bytes",
                _is_size,
            ),
        ),
    ),
]
"""A size in bytes as a Kubernetes quantity, at most 1Ti."""

MetricName = Annotated[
    str,
    Field(min_length=1, max_length=200),
    Checked(
        rules=(
            Rule(
                f"self.matches('{_METRIC}')",
                "metric must be the bare name of a Prometheus metric: letters, digits, '_' and ':'; "
                "labels belong into matchers",
                _matches(_METRIC),
            ),
        )
    ),
]
"""Name of a Prometheus metric."""
