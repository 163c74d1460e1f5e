"""`agentscaler run`: settings out of file, environment and flags, and the operator on them."""

from __future__ import annotations

import asyncio
import ctypes
import os
from enum import StrEnum
from pathlib import Path
from typing import Any

from agentscaler.cli.cluster import CliError


class LogFormat(StrEnum):
    """Forms of the operator's log."""

    JSON = "json"
    TEXT = "text"


M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def run_operator(
    config: Path | None,
    *,
    namespaces: list[str] | None,
    prometheus: list[str],
    kubeconfig: str | None,
    tick_seconds: float | None,
    port: int | None,
    log_format: LogFormat | None,
) -> int:
    """Run the operator until it ends; the result is its exit code.

    Flags stand above the environment (AGENTSCALER_*), and that above the file.

    Raises:
        CliError: The settings are wrong; the text names the field and the mend.
    """
    flags: dict[str, Any] = {
        "namespaces": namespaces,
        "prometheus": {name: {"url": url} for name, url in map(_server, prometheus)} or None,
        "kubeconfig": kubeconfig,
        "tick_seconds": tick_seconds,
        "health_port": port,
        "log_format": None if log_format is None else log_format.value,
    }
    # kopf and the whole operator: a second of imports that no other command needs.
    from agentscaler import app, settings  # noqa: PLC0415

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        chosen = settings.load(config, os.environ, given)
    except settings.SettingsError as error:
        raise CliError(str(error), exit_code=2) from error
    _share_arenas()
    return asyncio.run(app.run(chosen))


def _share_arenas() -> None:
    """Have all threads allocate from two arenas.

    glibc gives each of the request threads an arena of its own, which keeps what the largest answer once took:
    with 1,000 objects about 70 MiB. Other C libraries have no such call and no such arenas.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)


def _server(text: str) -> tuple[str, str]:
    name, separator, url = text.partition("=")
    if not separator or not name or not url:
        raise CliError(f"--prometheus {text}: write it as NAME=URL, say default=http://prometheus:9090", exit_code=2)
    return name, url
