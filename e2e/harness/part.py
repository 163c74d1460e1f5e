"""What the parts of the harness have in common: they are started, asked over HTTP, and leave nothing behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import requests

from e2e.harness.process import REQUEST_SECONDS, Process, free_port
from e2e.harness.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Startable(ABC):
    """Something that runs between `start` and `stop`; as a context manager it is stopped on any exit."""

    @abstractmethod
    def start(self) -> None:
        """Start it; returns when it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """End it, also when it was started by half."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Part(Startable):
    """A process of this repository that serves its numbers at `/stats`; the subclass makes `process`.

    Attributes:
        process: The process; it can be killed and started again on the same port.
        port: Where it listens, known before the start.
        url: Of the port.
        directory: For its log and what else it writes.
    """

    process: Process

    def __init__(self, name: str, directory: Path | None, port: int | None = None) -> None:
        """Start nothing yet.

        Args:
            name: For errors, and part of a temporary directory's name.
            directory: None makes a temporary one, which goes at the end.
            port: None takes a free one.
        """
        self._name = name
        self._workspace = Workspace(directory, name)
        self.directory = self._workspace.path
        self.port = port if port is not None else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy for 127.0.0.1

    def start(self) -> None:
        """Start it (again), on the same port; returns when it answers."""
        self.process.start_serving(f"{self.url}/stats", f"the {self._name}")

    def stop(self) -> None:
        """End it and remove a temporary directory."""
        self.process.stop()
        self._http.close()
        self._workspace.close()

    def ask(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a path.

        Raises:
            RuntimeError: The process has ended; the message holds the end of its log.
            requests.RequestException: No answer, or one that says no.
        """
        try:
            answer = self._http.get(f"{self.url}/{path}", params=params, timeout=REQUEST_SECONDS)
        except requests.ConnectionError:
            self.process.check()
            raise
        answer.raise_for_status()
        return answer.json()
