"""A Prometheus that can be made slow, refusing, failing or senseless: a proxy in front of a real one."""

from __future__ import annotations

import threading
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

import requests

LONGEST_SECONDS = 10.0


class Fault(StrEnum):
    """What is wrong with answers; each is also the first part of the path under which the server is reached."""

    SLOW = "slow"
    REFUSING = "refusing"
    FAILING = "failing"
    GARBAGE = "garbage"


class Proxy:
    """Passes queries on; `break_all()` breaks every path in its own way, `mend()` ends that; a context manager.

    Args:
        url: Of the real server.
    """

    def __init__(self, url: str) -> None:
        self.well = threading.Event()
        self.well.set()

        class Handler(_Handler):
            well = self.well
            target = url

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def url(self, fault: Fault) -> str:
        """The server that shows this fault while all is broken."""
        return f"http://127.0.0.1:{self._server.server_port}/{fault}"

    def break_all(self) -> None:
        self.well.clear()

    def mend(self) -> None:
        self.well.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.well.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    well: ClassVar[threading.Event]
    target: ClassVar[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, fault, path = self.path.split("/", 2)
        if not self.well.is_set():
            match Fault(fault):
                case Fault.SLOW:
                    self.well.wait(LONGEST_SECONDS)
                case Fault.REFUSING:
                    return self._answer(403, b"no")
                case Fault.FAILING:
                    return self._answer(503, b"not now")
                case Fault.GARBAGE:
                    return self._answer(200, b'{"status":"success","data":{"resultType":"vector","result":[{"a')
        try:
            answer = requests.post(
                f"{self.target}/{path}",
                data=body,
                headers={"Content-Type": self.headers["Content-Type"]},
                timeout=LONGEST_SECONDS,
            )
        except requests.ConnectionError:
            return self._answer(502, b"Prometheus is away")
        return self._answer(answer.status_code, answer.content)

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # whoever asked has given up

    def log_message(self, *_: object) -> None:
        """Tests tell what went wrong themselves."""
