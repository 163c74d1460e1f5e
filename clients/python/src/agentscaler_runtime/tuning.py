"""`tuning.json`: from bytes to settings."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn, TypeVar

from agentscaler_runtime.errors import TuningError
from agentscaler_runtime.settings import CacheSettings, CircuitBreakerSettings, Settings, WorkerSettings

MAX_BYTES = 64 * 1024  # a file of the operator has less than 1 KiB
GENERATION_MAX = 2**53 - 1  # what every language's JSON numbers hold exactly

_S = TypeVar("_S", WorkerSettings, CacheSettings, CircuitBreakerSettings)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """One valid `tuning.json`.

    Attributes:
        generation: The writer's number of this file.
        settings: The file's values over the agent's defaults.
        unknown_keys: Keys that this reader does not know, as paths with dots; they have no effect.
    """

    generation: int
    settings: Settings
    unknown_keys: tuple[str, ...]


def parse(content: bytes, defaults: Settings) -> Tuning:
    """Reads a `tuning.json`; an absent key leaves the default.

    Args:
        content: The file, UTF-8.
        defaults: The agent's own settings.

    Raises:
        TuningError: The content is not JSON or breaks the schema.
    """
    if len(content) > MAX_BYTES:
        raise TuningError(f"the file is larger than {MAX_BYTES} bytes")
    document = _document(content)
    known = {"generation", "workers", "cache", "circuitBreaker"}
    unknown = [key for key in document if key not in known]
    if "generation" not in document:
        raise TuningError("generation is missing")
    generation = _whole("generation", document["generation"])
    if not 1 <= generation <= GENERATION_MAX:
        raise TuningError(f"generation must be from 1 to {GENERATION_MAX}, not {generation}")
    settings = Settings(
        workers=_section("workers", document, defaults.workers, unknown),
        cache=_section("cache", document, defaults.cache, unknown),
        circuit_breaker=_section("circuitBreaker", document, defaults.circuit_breaker, unknown),
    )
    return Tuning(generation=generation, settings=settings, unknown_keys=tuple(unknown))


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise TuningError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise TuningError("the file must hold one JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _section(name: str, document: dict[str, Any], default: _S, unknown: list[str]) -> _S:
    raw = document.get(name, {})
    if not isinstance(raw, dict):
        raise TuningError(f"{name} must be an object")
    attribute_of = {_camel_case(each.name): each.name for each in fields(default)}
    unknown += [f"{name}.{key}" for key in raw if key not in attribute_of]
    values = {attribute_of[key]: _whole(f"{name}.{key}", raw[key]) for key in raw if key in attribute_of}
    try:
        return replace(default, **values)
    except ValueError as error:
        raise TuningError(f"{name}: {error}") from error


def _whole(path: str, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON knows one kind of number: 12.0 is 12
    if type(value) is not int:
        raise TuningError(f"{path} must be a whole number, not {json.dumps(value)[:40]}")
    return value


def _camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
