"""Why a query has no answer. Messages name no number that changes from tick to tick: they stand in conditions."""

from __future__ import annotations

from agentscaler.api.conditions import Reason


class QueryError(Exception):
    """A query failed."""

    reason = Reason.QUERY_FAILED
    of_server = True
    """Whether all other queries to the server fail for the same cause."""
    retry_after_seconds: float | None = None


class Unreachable(QueryError):  # noqa: N818 (the names say what happened, as in httpx)
    """No connection, or it broke: refused, reset, TLS, name resolution."""


class NotConfigured(QueryError):  # noqa: N818 (see Unreachable)
    """Not asked: the administrator has not said how, or a file of the server is missing. No secret is in the text."""

    reason = Reason.SERVER_NOT_CONFIGURED


class TimedOut(QueryError):  # noqa: N818 (see Unreachable)
    """No whole answer in time; one query may be too heavy where others are not."""

    of_server = False


class Refused(QueryError):  # noqa: N818 (see Unreachable)
    """A 4xx other than 429: Prometheus understood and says no. `status` is the HTTP status."""

    reason = Reason.QUERY_REFUSED

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        self.of_server = status not in {400, 422}


class ServerError(QueryError):
    """A 5xx."""

    of_server = False


class Throttled(QueryError):  # noqa: N818 (see Unreachable)
    """A 429; `retry_after_seconds` where the server says it."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Garbage(QueryError):  # noqa: N818 (see Unreachable)
    """Status 200, but not the answer of a Prometheus."""

    of_server = False


class TooLarge(QueryError):  # noqa: N818 (see Unreachable)
    """The answer exceeds the server's `max_response_bytes`."""

    of_server = False


class TooManyQueries(QueryError):  # noqa: N818 (see Unreachable)
    """Not asked: the queries of all objects together exceed what one tick may send."""

    reason = Reason.TOO_MANY_QUERIES
    of_server = False


class InvalidOverride(QueryError):  # noqa: N818 (see Unreachable)
    """Not asked: an override is no selector of series, or of the wrong kind."""

    reason = Reason.QUERY_REFUSED
    of_server = False


class InvalidDemand(QueryError):  # noqa: N818 (see Unreachable)
    """Not asked: there is no demand template of that name, or the parameters do not fit it."""

    reason = Reason.QUERY_REFUSED
    of_server = False


class UnknownServer(QueryError):  # noqa: N818 (see Unreachable)
    """Not asked: the object names a server that the administrator did not configure."""

    reason = Reason.UNKNOWN_PROMETHEUS
