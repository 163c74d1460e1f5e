"""What an exception says about the upstream."""

from enum import StrEnum


class UpstreamErrorKind(StrEnum):
    """How an upstream call failed; the label `kind` of `agent_upstream_errors_total`."""

    RATE_LIMITED = "429"
    SERVER_ERROR = "5xx"
    TIMEOUT = "timeout"


_CONNECTION_LOST = {
    "ConnectionError",  # the standard library; requests
    "gaierror",
    "SSLError",
    "URLError",
    "ClientConnectionError",  # aiohttp
    "TransportError",  # httpx
    "APIConnectionError",  # the OpenAI and Anthropic clients
    # Cut in the middle of the answer, which these clients do not call a connection error:
    "ClientPayloadError",  # aiohttp
    "ChunkedEncodingError",  # requests
    "IncompleteRead",  # http.client
}


def classify_error(error: Exception) -> UpstreamErrorKind | None:
    """Sorts the exceptions of the usual HTTP clients and of the standard library.

    An HTTP status is looked for in `status` (aiohttp), `status_code` (the OpenAI and Anthropic clients) and
    `response.status_code` (httpx, requests).

    Returns:
        The kind; None for what says nothing about the upstream's health: any other status, any other exception.
    """
    response = getattr(error, "response", None)
    for status in (
        getattr(error, "status", None),
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
    ):
        if isinstance(status, int) and status >= 400:
            return _kind_of_status(status)
    # Most clients have time-outs and lost connections of their own, which inherit nothing from the standard library.
    names = {each.__name__ for each in type(error).__mro__}
    if isinstance(error, TimeoutError) or names & {"TimeoutException", "Timeout", "APITimeoutError"}:
        return UpstreamErrorKind.TIMEOUT
    # asyncio raises a plain OSError for an unreachable host; FileNotFoundError and its like are not the upstream's.
    if type(error) is OSError or names & _CONNECTION_LOST:
        return UpstreamErrorKind.SERVER_ERROR
    return None


def _kind_of_status(status: int) -> UpstreamErrorKind | None:
    if status == 429:
        return UpstreamErrorKind.RATE_LIMITED
    return UpstreamErrorKind.SERVER_ERROR if status >= 500 else None
