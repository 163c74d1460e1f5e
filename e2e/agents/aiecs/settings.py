"""The settings that the operator delivers to an agent that reads them once: `aiecs.env` and `tuning.json`."""

from __future__ import annotations

import io
import json
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dotenv.parser import parse_stream

from e2e.agents.aiecs.framework import ExecutorConfig

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "aiecs.env"
GENERATION_MAX = 2**53 - 1

logger = logging.getLogger("aiecs_agent")


@dataclass(frozen=True)
class Settings:
    """What is in force for as long as the process lives.

    Attributes:
        executor: AIECS's own reading of its variables.
        generation: Of the delivered settings; 0: there were none, or broken ones.
        broken: Whether there were files that could not be used.
    """

    executor: Any
    generation: int
    broken: bool


def load(directory: Path) -> Settings:
    """Puts the variables of the file into this process's environment, where they go before those of the pod.

    A file that cannot be used has no effect at all: the environment of the pod stays.

    Raises:
        ValueError: The environment of the pod itself makes no sense.
    """
    of_the_pod = dict(os.environ)
    try:
        content = _read(directory / FILE_NAME)
        if content is None:
            return Settings(_executor_config(), 0, broken=False)
        tuning = _read(directory / "tuning.json")
        generation = 0 if tuning is None else _generation(tuning)
        os.environ.update(_variables(content))
        return Settings(_executor_config(), generation, broken=False)
    except (OSError, ValueError) as error:
        os.environ.clear()
        os.environ.update(of_the_pod)
        logger.error("the settings are broken, those of the pod stay: %s", error)  # noqa: TRY400 - no bug, no traceback
        return Settings(_executor_config(), 0, broken=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _variables(content: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(content)):
        if binding.error or (binding.key is not None and binding.value is None):
            raise ValueError(f"{FILE_NAME}, line {binding.original.line}: not NAME=value")
        if binding.key is not None:
            found[binding.key] = binding.value
    return found


def _executor_config() -> Any:
    config = ExecutorConfig()  # pydantic's error is a ValueError
    for name in ("max_workers", "timeout"):  # AIECS itself takes any number
        if getattr(config, name) < 1:
            raise ValueError(f"TOOL_EXECUTOR_{name.upper()} must be at least 1")
    return config


def _generation(content: str) -> int:
    document = json.loads(content)
    generation = document.get("generation") if isinstance(document, dict) else None
    if type(generation) is not int or not 1 <= generation <= GENERATION_MAX:
        raise ValueError("tuning.json has no generation")
    return generation
