"""Between the units of `tuning.json` (counts, bytes, seconds, percent) and the native form of a setting. Pure."""

from __future__ import annotations

import re
from math import floor
from typing import Final

from agentscaler.frameworks.adapter import Setting, Unit, Value

_FACTORS: Final = {
    Unit.MEBIBYTES: 2.0**20,
    Unit.MILLISECONDS: 0.001,
    Unit.MINUTES: 60.0,
    Unit.RATIO: 100.0,
}
"""How many of our units one of theirs is; 1 for all others."""
DURATIONS: Final = frozenset({Unit.GO_DURATION, Unit.TIME_SPAN})
"""Units whose limits and defaults are given in seconds."""
_FREE: Final = frozenset({Unit.RATIO, *DURATIONS})
"""Units whose native values need not be whole numbers."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_GO: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_GO_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")
_TIME_SPAN: Final = re.compile(
    r"(?:(?P<days>[0-9]{1,7})\.)?(?P<hours>[01]?[0-9]|2[0-3]):(?P<minutes>[0-5]?[0-9])"
    r"(?::(?P<seconds>[0-5]?[0-9](?:\.[0-9]{1,7})?))?"
)
"""What .NET takes for what it says: more hours than a day has would be days, or refused."""


def native(setting: Setting, ours: float) -> Value:
    """A value of ours in the form of a setting, always within the framework's limits; fractions are cut off.

    Args:
        setting: A setting with limits.
        ours: Runs, entries, calls, bytes, seconds or percent.
    """
    number = ours / _FACTORS.get(setting.unit, 1.0)
    if setting.unit is Unit.RATIO:
        return min(max(round(number, 4), setting.low), setting.high)
    whole = floor(min(max(number, setting.low), setting.high))
    if setting.unit is Unit.GO_DURATION:
        return f"{whole}s"
    if setting.unit is Unit.TIME_SPAN:
        return _time_span(whole)
    return whole


def ours(setting: Setting, value: Value) -> float:
    """A native value in our unit.

    Raises:
        ValueError: It has not the form of the setting: an agent that wants a whole number refuses 8.0 and 1_000.
    """
    whole = isinstance(value, int) or (isinstance(value, str) and _WHOLE.fullmatch(value) is not None)
    if isinstance(value, bool) or not (whole or setting.unit in _FREE):
        raise ValueError(_wanted(setting))
    if setting.unit in DURATIONS:
        return _seconds(setting, str(value))
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(_wanted(setting)) from None
    if number != number or abs(number) == float("inf"):  # noqa: PLR0124 (only NaN differs from itself)
        raise ValueError(_wanted(setting))
    return number * _FACTORS.get(setting.unit, 1.0)


def limits(setting: Setting) -> tuple[float, float]:
    """The framework's limits in our unit."""
    factor = _FACTORS.get(setting.unit, 1.0)
    return setting.low * factor, setting.high * factor


def _seconds(setting: Setting, text: str) -> float:
    if setting.unit is Unit.GO_DURATION:
        parts = _GO_PART.findall(text)
        if text == "0":
            return 0.0
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(_wanted(setting))
        return sum(float(number) * _GO[unit] for number, unit in parts)
    found = _TIME_SPAN.fullmatch(text)
    if found is None:
        raise ValueError(_wanted(setting))
    days, hours, minutes, seconds = (float(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _time_span(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}.{clock}" if days else clock


def _wanted(setting: Setting) -> str:
    forms = {Unit.GO_DURATION: 'a duration such as "90s"', Unit.TIME_SPAN: 'a TimeSpan such as "00:01:30"'}
    return f"must be {forms.get(setting.unit, 'a number' if setting.unit in _FREE else 'a whole number')}"
