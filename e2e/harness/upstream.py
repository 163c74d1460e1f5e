"""A model provider on loopback whose health is changed while it runs: the handle on `e2e.agents.upstream`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from e2e.harness.part import Part
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, Process, wait_until

_ROOT = Path(__file__).parents[2]


class Upstream(Part):
    """One provider process; a context manager.

    Args:
        directory: For the log; None makes a temporary one.
        time_scale: Of its own delays, not of the callers'.
        seed: The same seed fails the same calls.
    """

    def __init__(self, directory: Path | None = None, *, time_scale: float = 0.05, seed: int = 1) -> None:
        super().__init__("upstream", directory)
        argv = [
            *(sys.executable, "-m", "e2e.agents.upstream", "--port", str(self.port)),
            *("--time-scale", str(time_scale), "--seed", str(seed)),
        ]
        self.process = Process(argv, self.directory / "upstream.log", cwd=_ROOT)

    def mode(self, **mode: Any) -> None:
        """Change its health.

        Args:
            mode: As `PUT /mode` takes it: `mode` and what belongs to that.

        Raises:
            requests.HTTPError: It refused.
        """
        self._http.put(f"{self.url}/mode", json=mode, timeout=REQUEST_SECONDS).raise_for_status()

    def stats(self) -> dict[str, Any]:
        """Calls and failures since its start or its last reset."""
        found: dict[str, Any] = self.ask("stats")
        return found

    def reset(self) -> None:
        """Make it what it was at its start, once the calls of its callers have ended; quicker than another process."""
        wait_until(lambda: self.stats()["in_flight"] == 0, PATIENCE_SECONDS, "the end of all calls")
        self._http.post(f"{self.url}/reset", timeout=REQUEST_SECONDS).raise_for_status()
