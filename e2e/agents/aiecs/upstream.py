"""The model provider as the threads of AIECS's pool call it."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["429", "5xx", "timeout"]


class UpstreamError(Exception):
    """A call failed.

    Attributes:
        kind: How; None: what says nothing about the upstream's health.
    """

    def __init__(self, kind: Kind | None, cause: Exception) -> None:
        super().__init__(f"upstream {kind}: {cause}")
        self.kind = kind


class Upstream:
    """Calls of `e2e.agents.upstream`.

    Args:
        url: Its address.
        timeout_seconds: Of one call.
        count: Told of the end of each call: None for an answer, else how it failed.
    """

    def __init__(self, url: str, timeout_seconds: float, count: Callable[[Kind | None], None]) -> None:
        self._url = f"{url.rstrip('/')}/complete"
        self._timeout_seconds = timeout_seconds
        self._count = count
        self._opener = build_opener(ProxyHandler({}))

    def ask(self, seconds: float) -> None:
        """One call, whose answer takes so many seconds.

        Raises:
            UpstreamError: There was none.
        """
        headers = {"Content-Type": "application/json"}
        request = Request(self._url, json.dumps({"seconds": seconds}).encode(), headers)
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                response.read()
        except (OSError, http.client.HTTPException) as error:
            kind = _kind(error)
            if kind is not None:
                self._count(kind)
            raise UpstreamError(kind, error) from error
        self._count(None)


def _kind(error: Exception) -> Kind | None:
    if isinstance(error, HTTPError):
        error.close()
        if error.code == 429:
            return "429"
        return "5xx" if error.code >= 500 else None
    reason = error.reason if isinstance(error, URLError) else error
    return "timeout" if isinstance(reason, TimeoutError) else "5xx"  # refused, or cut
