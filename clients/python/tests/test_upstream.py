import asyncio
from http.client import IncompleteRead
from urllib.request import urlopen

import pytest
from aiohttp import (
    ClientConnectorError,
    ClientPayloadError,
    ClientResponseError,
    ClientSession,
    RequestInfo,
    ServerDisconnectedError,
    ServerTimeoutError,
)
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from requests import HTTPError, ReadTimeout, Response, get
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


async def test_an_answer_cut_short_is_the_upstreams_failure() -> None:
    async def answer_a_part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na part")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer_a_part, "127.0.0.1", 0) as server, ClientSession() as session:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ClientPayloadError) as of_aiohttp:
            await (await session.get(url)).read()
        with pytest.raises(requests_exceptions.ChunkedEncodingError) as of_requests:
            await asyncio.to_thread(get, url, timeout=5)
        with pytest.raises(IncompleteRead) as of_the_standard_library:
            await asyncio.to_thread(lambda: urlopen(url, timeout=5).read())
    for caught in (of_aiohttp, of_requests, of_the_standard_library):
        assert classify_error(caught.value) is UpstreamErrorKind.SERVER_ERROR
