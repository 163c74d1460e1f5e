"""What can go wrong between us and the API server.

All are a `KubeError`:

- NotFound: 404
- Conflict: 409, somebody else wrote it first, or the name exists already
- Gone: 410
- Invalid: 422 and 400, the object breaks its schema or a rule
- Unauthorized: 401, the credentials are not accepted
- Forbidden: 403, RBAC lacks a rule; the message says which
- Refused: 403 for another reason: a quota, an admission policy, a namespace that is ending
- Throttled: 429
- Unavailable: 5xx, time-out, no connection, an answer that is not JSON
- NotLeader: not sent, since another operator may act now
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentscaler.kube.paths import Access


class KubeError(Exception):
    """A request that the API server did not fulfil.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: The server's machine-readable reason (`AlreadyExists`), or empty.
        access: What was asked for.
    """

    def __init__(self, message: str, *, access: Access, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.access = access
        self.status = status
        self.reason = reason


class NotFound(KubeError):  # noqa: N818 (the names of this tree are those of HTTP, as in httpx)
    """There is no such object, or no such kind."""


class Conflict(KubeError):  # noqa: N818 (see NotFound)
    """The object has changed since it was read, or one of that name exists already."""

    @property
    def exists(self) -> bool:
        """Whether it is the name that is taken."""
        return self.reason == "AlreadyExists"


class Gone(KubeError):  # noqa: N818 (see NotFound)
    """The resourceVersion or the continue token has expired: read anew."""


class Invalid(KubeError):  # noqa: N818 (see NotFound)
    """The API server refuses the object.

    Attributes:
        causes: (field, message) of each fault that it names.
    """

    def __init__(self, message: str, *, causes: tuple[tuple[str, str], ...] = (), **context: Any) -> None:
        super().__init__(message, **context)
        self.causes = causes


class Unauthorized(KubeError):  # noqa: N818 (see NotFound)
    """The API server does not know us: the token or certificate is wrong or has expired."""


class Forbidden(KubeError):  # noqa: N818 (see NotFound)
    """RBAC does not allow it. The message names the missing rule.

    Attributes:
        verb: `list`, `patch`, ...
        resource: Plural with subresource and group: `deployments/scale.apps`.
        namespace: Where; empty: the whole cluster.
    """

    def __init__(self, message: str, *, access: Access, **context: Any) -> None:
        super().__init__(message, access=access, **context)
        self.verb = access.verb
        self.resource = access.kind
        self.namespace = access.namespace


class Refused(KubeError):  # noqa: N818 (see NotFound)
    """RBAC allows it, and something else does not; the message is that of the API server."""


class Throttled(KubeError):  # noqa: N818 (see NotFound)
    """The API server asks for patience.

    Attributes:
        retry_after_seconds: How long to wait; 1 when the server does not say.
    """

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0, **context: Any) -> None:
        super().__init__(message, **context)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(KubeError):  # noqa: N818 (see NotFound)
    """The API server is down, unreachable, too slow or answers garbage. Status is 0 when no answer came."""


class NotLeader(KubeError):  # noqa: N818 (see NotFound)
    """Not sent: this process does not hold the Lease, or not for long enough."""


def missing_rule(access: Access) -> str:
    """The RBAC rule that a request lacks, as a person would write it into a Role."""
    role = f"a Role in namespace {access.namespace}" if access.namespace else "a ClusterRole"
    return (
        f"add to {role} of the operator's ServiceAccount: "
        f'apiGroups ["{access.group}"], resources ["{access.resource}"], verbs ["{access.verb}"]'
    )


def from_response(access: Access, status: int, body: bytes, headers: Mapping[str, str]) -> KubeError:
    """The error that an HTTP answer of 400 and above stands for.

    Args:
        access: What was asked for.
        status: HTTP status.
        body: The answer, a `Status` object as a rule.
        headers: Of the answer; `Retry-After` counts.
    """
    answer = _decode(body)
    text = str(answer.get("message") or body[:200].decode(errors="replace") or f"HTTP {status}")
    reason = str(answer.get("reason") or "")
    details = answer.get("details")
    message = f"cannot {access}: {text}"
    context: dict[str, Any] = {"access": access, "status": status, "reason": reason}
    if status == 403 and reason == "Forbidden" and not _of_rbac(text):
        return Refused(message, **context)
    if status == 403:
        return Forbidden(f"may not {access}; {missing_rule(access)}", **context)
    # A server-side apply of an object that does not fit its schema is answered so; it is no outage.
    malformed = status == 500 and "failed to create typed patch object" in text
    if status in {400, 422} or malformed:
        return Invalid(message, causes=_causes(details), **context)
    if status == 429:
        return Throttled(message, retry_after_seconds=_retry_after(headers, details), **context)
    kinds: dict[int, type[KubeError]] = {401: Unauthorized, 404: NotFound, 409: Conflict, 410: Gone}
    kind = kinds.get(status, Unavailable if status >= 500 else KubeError)
    return kind(message, **context)


def _of_rbac(text: str) -> bool:
    """Whether an authorizer says so, of which the API server makes `... User "x" cannot list resource "pods" ...`."""
    return 'User "' in text and " cannot " in text


def _decode(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _causes(details: Any) -> tuple[tuple[str, str], ...]:
    causes = details.get("causes") if isinstance(details, dict) else None
    known = [cause for cause in causes or () if isinstance(cause, dict)]
    return tuple((str(cause.get("field", "")), str(cause.get("message", ""))) for cause in known)


def _retry_after(headers: Mapping[str, str], details: Any) -> float:
    hint = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    for candidate in (headers.get("Retry-After"), hint):
        try:
            return max(0.0, float(candidate))  # type: ignore[arg-type]  # None and dates are what the except is for
        except (TypeError, ValueError):
            continue
    return 1.0
