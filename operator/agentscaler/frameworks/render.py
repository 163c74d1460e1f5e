"""The native settings file: what was decided, put into the user's own file. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from agentscaler.core.settings import Settings
from agentscaler.frameworks import derive, files, units
from agentscaler.frameworks.adapter import Adapter, Feed, Format, Setting, Value
from agentscaler.frameworks.errors import BrokenFile


@dataclass(frozen=True, slots=True)
class Rendered:
    """A native file."""

    text: str
    withheld: tuple[Setting, ...] = ()
    """Settings that were to change and were not written, since only a start reads them."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """Why there is no file."""

    why: str
    line: int | None


def render(adapter: Adapter, settings: Settings, base: str, entry_bytes: float, *, restart: bool) -> Rendered:
    """Put what was decided into a settings file. All else in it stays as it is.

    Args:
        adapter: The framework's.
        settings: What was decided; what is left to the agent is left to the file.
        base: The user's own file; empty: there is none.
        entry_bytes: Mean bytes of a cache entry.
        restart: Whether settings that only a start reads may be written.

    Raises:
        BrokenFile: The base cannot be read, or holds something else where a value has to stand.
    """
    made = _rendered(adapter, settings, base, entry_bytes, restart=restart)
    if isinstance(made, _Broken):
        raise BrokenFile(made.why, made.line)
    return made


@lru_cache(maxsize=8192)  # objects at rest are looked at again and again, those with a broken file, too
def _rendered(
    adapter: Adapter, settings: Settings, base: str, entry_bytes: float, *, restart: bool
) -> Rendered | _Broken:
    try:
        return _render(adapter, settings, base, entry_bytes, restart=restart)
    except BrokenFile as error:
        return _Broken(str(error), error.line)


def _render(adapter: Adapter, settings: Settings, base: str, entry_bytes: float, *, restart: bool) -> Rendered:
    document = files.read(adapter.format, base)
    changes: list[tuple[Setting, Value]] = []
    withheld: list[Setting] = []
    for setting in adapter.settings:
        if not setting.written or (setting.optional and not document.has(setting.path[:-1])):
            continue
        if derive.value(setting, settings, entry_bytes, None) is None:
            continue  # left to the agent, whatever the file says
        if not (restart or setting.hot) and not _is_readable(adapter, document, setting, base):
            withheld.append(setting)
            continue
        present = _present(adapter, document, setting, base)
        stated = present if present is not None else _default(setting)
        wanted = derive.value(setting, settings, entry_bytes, stated)
        assert wanted is not None
        made = units.native(setting, wanted)
        known = stated if setting.feed is Feed.POOL else present
        if known is not None and units.ours(setting, made) == known:
            continue  # the same value in whatever words the user has written it; a pool that is large enough
        if restart or setting.hot:
            changes.append((setting, made))
        elif stated is None or units.ours(setting, made) != stated:
            withheld.append(setting)
    for setting, made in changes:
        document.set(setting.path, made)
    text = document.text()
    _check(adapter, text, changes)
    return Rendered(text, tuple(withheld))


@lru_cache(maxsize=8192)
def entry_bytes_of(adapter: Adapter, text: str, max_bytes: int | None, *, restart: bool) -> float | None:
    """Mean bytes of a cache entry that a native file was made with; None where it does not tell.

    Args:
        adapter: The framework's.
        text: The file that is in force.
        max_bytes: The cache's size in the settings that it was made for.
        restart: As for `render`.
    """
    for setting in adapter.fed(Feed.CACHE_ENTRIES):
        if not (setting.hot or restart):
            continue
        try:
            present = _present(adapter, files.read(adapter.format, text), setting, text)
        except BrokenFile:
            return None
        low, high = units.limits(setting)
        if max_bytes and present is not None and low < present < high:
            return max_bytes / (present / setting.ratio)
    return None


def _present(adapter: Adapter, document: files.Document, setting: Setting, text: str) -> float | None:
    """What the file says, in our unit."""
    try:
        return _ours(adapter, setting, document.get(setting.path))
    except BrokenFile as error:
        raise BrokenFile(str(error), error.line or files.line_of(text, setting.path)) from None
    except ValueError as error:
        raise BrokenFile(f"{adapter.name(setting)} {error}", files.line_of(text, setting.path)) from None


def _ours(adapter: Adapter, setting: Setting, value: Value | None) -> float | None:
    if adapter.format is Format.TOML and isinstance(value, str) and setting.unit not in units.DURATIONS:
        raise ValueError("must be a number without quotes")  # the other two formats take a text for a number
    return None if value is None else units.ours(setting, value)


def _is_readable(adapter: Adapter, document: files.Document, setting: Setting, text: str) -> bool:
    try:
        _present(adapter, document, setting, text)
    except BrokenFile:
        return False
    return True


def _default(setting: Setting) -> float | None:
    """The framework's default in our unit; that of a duration is given in seconds already."""
    if setting.default is None or setting.unit in units.DURATIONS:
        return None if setting.default is None else float(setting.default)
    return units.ours(setting, setting.default)


def _check(adapter: Adapter, text: str, changes: list[tuple[Setting, Value]]) -> None:
    """Read the file as the agent will: whatever a writer made of a strange file, nothing wrong is ever delivered."""
    document = files.read(adapter.format, text)
    for setting, made in changes:
        found = _present(adapter, document, setting, text)
        if found != units.ours(setting, made):
            line = files.line_of(text, setting.path)
            raise BrokenFile(f"{adapter.name(setting)} cannot be changed in place: write it in a plainer form", line)
