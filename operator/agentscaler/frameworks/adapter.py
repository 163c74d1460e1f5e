"""An agent framework's own settings as data: where each stands, its unit, its limits, and what feeds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Format(StrEnum):
    """Format of the native settings file."""

    ENV = "env"
    TOML = "TOML"
    JSON = "JSON"


class Unit(StrEnum):
    """Unit and form of a native value. Limits and defaults of the two durations are given in seconds."""

    COUNT = "count"
    BYTES = "bytes"
    MEBIBYTES = "MiB"
    PERCENT = "percent"
    RATIO = "0 to 1"
    MILLISECONDS = "ms"
    SECONDS = "s"
    MINUTES = "min"
    GO_DURATION = "Go duration"
    TIME_SPAN = "TimeSpan"
    FLAG = "true or false"
    TEXT = "text"


class Place(StrEnum):
    """Where the framework finds a setting."""

    FILE = "file"
    """The native settings file."""
    ENVIRONMENT = "environment"
    """The environment of the process, which belongs to the pod template: never written."""
    CODE = "code"
    """An argument in the agent's own code: an agent sets it from `tuning.json`."""


class Enforced(StrEnum):
    """Who acts on a setting."""

    FRAMEWORK = "framework"
    """The published package."""
    AGENT = "agent"
    """The agent's own code, in the way that the guide shows."""
    NOBODY = "decorative"
    """The value is accepted and changes nothing: it is shown, never written, and counts as no knob."""


class Feed(StrEnum):
    """What a native value is made of; `derive` has the rules."""

    WORKERS = "workers"
    POOL = "at least workers"
    CACHE_BYTES = "cache.maxBytes"
    CACHE_ENTRIES = "cache.maxBytes / bytes of an entry"
    CACHE_TTL = "cache.ttlSeconds"
    BREAKER_RATE = "circuitBreaker.failureRateThresholdPercent"
    BREAKER_FAILURES = "circuitBreaker: rate x minimum calls"
    BREAKER_WAIT = "circuitBreaker.waitDurationInOpenStateSeconds"
    BREAKER_TRIALS = "circuitBreaker.permittedCallsInHalfOpenState"


MOST_COUNT: Final = 2**31 - 1
"""The highest whole number that every one of the languages reads."""

Value = int | float | str | bool
"""A native value as a settings file holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of a framework."""

    path: tuple[str, ...]
    """Its name, or its sections and then its name."""
    unit: Unit
    default: Value | None = None
    """What holds where nobody sets it; None: nothing is said."""
    place: Place = Place.FILE
    low: float = 1
    """The framework's own lowest value, in `unit`."""
    high: float = MOST_COUNT
    """The framework's own highest value, or the highest that its type holds."""
    hot: bool = False
    """Whether a running process can take it; else only a start reads it."""
    enforced: Enforced = Enforced.FRAMEWORK
    feed: Feed | None = None
    """None: it is only listed, and what the user's file says stays."""
    optional: bool = False
    """Written only where the user's file has its section: a provider or a module that not every agent uses."""
    ratio: float = 1.0
    """The native value is so many times what feeds it."""
    note: str = ""

    @property
    def written(self) -> bool:
        """Whether the operator ever writes it."""
        return self.place is Place.FILE and self.feed is not None and self.enforced is not Enforced.NOBODY

    @property
    def number(self) -> bool:
        """Whether it has limits."""
        return self.unit not in {Unit.FLAG, Unit.TEXT}


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice of the guide's, and what became of it."""

    text: str
    covered: bool
    how: str
    """By what it is covered, or why it is not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """The native settings of one framework. There is one of each: they are compared by identity, which is fast."""

    file: str
    """Name of the native file, in the ConfigMap with the settings and in the directory that pods mount."""
    format: Format
    separator: str = "."
    """Between the parts of a path, as the framework's own documents write it."""
    settings: tuple[Setting, ...]
    entry_bytes: float = 0.0
    """Mean bytes of a cache entry: the ratio of the guide's own defaults, where metrics do not tell. 0: nothing counts
    entries."""
    advice: tuple[Advice, ...] = ()

    def name(self, setting: Setting) -> str:
        """A setting's full name, as a person writes it."""
        return self.separator.join(setting.path)

    def variable(self, setting: Setting) -> str:
        """The environment variable that says the same; most loaders take it before the file. Empty: there is none."""
        return {Format.ENV: setting.path[0], Format.JSON: "__".join(setting.path)}.get(self.format, "")

    def fed(self, feed: Feed) -> tuple[Setting, ...]:
        """The settings that are written from one value."""
        return tuple(each for each in self.settings if each.feed is feed and each.written)
