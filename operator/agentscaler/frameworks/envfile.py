"""Files of environment variables: `KEY=value` lines, as dotenv and shells read them."""

from __future__ import annotations

import re
from typing import Final

from agentscaler.frameworks.adapter import Value
from agentscaler.frameworks.errors import BrokenFile

_ASSIGNMENT: Final = re.compile(r"(?P<head>[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*)")
_SINGLE: Final = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_DOUBLE: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN: Final = re.compile(r"[^\r\n]*")
_COMMENT: Final = re.compile(r"[ \t]#")
_REST: Final = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r?\n|$)")
_BLANK: Final = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r?\n|$)")


class EnvFile:
    """One such file. Comments, order and quotes of what is not changed stay; of a key that stands twice both change.

    Names know no case, as in the loaders of the frameworks that take such files (pydantic-settings, envy): a second
    spelling beside the user's would be a duplicate to them.

    Raises:
        BrokenFile: A line is neither an assignment nor a comment, or a quote is not closed.
    """

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix("\ufeff")
        self._values: dict[str, list[tuple[int, int]]] = {}
        """Where the values of a key stand, first and last character."""
        self._scan()

    def _scan(self) -> None:
        self._values, text, at = {}, self._text, 0
        while at < len(text):
            blank = _BLANK.match(text, at)
            if blank is not None and blank.end() > at:
                at = blank.end()
                continue
            head = _ASSIGNMENT.match(text, at)
            if head is None:
                raise BrokenFile("is not KEY=value", self._line(at))
            start = head.end()
            end = self._value_end(start)
            rest = _REST.match(text, end) if end is not None else None
            if end is None or rest is None:
                raise BrokenFile("has a quote that is not closed, or text after one", self._line(start))
            self._values.setdefault(head["key"].upper(), []).append((start, end))
            at = rest.end()

    def _value_end(self, start: int) -> int | None:
        """Where a value ends; None: its quote is not closed. Time grows with its length, and no faster."""
        quote = {"'": _SINGLE, '"': _DOUBLE}.get(self._text[start : start + 1])
        if quote is not None:
            closed = quote.match(self._text, start)
            return None if closed is None else closed.end()
        line = _PLAIN.match(self._text, start)
        assert line is not None  # it matches nothing, too
        comment = _COMMENT.search(self._text, start, line.end())
        end = line.end() if comment is None else comment.start()
        return start + len(self._text[start:end].rstrip(" \t"))

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1

    def get(self, path: tuple[str, ...]) -> Value | None:
        """The last value of a variable, without its quotes; None: it is not there."""
        (key,) = path
        places = self._values.get(key.upper())
        if not places:
            return None
        start, end = places[-1]
        value = self._text[start:end]
        return value[1:-1] if value[:1] in {"'", '"'} else value

    def has(self, section: tuple[str, ...]) -> bool:
        """There are no sections."""
        return not section

    def set(self, path: tuple[str, ...], value: Value) -> None:
        """Give a variable a value that needs no quotes."""
        (key,) = path
        written = str(value).lower() if isinstance(value, bool) else str(value)
        places = self._values.get(key.upper())
        if places:
            for start, end in reversed(places):
                self._text = self._text[:start] + written + self._text[end:]
        else:
            gap = "" if not self._text or self._text.endswith("\n") else "\n"
            self._text += f"{gap}{key}={written}\n"
        self._scan()

    def text(self) -> str:
        """The whole file."""
        return self._text
