"""Settings files in JSON as .NET reads them: comments and trailing commas are fine, names know no case.

There is no writer that keeps comments: the file that is written has none.
"""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any, Final

from agentscaler.frameworks.adapter import Value
from agentscaler.frameworks.errors import BrokenFile

# What is not closed matches to its end, so that no character is looked at from more than one start.
_STRING: Final = r'"(?:[^"\\\n]|\\.)*"?'
_STRING_OR_COMMENT: Final = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING_COMMA: Final = re.compile(rf"{_STRING}|,(?=\s*[}}\]])", re.DOTALL)
_HALF: Final = re.compile("[\ud800-\udfff]")
_DEEPEST: Final = 64
"""Levels of objects and lists that .NET reads."""


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python refuses thousands of digits
        raise BrokenFile("holds a number that is out of range") from None


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise BrokenFile(f"holds a number that is out of range: {text}")
    return number


class JsonFile:
    """One such file.

    Raises:
        BrokenFile: It is not JSON, no object, nested more deeply than .NET reads, or holds a name twice.
    """

    def __init__(self, text: str) -> None:
        plain = _TRAILING_COMMA.sub(_without_comma, _STRING_OR_COMMENT.sub(_blank, text.removeprefix("\ufeff")))
        try:
            self._root: Any = json.loads(
                plain or "{}",
                object_pairs_hook=_object,
                parse_int=_int,
                parse_float=_float,
                parse_constant=_no_constant,
            )
        except json.JSONDecodeError as error:
            raise BrokenFile(f"is not JSON: {error.msg}", error.lineno) from None
        except RecursionError:
            raise BrokenFile("is nested too deeply") from None
        if not isinstance(self._root, dict):
            raise BrokenFile("is no JSON object", 1)
        self._values = _values(self._root)

    def get(self, path: tuple[str, ...]) -> Value | None:
        """The value at a path; None: there is none, or null."""
        found = _find(self._root, path)
        if found is None:
            return None
        holder, key = found
        value: Value | None = holder[key]
        if isinstance(value, dict | list):
            raise BrokenFile(f"{':'.join(path)} must be a single value")
        return value

    def has(self, section: tuple[str, ...]) -> bool:
        """Whether there is such a section."""
        found = _find(self._root, section)
        if found is not None:
            return isinstance(found[0][found[1]], dict)
        below = ":".join((*section, "")).lower()
        return any(path.startswith(below) for path in self._values)

    def set(self, path: tuple[str, ...], value: Value) -> None:
        """Put a value at a path; sections that are missing are made."""
        found = _find(self._root, path)
        if found is not None:
            holder, key = found
            holder[key] = value
            return
        at = self._root
        for part in path[:-1]:
            key = _key(at, part) or part
            at = at.setdefault(key, {})
        at[path[-1]] = value

    def text(self) -> str:
        """The whole file, indented by two."""
        text = json.dumps(self._root, indent=2, ensure_ascii=False)
        if not text.isascii() and _HALF.search(text):
            text = json.dumps(self._root, indent=2)  # no API server holds half a character but by its escape
        return text + "\n"


def _find(at: Any, path: tuple[str, ...]) -> tuple[dict[str, Any], str] | None:
    """Where a value stands. .NET reads `"A:B": 1` as it reads `"A": {"B": 1}`."""
    if not isinstance(at, dict):
        raise BrokenFile(f"what holds {path[0]} must be an object")
    for length in range(len(path), 0, -1):
        key = _key(at, ":".join(path[:length]))
        if key is None:
            continue
        if length == len(path):
            return at, key
        if (found := _find(at[key], path[length:])) is not None:
            return found
    return None


def _values(root: dict[str, Any]) -> set[str]:
    """The paths of all values in lower case, with colons, as .NET knows them."""
    found: set[str] = set()

    def walk(at: Any, path: str, level: int) -> None:
        if level > _DEEPEST:
            raise BrokenFile("is nested too deeply")
        for key, value in enumerate(at) if isinstance(at, list) else at.items():
            here = f"{path}{key}".lower()
            if isinstance(value, dict | list):
                walk(value, f"{here}:", level + 1)
            elif here in found:
                raise BrokenFile(f"holds {here} twice: in sections and with colons")
            else:
                found.add(here)

    walk(root, "", 1)
    return found


def _key(at: dict[str, Any], name: str) -> str | None:
    return next((key for key in at if key.lower() == name.lower()), None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name.lower() in seen:
            raise BrokenFile(f"holds {name} twice: names know no case")
        seen.add(name.lower())
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise BrokenFile(f"holds {name}, which is no JSON")


def _blank(found: re.Match[str]) -> str:
    """Strings as they are; comments as blanks, so that lines and columns stay."""
    text = found[0]
    if text.startswith("/*") and not text.endswith("*/", 2):
        raise BrokenFile("has a comment that is not closed", found.string.count("\n", 0, found.start()) + 1)
    return text if text.startswith('"') else re.sub(r"[^\n]", " ", text)


def _without_comma(found: re.Match[str]) -> str:
    return " " if found[0] == "," else found[0]
