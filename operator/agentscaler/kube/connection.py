"""One HTTP request to the API server by the official client: a `Request` in, a dict or a `KubeError` out.

Synchronous and safe to use from several threads. The client's typed models cost ten times the CPU of a dict and refuse
fields that they do not know; only its configuration, credentials and connection pool are used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from agentscaler.kube import guard
from agentscaler.kube.errors import Unavailable, from_response
from agentscaler.kube.paths import Access, access

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the API server."""

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    body: Any = None
    content_type: str = ""
    keep: Callable[[Body], Any] | None = None
    """What to keep of each item of a list; None drops it. Applied in the thread, since items are large."""
    budget: Callable[[], float] | None = None
    """Seconds that it may take if it is sent now; raises when it may not be sent. None: the usual time-outs."""

    @property
    def access(self) -> Access:
        """What RBAC checks."""
        return access(self.method, self.path)


def load_configuration(kubeconfig: str | None = None) -> client.Configuration:
    """Where the API server is and who we are.

    Args:
        kubeconfig: Path of a file; None: in a cluster the ServiceAccount, else KUBECONFIG and `~/.kube/config`.

    Raises:
        kubernetes.config.ConfigException: Neither is there, or the file is broken.
    """
    configuration = client.Configuration()
    if kubeconfig is not None:
        try:
            config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]  # theirs
        except config.ConfigException as error:
            raise config.ConfigException(f"kubeconfig {kubeconfig}: {error}") from error
        return configuration
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # theirs
    except config.ConfigException:
        config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # theirs
    return configuration


class Connection:
    """Connections to the API server, opened when needed and kept."""

    def __init__(
        self, configuration: client.Configuration, *, connections: int, timeout_seconds: tuple[float, float]
    ) -> None:
        """Prepare, without connecting.

        Args:
            configuration: From `load_configuration`.
            connections: How many are kept: the number of threads that use them.
            timeout_seconds: (connect, read) of each request; the client itself would wait for ever.
        """
        self.configuration = copy(configuration)  # credentials that are renewed are shared
        self.configuration.connection_pool_maxsize = connections
        self.configuration.retries = urllib3.Retry(0)
        self._client = client.ApiClient(self.configuration)
        self._client.user_agent = "agentscaler"
        guard.install(self._client.rest_client.pool_manager)
        self._timeout_seconds = timeout_seconds

    def call(self, request: Request) -> Body:
        """Send it and wait for the answer.

        Raises:
            KubeError: See the tree in `kube.errors`.
        """
        status, data, headers = self._exchange(request)
        if status >= 400:
            raise from_response(request.access, status, data, headers)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise Unavailable(f"cannot {request.access}: the answer is not JSON", access=request.access) from error
        if not isinstance(answer, dict):
            raise Unavailable(f"cannot {request.access}: the answer is not an object", access=request.access)
        if request.keep is not None:
            kept = map(request.keep, answer.get("items") or ())
            answer["items"] = [item for item in kept if item is not None]
        return answer

    def close(self) -> None:
        """Close all connections."""
        self._client.close()  # type: ignore[no-untyped-call]  # theirs

    def _exchange(self, request: Request) -> tuple[int, bytes, Mapping[str, str]]:
        headers = {**self._client.default_headers, "Accept": "application/json"}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        try:
            # Renews the ServiceAccount's token when it is due.
            self._client.update_params_for_auth(
                headers, [], ["BearerToken"], request.path, request.method, request.body
            )
            timeout, params = self._limits(request)
            query = f"?{urlencode(params)}" if params else ""
            url = f"{self.configuration.host}{request.path}{query}"
            with guard.checked(request.budget):
                response = self._client.rest_client.request(  # type: ignore[no-untyped-call]  # theirs
                    request.method, url, headers=headers, body=request.body, _request_timeout=timeout
                )
            return response.status, response.read(), response.headers
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise Unavailable(f"cannot {request.access}: {_cause(error)}", access=request.access) from error

    def _limits(self, request: Request) -> tuple[float | tuple[float, float], Mapping[str, str | int]]:
        """The time-out, and the parameters with it: the server too gives up a request in time."""
        if request.budget is None:
            return self._timeout_seconds, request.params
        seconds = min(request.budget(), sum(self._timeout_seconds))
        return seconds, {**request.params, "timeout": f"{seconds * 1000:.0f}ms"}


def _cause(error: Exception) -> str:
    """The innermost reason, without the client's own wrapping."""
    reason = getattr(error, "reason", None)
    return str(reason if isinstance(reason, Exception) else error).partition("\n")[0][:300]
