"""The API server for async code: reads at once, writes at a measured pace.

The official client is synchronous, so that each request runs in a bounded pool of threads, JSON included.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, Final

from kubernetes import client

from agentscaler.kube.bucket import TokenBucket
from agentscaler.kube.connection import Body, Connection, Request
from agentscaler.kube.errors import Forbidden, Gone, KubeError, Throttled, Unavailable
from agentscaler.kube.leadership import Leadership
from agentscaler.kube.paths import Access

APPLY: Final = "application/apply-patch+yaml"
JSON: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"

_THREADS = 12
_WRITES_AT_ONCE = 8  # leaves threads for reads
_MOST_WAITING = 4 * _WRITES_AT_ONCE  # from here on what can wait leaves its turn to the others
_WRITE_ATTEMPTS = 3
_TIMED_OUT = frozenset({0, 504})
"""Statuses (0: no answer) after which nobody knows whether a write was carried out."""
_LONGEST_PATIENCE_SECONDS = 10.0


class Listing(list[Any]):
    """All objects of a collection, or what was kept of them.

    Attributes:
        list_version: The resourceVersion at which it was read.
    """

    def __init__(self, items: list[Any], list_version: str) -> None:
        super().__init__(items)
        self.list_version = list_version


class KubeApi:
    """The API server.

    Reads fail at once: the next tick reads again. Writes pass a token bucket and are repeated a few times where the
    server itself says that it is the moment that is wrong (429, 5xx), never after a time-out, since nobody knows
    whether such a write has happened.

    Attributes:
        requests: How many requests went out, by (verb, resource with group).
        failures: How many of them failed, by the name of their `KubeError`.
        denied: What RBAC has refused since somebody emptied this; without names.
    """

    def __init__(
        self,
        configuration: client.Configuration,
        *,
        writes_per_second: float = 100.0,
        write_burst: int = 200,
        timeout_seconds: tuple[float, float] = (3.0, 10.0),
        leadership: Leadership | None = None,
    ) -> None:
        """Connect when the first request is made.

        Args:
            configuration: From `load_configuration`.
            writes_per_second: Average rate of writes.
            write_burst: How many writes may go out at once.
            timeout_seconds: (connect, read) of each request.
            leadership: Without it no write is sent; None: this process acts alone.
        """
        self.configuration = configuration
        self.requests: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[str] = Counter()
        self.denied: set[Access] = set()
        self._connection = Connection(configuration, connections=_THREADS, timeout_seconds=timeout_seconds)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kube-api")
        self._bucket = TokenBucket(writes_per_second, write_burst)
        self._writers = asyncio.Semaphore(_WRITES_AT_ONCE)
        self._waiting = 0
        self._leadership = leadership

    @property
    def is_congested(self) -> bool:
        """Whether writes have to wait for their turn: what can wait should leave it to what cannot."""
        return self._bucket.is_empty or self._waiting >= _MOST_WAITING

    async def get(self, path: str, **params: str | int) -> Body:
        """Read one object, or any path that answers a JSON object.

        Raises:
            KubeError: See the tree in `kube.errors`; so does every method here.
        """
        return await self._send(Request("GET", path, params))

    async def list(
        self,
        path: str,
        *,
        limit: int = 500,
        resource_version: str = "0",
        label_selector: str = "",
        keep: Callable[[Body], Any] | None = None,
    ) -> Listing:
        """Read a whole collection, page by page. A list that expires between two pages is begun once more, unpaged.

        Args:
            path: Of the collection.
            limit: Objects a page.
            resource_version: "0" answers from the server's cache, which may lag a little; "" is up to date.
            label_selector: Filters at the server.
            keep: What to keep of each object; None drops it. Runs in a thread.
        """
        params: dict[str, str | int] = {
            "labelSelector": label_selector,
            "resourceVersion": resource_version,
        }
        params = {key: value for key, value in params.items() if value}
        try:
            return await self._pages(path, {**params, "limit": limit}, keep)
        except Gone:
            return await self._pages(path, params, keep)

    async def ask(self, path: str, body: Body) -> Body:
        """Ask by a POST that stores nothing: a review. Who may not write may still ask."""
        return await self._send(Request("POST", path, {}, body, "application/json"))

    async def create(
        self, path: str, body: Body, *, field_manager: str, dry_run: bool = False, strict: bool = False
    ) -> Body:
        """Create an object in the collection `path`. `Conflict` with `exists` says that the name is taken.

        Args:
            path: Of the collection.
            body: The object.
            field_manager: Who owns the fields.
            dry_run: Check everything, store nothing.
            strict: Refuse unknown and doubled fields.
        """
        params = _write_params(field_manager, dry_run=dry_run, strict=strict)
        return await self._write(Request("POST", path, params, body, "application/json"))

    async def patch(
        self,
        path: str,
        body: Any,
        *,
        field_manager: str,
        content_type: str = MERGE,
        force: bool = False,
        dry_run: bool = False,
        strict: bool = False,
    ) -> Body:
        """Change an object. `Conflict`: a precondition fails or, with APPLY, another manager owns a field.

        Args:
            path: Of the object or its subresource.
            body: The patch. `metadata.resourceVersion` and `metadata.uid` in it are preconditions.
            field_manager: Who owns the fields.
            content_type: MERGE, APPLY (server-side apply) or JSON.
            force: With APPLY: take fields over from their owners.
            dry_run: Check everything, store nothing.
            strict: Refuse unknown and doubled fields.
        """
        params = _write_params(field_manager, dry_run=dry_run, strict=strict)
        if content_type == APPLY:
            params["force"] = "true" if force else "false"
        return await self._write(Request("PATCH", path, params, body, content_type))

    async def delete(self, path: str, *, uid: str | None = None) -> Body:
        """Delete an object.

        Args:
            path: Of the object.
            uid: Only if it still is that one; else `Conflict`.
        """
        preconditions = {} if uid is None else {"preconditions": {"uid": uid}}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **preconditions}
        return await self._write(Request("DELETE", path, {}, body, "application/json"))

    def close(self) -> None:
        """Wait for requests in flight and close the connections."""
        self._threads.shutdown(wait=True)
        self._connection.close()

    async def _pages(self, path: str, params: dict[str, str | int], keep: Callable[[Body], Any] | None) -> Listing:
        items: list[Any] = []
        while True:
            page = await self._send(Request("GET", path, params, keep=keep))
            items += page.get("items") or ()
            metadata = page.get("metadata") or {}
            following = metadata.get("continue")
            if not following:
                return Listing(items, str(metadata.get("resourceVersion", "")))
            # The token carries the version: the server refuses both.
            params = {key: value for key, value in params.items() if key != "resourceVersion"} | {"continue": following}

    async def _write(self, request: Request) -> Body:
        if self._leadership is not None:
            # Bound to the term of now: what was decided in one is not written in a later one.
            budget = partial(self._leadership.budget_seconds, self._leadership.term, request.access)
            request = replace(request, budget=budget)
        attempt = 1
        while True:
            await self._bucket.take()
            self._waiting += 1
            try:
                async with self._writers:
                    return await self._send(request)
            except Throttled as error:
                if attempt == _WRITE_ATTEMPTS or error.retry_after_seconds > _LONGEST_PATIENCE_SECONDS:
                    raise
                self._bucket.pause(error.retry_after_seconds)
            except Unavailable as error:
                if attempt == _WRITE_ATTEMPTS or error.status in _TIMED_OUT:
                    raise
                await asyncio.sleep(0.25 * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 (guards nothing)
            finally:
                self._waiting -= 1
            attempt += 1

    async def _send(self, request: Request) -> Body:
        asked = request.access
        try:
            if request.budget is not None:
                request.budget()  # what may not be sent needs no thread
            self.requests[asked.verb, asked.kind] += 1
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._connection.call, request)
        except KubeError as error:
            self.failures[type(error).__name__] += 1
            if isinstance(error, Forbidden):
                self.denied.add(replace(asked, name=""))
            raise


def _write_params(field_manager: str, *, dry_run: bool, strict: bool) -> dict[str, str | int]:
    params: dict[str, str | int] = {"fieldManager": field_manager}
    if dry_run:
        params["dryRun"] = "All"
    if strict:
        params["fieldValidation"] = "Strict"
    return params
