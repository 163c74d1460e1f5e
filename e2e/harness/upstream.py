"""A model provider on loopback whose health is changed while it runs: the handle on `e2e.agents.upstream`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Self

import requests

from e2e.harness.process import REQUEST_SECONDS, Process, free_port
from e2e.harness.workspace import Workspace

_ROOT = Path(__file__).parents[2]


class Upstream:
    """One provider process; a context manager.

    Args:
        directory: For the log; None makes a temporary one.
        time_scale: Of its own delays, not of the callers'.
        seed: The same seed fails the same calls.

    Attributes:
        url: Of the provider.
        process: It runs while the context is open.
    """

    def __init__(self, directory: Path | None = None, *, time_scale: float = 0.05, seed: int = 1) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._argv = [
            *(sys.executable, "-m", "e2e.agents.upstream", "--port", str(port)),
            *("--time-scale", str(time_scale), "--seed", str(seed)),
        ]
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy for 127.0.0.1

    def __enter__(self) -> Self:
        self._workspace = Workspace(self._directory, "upstream")
        self.process = Process(self._argv, self._workspace.path / "upstream.log", cwd=_ROOT)
        try:
            self.process.start_serving(f"{self.url}/stats", "the provider")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
        self._http.close()
        self._workspace.close()

    def mode(self, **mode: Any) -> None:
        """Change its health.

        Args:
            mode: As `PUT /mode` takes it: `mode` and what belongs to that.

        Raises:
            requests.HTTPError: It refused.
        """
        self._http.put(f"{self.url}/mode", json=mode, timeout=REQUEST_SECONDS).raise_for_status()

    def stats(self) -> dict[str, Any]:
        """Calls and failures since its start."""
        answer = self._http.get(f"{self.url}/stats", timeout=REQUEST_SECONDS)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
