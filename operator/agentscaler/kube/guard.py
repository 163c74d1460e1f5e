"""Connections that ask once more, just before each part of a request leaves.

Making a connection takes time, and so does getting from the headers to the body. A process may be paused in between for
longer than its Lease lasts; a request whose body never comes writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_sending = threading.local()


@contextmanager
def checked(check: Callable[[], object] | None) -> Iterator[None]:
    """Have requests of this thread ask `check` before they leave; it raises when they may not."""
    _sending.check = check
    try:
        yield
    finally:
        _sending.check = None


def _ask() -> None:
    check = getattr(_sending, "check", None)
    if check is not None:
        check()


class _Asks:
    def send(self: Any, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _ask()
        super().send(data)  # type: ignore[misc]  # of the connection that this is mixed into


class _Plain(_Asks, HTTPConnection):
    pass


class _Secure(_Asks, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


def install(manager: urllib3.PoolManager) -> None:
    """Have a pool manager make such connections; one for a SOCKS proxy keeps its own."""
    if manager.pool_classes_by_scheme is urllib3.poolmanager.pool_classes_by_scheme:
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
