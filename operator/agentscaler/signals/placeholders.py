"""Demand templates: PromQL of the administrator with placeholders `${name}` inside double-quoted strings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MOST_CHARACTERS: Final = 2000
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PLACEHOLDER: Final = re.compile(r"\$\{([^}]*)\}")
_PARAMETER: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_TOKEN: Final = re.compile(
    r'(?P<text>"(?:\\.|[^"\\])*")|(?P<other>\'(?:\\.|[^\'\\])*\'|`[^`]*`)|(?P<comment>#[^\n]*)|(?P<code>[^"\'`#]+)',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a template: PromQL as it stands, or the place of a parameter."""

    text: str = ""
    parameter: str = ""
    regex: bool = False
    """The parameter stands in a regular expression."""


@lru_cache(maxsize=256)
def parse(promql: str) -> tuple[Part, ...]:
    """A template in its pieces.

    Raises:
        ValueError: It is no template; the text says why.
    """
    if not promql.strip() or len(promql) > MOST_CHARACTERS:
        raise ValueError(f"write a PromQL expression of at most {MOST_CHARACTERS} characters")
    parts: list[Part] = []
    end = 0
    for token in _TOKEN.finditer(promql):
        if token.start() != end:
            break
        end = token.end()
        if token["comment"] is not None:
            parts.append(Part(" "))  # the query goes on behind it, in the same line
        elif token["text"] is not None:
            parts += _string(token["text"], regex=promql[: token.start()].rstrip().endswith(("=~", "!~")))
        elif _PLACEHOLDER.search(token[0]):
            raise ValueError('a placeholder stands inside a double-quoted string: queue="${queue}"')
        else:
            parts.append(Part(token[0]))
    if end != len(promql):
        raise ValueError("a quote is not closed")
    return tuple(parts)


def _string(text: str, *, regex: bool) -> Iterable[Part]:
    at = 0
    for match in _PLACEHOLDER.finditer(text):
        if not _PARAMETER.fullmatch(match[1]):
            raise ValueError(f"{match[0]} is no placeholder: letters, digits and '_'")
        yield Part(text[at : match.start()])
        yield Part(parameter=match[1], regex=regex)
        at = match.end()
    yield Part(text[at:])


def check(name: str, promql: str) -> None:
    """Refuse what is no template.

    Raises:
        ValueError: The text says why.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"demand template {name!r}: its name must be a DNS label: lower case letters, digits and '-'")
    try:
        parse(promql)
    except ValueError as error:
        raise ValueError(f"demand template {name}: {error}") from None
