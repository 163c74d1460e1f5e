"""prometheus-api-client, with what it lacks: time-outs, bodies, warnings, a byte limit, and errors that say what."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from agentscaler.signals.credentials import Credentials, Version, tls_version
from agentscaler.signals.errors import (
    Garbage,
    Refused,
    ServerError,
    Throttled,
    TimedOut,
    TooLarge,
    Unreachable,
)
from agentscaler.signals.servers import Server

CHUNK_BYTES: Final = 256 * 1024
CONNECT_SECONDS: Final = 3.0
MESSAGE_CHARACTERS: Final = 300
_OWN_REMARK = ("PromQL warning", "PromQL info")
"""Remarks of the evaluation on single series, which it left out: they say nothing about the series of others."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole envelope of an answer."""

    result: list[Any]
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    is_partial: bool = False

    @property
    def partial(self) -> str:
        """Why data is missing, or the empty string."""
        remarks = [warning for warning in self.warnings if not warning.startswith(_OWN_REMARK)]
        remarks += [info for info in self.infos if "partial" in info.lower() or "truncated" in info.lower()]
        if remarks:
            return f"the server warns: {remarks[0][:MESSAGE_CHARACTERS]}"
        return "the server says isPartial" if self.is_partial else ""


class PrometheusClient(PrometheusConnect):  # type: ignore[misc]  # the library is untyped in parts
    """One server. Not for use by two threads at once.

    Args:
        server: Address, secrets and limits.
    """

    def __init__(self, server: Server) -> None:
        session = requests.Session()
        session.trust_env = False  # a proxy or .netrc of the environment must not see or replace the credentials
        session.verify = server.ca_file or True
        if server.cert_file:
            session.cert = (server.cert_file, server.key_file) if server.key_file else server.cert_file
        super().__init__(
            server.url.rstrip("/"),
            headers=dict(server.headers),
            retry=Retry(total=0, redirect=False),
            auth=Credentials(server),
            session=session,
            timeout=server.timeout_seconds,
            method="POST",
        )
        self._server = server
        self._tls_version: Version = ()

    def instant(self, promql: str, at: float, timeout_seconds: float | None = None) -> Answer:
        """Evaluate at one time.

        Args:
            promql: The query.
            at: Evaluation time, Unix seconds.
            timeout_seconds: For the whole call; the server's own by default.

        Raises:
            QueryError: There is no answer; the subclass says why.
        """
        return self._ask("query", {"query": promql, "time": f"{at:.3f}"}, timeout_seconds, "vector")

    def range(
        self, promql: str, start: float, end: float, step_seconds: int, timeout_seconds: float | None = None
    ) -> Answer:
        """Evaluate from `start` to `end`, both Unix seconds and included; else as `instant`."""
        form = {"query": promql, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": str(step_seconds)}
        return self._ask("query_range", form, timeout_seconds, "matrix")

    def _ask(self, path: str, form: Mapping[str, str], timeout_seconds: float | None, result_type: str) -> Answer:
        limit_seconds = self._server.timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = time.monotonic() + limit_seconds
        self._renew()
        try:
            with self._session.post(
                f"{self.url}/api/v1/{path}",
                data={**dict(self._server.parameters), **form, "timeout": f"{limit_seconds * 1000:.0f}ms"},
                headers=self.headers,
                auth=self.auth,
                timeout=(min(limit_seconds, CONNECT_SECONDS), limit_seconds),
                allow_redirects=False,  # credentials go to the configured address only
                stream=True,
            ) as response:
                body = _read(response, self._server.max_response_bytes, deadline)
                _check_status(response, body)
        except requests.Timeout as error:
            raise TimedOut(f"no answer within {self._server.timeout_seconds:g} s") from error
        except (requests.RequestException, HTTPError) as error:
            raise Unreachable(_cause(error)) from error
        except OSError as error:  # a certificate file
            raise Unreachable(
                f"cannot send the query: {error.strerror or 'a file of the server is missing'}"
            ) from error
        except ValueError:  # its text may hold the header that cannot be sent
            raise Unreachable("cannot send the query: a header or parameter of the server is not valid") from None
        return _answer(body, result_type)

    def _renew(self) -> None:
        """Make connections anew when certificates have changed: they are read with each new one only."""
        version = tls_version(self._server)
        if version != self._tls_version:
            self._session.close()
            self._tls_version = version


def _read(response: requests.Response, limit_bytes: int, deadline: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_content(CHUNK_BYTES):
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge(f"the answer exceeds {limit_bytes} bytes: raise max_response_bytes, or watch fewer objects")
        if time.monotonic() > deadline:  # a server that drips bytes never trips the socket's own time-out
            raise requests.ReadTimeout
        chunks.append(chunk)
    return b"".join(chunks)


def _check_status(response: requests.Response, body: bytes) -> None:
    status = response.status_code
    if status == requests.codes.ok:
        return
    said = _error_text(body) or response.reason or ""
    if status == requests.codes.too_many_requests:
        raise Throttled("answered 429, too many requests", _seconds(response.headers.get("Retry-After")))
    if status >= 500:
        if status == requests.codes.service_unavailable and said.startswith("timeout"):
            raise TimedOut(f"answered {status}: the query took too long")
        raise ServerError(f"answered {status}")
    if status >= 400:
        mend = ": check the server's credentials in the operator's settings" if status in {401, 403} else ""
        raise Refused(f"answered {status}: {said}{mend}", status)
    raise Garbage(f"answered {status}: write the address it redirects to as the server's url")


def _error_text(body: bytes) -> str:
    try:
        envelope = json.loads(body)
        return f"{envelope['errorType']}: {envelope['error']}"[:MESSAGE_CHARACTERS]
    except (ValueError, TypeError, KeyError):
        return ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None


def _answer(body: bytes, result_type: str) -> Answer:
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Garbage("the answer is not JSON") from error
    data = envelope.get("data") if isinstance(envelope, dict) else None
    if not isinstance(data, dict) or envelope.get("status") != "success":
        raise Garbage("the answer is not that of a Prometheus: check the server's url")
    if data.get("resultType") != result_type or not isinstance(data.get("result"), list):
        raise Garbage(f"the answer holds no {result_type}")
    return Answer(
        data["result"],
        _texts(envelope.get("warnings")),
        _texts(envelope.get("infos")),
        bool(envelope.get("isPartial") or data.get("isPartial")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list) else ()


def _cause(error: BaseException) -> str:
    """The innermost cause in words that stay the same: requests' own texts carry addresses of objects."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return f"TLS failed: {seen.reason or type(seen).__name__}"
        if isinstance(seen, OSError) and seen.strerror and not isinstance(seen, requests.RequestException):
            return f"no connection: {seen.strerror.lower()}"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer was cut off"
    return "no connection: it was closed or could not be made"
