"""The secrets of a server: files that rotate, may be missing, and whose content is told to nobody but the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from agentscaler.signals.errors import NotConfigured
from agentscaler.signals.servers import Server

Version = tuple[tuple[int, int, int], ...]
"""Changes when one of the files does."""


def lacking(server: Server) -> str:
    """What the administrator has to set before the server can be asked, for a condition; empty when nothing is."""
    if not server.url:
        return f"prometheus.{server.name}.url is not set: write http://host:port"
    for field, path, read in _files(server):
        try:
            if path:
                read(path)
        except NotConfigured as error:
            return f"prometheus.{server.name}.{field}: {error}"
    return ""


def tls_version(server: Server) -> Version:
    """Of the files that are read only when a connection is made.

    Raises:
        NotConfigured: One of them is missing.
    """
    files = (server.ca_file, server.cert_file, server.key_file)
    try:
        found = [Path(path).stat() for path in files if path]
    except OSError as error:
        raise NotConfigured(f"file {error.filename} cannot be read: {error.strerror}") from error
    return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


class Credentials(AuthBase):
    """Reads the files for each request."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with everything that the server wants to see.

        Raises:
            NotConfigured: A file is missing or holds nothing that can be sent.
        """
        server = self._server
        for name, path in server.header_files:
            request.headers[name] = _header(path)
        if server.bearer_token_file:
            request.headers["Authorization"] = f"Bearer {_header(server.bearer_token_file)}"
        elif server.password_file:
            user = _line(server.username_file) if server.username_file else server.username or ""
            # As bytes: requests would take text for Latin-1.
            HTTPBasicAuth(user.encode(), _line(server.password_file).encode())(request)
        return request


def _files(server: Server) -> Iterator[tuple[str, str | None, Callable[[str], object]]]:
    """Each file that is read, with how it is read."""
    yield "bearerTokenFile", server.bearer_token_file, _header
    yield "usernameFile", server.username_file, _line
    yield "passwordFile", server.password_file, _line
    yield from ((f"headerFiles.{name}", path, _header) for name, path in server.header_files)
    yield "caFile", server.ca_file, _line
    yield "certFile", server.cert_file, _line
    yield "keyFile", server.key_file, _line


def _header(path: str) -> str:
    text = _line(path).strip()
    if not (text and text.isascii() and text.isprintable()):
        raise NotConfigured(f"file {path} holds no text that a header can carry: put one line of ASCII there")
    return text


def _line(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        mend = "add the Secret or its key, or correct the path"
        raise NotConfigured(f"file {path} cannot be read ({error.strerror}): {mend}") from error
    except UnicodeDecodeError:
        # Without its cause: that one carries the content.
        raise NotConfigured(f"file {path} is no text: put the value itself there") from None
    if not text:
        raise NotConfigured(f"file {path} is empty: put the value into the Secret")
    return text
