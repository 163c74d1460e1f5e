import pytest
from aiohttp import ClientConnectorError, ClientResponseError, RequestInfo, ServerDisconnectedError, ServerTimeoutError
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from requests import HTTPError, ReadTimeout, Response
from requests import exceptions as requests_exceptions
from yarl import URL

from agentscaler_runtime import UpstreamErrorKind, classify_error


def aiohttp_error(status: int) -> ClientResponseError:
    url = URL("http://upstream")
    info = RequestInfo(url, "POST", CIMultiDictProxy(CIMultiDict()), url)
    return ClientResponseError(info, (), status=status)


def requests_error(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (aiohttp_error(429), UpstreamErrorKind.RATE_LIMITED),
        (aiohttp_error(503), UpstreamErrorKind.SERVER_ERROR),
        (aiohttp_error(400), None),
        (requests_error(429), UpstreamErrorKind.RATE_LIMITED),
        (requests_error(500), UpstreamErrorKind.SERVER_ERROR),
        (requests_error(404), None),
        (TimeoutError(), UpstreamErrorKind.TIMEOUT),
        (ServerTimeoutError(), UpstreamErrorKind.TIMEOUT),
        (ReadTimeout(), UpstreamErrorKind.TIMEOUT),
        (ServerDisconnectedError(), UpstreamErrorKind.SERVER_ERROR),
        (
            ClientConnectorError(
                ConnectionKey(
                    "upstream", 80, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
                ),
                OSError("refused"),
            ),
            UpstreamErrorKind.SERVER_ERROR,
        ),
        (ConnectionResetError(), UpstreamErrorKind.SERVER_ERROR),
        (requests_exceptions.ConnectionError(), UpstreamErrorKind.SERVER_ERROR),
        (OSError("Multiple exceptions"), UpstreamErrorKind.SERVER_ERROR),
        (FileNotFoundError(), None),
        (ValueError(), None),
    ],
    ids=repr,
)
def test_errors_are_told_apart(error: Exception, kind: UpstreamErrorKind | None) -> None:
    assert classify_error(error) is kind
