"""What the outside may ask of the operator: /livez, /readyz, /metrics and /records."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from agentscaler.telemetry import Telemetry


class RecordSource(Protocol):
    """Where full decision records are kept."""

    def of(self, namespace: str, name: str) -> Sequence[Mapping[str, Any]]:
        """The records of one object, oldest first, as plain JSON values."""


class Probes:
    """Judges whether the operator lives and is ready.

    It lives while ticks end and LISTs are tried: an API server that is away is no reason to restart. It is ready once
    the store has been synced, and while it may read what it needs.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        tick_seconds: float,
        resync_seconds: float,
        tried_at: Callable[[], float],
        unready: Callable[[], str],
        standing_by: Callable[[], bool] = lambda: False,
    ) -> None:
        """Judge nothing yet.

        Args:
            telemetry: Knows when the last tick ended.
            tick_seconds: Pace of ticks.
            resync_seconds: Pace of LISTs.
            tried_at: Monotonic time of the last LIST, successful or not.
            unready: Why the operator is not ready; empty when it is.
            standing_by: Whether another operator may act now, and this one does not.
        """
        self._telemetry = telemetry
        self._tick_patience_seconds = max(60.0, 6 * tick_seconds)
        self._resync_patience_seconds = 3 * resync_seconds + 60.0
        self._tried_at = tried_at
        self._unready = unready
        self.standing_by = standing_by
        self._started_at = time.monotonic()

    def dead(self) -> str:
        """Why the operator should be restarted; empty when all is well."""
        now = time.monotonic()
        if now - self._tried_at() > self._resync_patience_seconds:
            return "resyncs have stopped"
        if not self._telemetry.ticked_at:
            # Nothing ticks before the first LIST, and that may wait long for an API server.
            return ""
        return "ticks have stopped" if now - self._telemetry.ticked_at > self._tick_patience_seconds else ""

    def unready(self) -> str:
        """Why the operator is not ready; empty when it is."""
        return self._unready()


def application(telemetry: Telemetry, probes: Probes, records: RecordSource) -> web.Application:
    """The HTTP server's routes.

    Args:
        telemetry: For /metrics.
        probes: For /livez and /readyz.
        records: For /records.
    """

    async def livez(_: web.Request) -> web.Response:
        return _verdict(probes.dead())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(probes.unready(), "ok, standing by" if probes.standing_by() else "ok")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=telemetry.text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def kept(request: web.Request) -> web.Response:
        namespace, name = request.query.get("namespace", ""), request.query.get("name", "")
        if not namespace or not name:
            return web.json_response({"error": "say which object: /records?namespace=...&name=..."}, status=400)
        if probes.standing_by():
            return web.json_response({"error": "this operator stands by: ask the one that leads"}, status=503)
        return web.json_response({"records": list(records.of(namespace, name))})

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            web.get("/records", kept),
        ]
    )
    return app


def _verdict(problem: str, well: str = "ok") -> web.Response:
    return web.Response(text=problem or well, status=503 if problem else 200)
