"""A watch on a collection in a thread of its own: which objects are as hoped for, and since when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import requests

from e2e.harness.cluster import ControlPlane

START_SECONDS = 5.0


class Watch:
    """Follows a collection from now on; a context manager.

    Args:
        cluster: Whose API server.
        path: Of the collection, over all namespaces.
        holds: What is hoped for of an object.
    """

    def __init__(self, cluster: ControlPlane, path: str, holds: Callable[[dict[str, Any]], bool]) -> None:
        self._cluster = cluster
        self._path = path
        self._holds = holds
        self._first: dict[str, float] = {}
        self._holding: set[str] = set()
        self._http = requests.Session()
        self._http.trust_env = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._closed = False
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        version = self._cluster.get(f"{self._path}?limit=1")["metadata"]["resourceVersion"]
        self._answer = self._http.get(
            f"{self._cluster.url}{self._path}",
            params={"watch": "1", "resourceVersion": version},
            headers={"Authorization": f"Bearer {self._cluster.token}"},
            verify=str(self._cluster.ca),
            stream=True,
            timeout=(START_SECONDS, None),
        )
        self._answer.raise_for_status()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._http.close()

    @property
    def holding(self) -> int:
        """How many objects are so now; RuntimeError when the watch has ended."""
        self._check()
        return len(self._holding)

    def first(self, key: str) -> float | None:
        """When `namespace/name` was so for the first time, Unix seconds; None: it was not yet."""
        self._check()
        return self._first.get(key)

    def _check(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError(f"the watch on {self._path} has ended") from self._failure

    def _run(self) -> None:
        try:
            for line in self._answer.iter_lines(chunk_size=None):
                self._take(time.time(), json.loads(line))
        except Exception as error:  # noqa: BLE001 (handed to the thread that asks)
            if not self._closed:
                self._failure = error

    def _take(self, at: float, event: dict[str, Any]) -> None:
        if event["type"] == "ERROR":
            raise RuntimeError(str(event["object"]))
        metadata = event["object"]["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        if event["type"] != "DELETED" and self._holds(event["object"]):
            self._holding.add(key)
            self._first.setdefault(key, at)
        else:
            self._holding.discard(key)
