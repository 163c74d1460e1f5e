"""Native settings files as documents: read, change single values, write back; all else stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from agentscaler.frameworks.adapter import Format, Value
from agentscaler.frameworks.envfile import EnvFile
from agentscaler.frameworks.errors import BrokenFile
from agentscaler.frameworks.jsonfile import JsonFile
from agentscaler.frameworks.tomlfile import TomlFile


class Document(Protocol):
    """A settings file that has been read."""

    def get(self, path: tuple[str, ...]) -> Value | None:
        """The value at a path; None: there is none.

        Raises:
            BrokenFile: Something else than a single value stands there, or in its way.
        """

    def has(self, section: tuple[str, ...]) -> bool:
        """Whether there is such a section."""

    def set(self, path: tuple[str, ...], value: Value) -> None:
        """Put a value at a path, in the place of the present one.

        Raises:
            BrokenFile: As for `get`.
        """

    def text(self) -> str:
        """The whole file."""


_READERS: Final[Mapping[Format, Callable[[str], Document]]] = {
    Format.ENV: EnvFile,
    Format.JSON: JsonFile,
    Format.TOML: TomlFile,
}


MOST_CHARACTERS: Final = 2**16
"""Beyond the settings of any agent. All of a ConfigMap has a MiB, and reading so much TOML takes a second."""


def read(form: Format, text: str) -> Document:
    """Read a settings file.

    Raises:
        BrokenFile: It is not of its format, or too large.
    """
    if len(text) > MOST_CHARACTERS:
        raise BrokenFile(f"has more than {MOST_CHARACTERS // 1024} KiB")
    return _READERS[form](text)


def line_of(text: str, path: tuple[str, ...]) -> int:
    """The line where a path stands, as well as can be told: its parts one after the other; the first line else."""
    at = 0
    for part in path:
        found = re.compile(rf"(?<![\w-]){re.escape(part)}(?![\w-])", re.IGNORECASE).search(text, at)
        if found is None:
            break
        at = found.start() if part is path[-1] else found.end()
    return text.count("\n", 0, at) + 1


__all__ = ["BrokenFile", "Document", "line_of", "read"]
