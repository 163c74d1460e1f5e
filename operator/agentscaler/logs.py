"""Logging: constant messages with keys and values, as JSON lines or as text."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST_VALUE = 300


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value of `extra` that is JSON already: it is written as it is."""

    text: str

    def __str__(self) -> str:
        return self.text


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller passed by `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; what is not JSON by itself is written as text."""
        said = extras(record)
        ready = {key: value.text for key, value in said.items() if isinstance(value, JsonText)}
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in said.items() if key not in ready},
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        line = json.dumps(fields, default=str)
        return line[:-1] + "".join(f", {json.dumps(key)}: {text}" for key, text in ready.items()) + "}"


class TextFormatter(logging.Formatter):
    """For people: `12:00:01 warning agentscaler.kube.resync: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and an exception below it."""
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        pairs = "".join(f" {key}={_short(str(value))}" for key, value in extras(record).items())
        line = f"{clock} {record.levelname.lower()} {record.name}: {record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _short(text: str) -> str:
    """Full decision records are for machines: people have `agentscaler explain`."""
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def configure(log_format: str, log_level: str) -> None:
    """Send all logs to standard error.

    Args:
        log_format: `json` or `text`.
        log_level: Least level of our own logs; libraries speak from `warning` on.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("agentscaler").setLevel(log_level.upper())
