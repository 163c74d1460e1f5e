"""Settings files in TOML. Comments and order stay."""

from __future__ import annotations

import tomllib
from collections.abc import MutableMapping
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError, TOMLKitError

from agentscaler.frameworks.adapter import Value
from agentscaler.frameworks.errors import BrokenFile


class TomlFile:
    """One such file.

    Raises:
        BrokenFile: It is not TOML.
    """

    def __init__(self, text: str) -> None:
        text = text.removeprefix("\ufeff")
        try:
            self._document = tomlkit.parse(text)
            tomllib.loads(text)  # a second opinion: what agents read must be TOML beyond doubt
        except ParseError as error:
            raise BrokenFile(f"is not TOML: {error}", error.line) from None
        except (tomllib.TOMLDecodeError, TOMLKitError, RecursionError) as error:
            raise BrokenFile(f"is not TOML: {error}") from None

    def get(self, path: tuple[str, ...]) -> Value | None:
        """The value at a path; None: there is none."""
        at: Any = self._document
        for part in path:
            if not isinstance(at, MutableMapping):
                raise BrokenFile(f"what holds {part} must be a table")
            if part not in at:
                return None
            at = at[part]
        value = at.unwrap() if hasattr(at, "unwrap") else at
        if not isinstance(value, int | float | str | bool):
            raise BrokenFile(f"{'.'.join(path)} must be a single value")
        return value

    def has(self, section: tuple[str, ...]) -> bool:
        """Whether there is such a table."""
        at: Any = self._document
        for part in section:
            if not isinstance(at, MutableMapping) or part not in at:
                return False
            at = at[part]
        return isinstance(at, MutableMapping)

    def set(self, path: tuple[str, ...], value: Value) -> None:
        """Put a value at a path; tables that are missing are made."""
        at: Any = self._document
        for part in path[:-1]:
            if part not in at:
                at[part] = tomlkit.table()
            at = at[part]
            if not isinstance(at, MutableMapping):
                raise BrokenFile(f"{part} must be a table")
        at[path[-1]] = value

    def text(self) -> str:
        """The whole file."""
        return tomlkit.dumps(self._document)
