"""Leader election by a Lease, as client-go does it: at most one of several operators acts.

A holder counts its Lease from before its own write was sent; a candidate counts from when it saw that write. Both use
their own clock for it and nobody else's timestamps, so that skewed clocks do no harm.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

from kubernetes import client

from agentscaler.kube.connection import Body, Connection, Request
from agentscaler.kube.errors import Conflict, Forbidden, KubeError, NotFound
from agentscaler.kube.leadership import Leadership, boot_seconds
from agentscaler.kube.paths import LEASES, Access

LEASE_SECONDS: Final = 8.0
"""For so long a holder that shows no sign of life is waited for."""
RENEW_DEADLINE_SECONDS: Final = 5.0
"""After so long without a renewal the holder gives up by itself; what is left is for writes on their way."""
RETRY_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = (1.0, 1.5)  # (connect, read): two attempts fit into the renew deadline
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

logger = logging.getLogger(__name__)

Clock = Callable[[], float]


class _Result(Enum):
    """What came of one attempt to get or keep the Lease."""

    HELD = auto()
    TAKEN = auto()
    """Somebody else holds it, or may still believe so."""
    FAILED = auto()
    """Nobody can tell."""


def own_namespace() -> str:
    """Namespace of the pod that this process runs in; empty outside of a cluster."""
    try:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def new_identity() -> str:
    """A name that no other process has, and no restart of this one: the pod's name and something random."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"


class Election:
    """Gets the Lease, leads while it is held, and stands by again when it is lost."""

    def __init__(
        self,
        configuration: client.Configuration,
        leadership: Leadership,
        *,
        namespace: str,
        name: str,
        requests: Counter[tuple[str, str]] | None = None,
        denied: set[Access] | None = None,
        clock: Clock = boot_seconds,
    ) -> None:
        """Connect when `run` begins.

        Args:
            configuration: From `load_configuration`.
            leadership: Opened and closed here; nobody else does.
            namespace: Of the Lease.
            name: Of the Lease.
            requests: Counts what is sent, by (verb, resource).
            denied: Takes what RBAC refuses.
            clock: That of `leadership`.
        """
        self.identity = new_identity()
        self._leadership = leadership
        self._collection = LEASES.path(namespace)
        self._path = LEASES.path(namespace, name)
        self._name = name
        self._clock = clock
        self._requests = requests if requests is not None else Counter()
        self._denied = denied if denied is not None else set()
        # A connection and a thread of its own: renewals do not queue behind a thousand writes.
        self._connection = Connection(configuration, connections=1, timeout_seconds=_TIMEOUT_SECONDS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lease")
        self._own: Body | None = None
        self._renewed_at = 0.0
        self._seen: Body = {}
        self._seen_at = 0.0
        self._told = ""

    async def run(self, stop: asyncio.Event, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Stand by, lead, stand by, until `stop` is set; then the Lease is released.

        Args:
            stop: Ends it; `lead` has to heed it too, and has the Lease until it has ended.
            lead: What a leader does. It is cancelled when the Lease is lost, and called anew for each term.
        """
        try:
            while not stop.is_set():
                if await self._attempt() is _Result.HELD:
                    await self._term(lead)
                else:
                    await _wait(stop, RETRY_SECONDS * random.uniform(1.0, 1.2))  # noqa: S311 (spreads load, guards nothing)
        finally:
            await self._release()

    def close(self) -> None:
        """Close the connection."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    async def _term(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._leadership.begin(self._renewed_at + LEASE_SECONDS)
        logger.info("leading", extra={"lease": self._path, "identity": self.identity})
        leading = asyncio.create_task(lead())
        try:
            lost = await self._keep(leading)
            # From here on no write passes, whatever still runs.
            self._leadership.end()
            if not lost:
                await leading
                return
            logger.warning("the Lease is lost; standing by", extra={"lease": self._path, "why": lost})
        finally:
            self._leadership.end()
            leading.cancel()
            # What was begun in this term has ended before the next one: its own failure is not hidden.
            (ended,) = await asyncio.gather(leading, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended

    async def _keep(self, leading: asyncio.Task[None]) -> str:
        """Renew until `leading` has ended; else the reason why the Lease is lost."""
        while True:
            await asyncio.wait({leading}, timeout=RETRY_SECONDS)
            if leading.done():
                return ""
            left = self._renewed_at + RENEW_DEADLINE_SECONDS - self._clock()
            if left <= 0:
                return f"no renewal within {RENEW_DEADLINE_SECONDS:g} s"
            try:
                result = await asyncio.wait_for(self._attempt(), left)
            except TimeoutError:
                return f"no renewal within {RENEW_DEADLINE_SECONDS:g} s"
            if result is _Result.TAKEN:
                return "somebody else holds it"
            if result is _Result.HELD:
                self._leadership.extend(self._renewed_at + LEASE_SECONDS)

    async def _attempt(self) -> _Result:
        """Get or renew the Lease, if it is ours or free."""
        began = self._clock()
        lease, self._own = self._own, None
        try:
            if lease is None:
                lease = await self._read()
                if not self._is_free(lease):
                    return _Result.TAKEN
            self._own = await self._write(lease)
        except Conflict:
            return _Result.FAILED  # somebody was faster: the next attempt sees who
        except KubeError as error:
            self._tell(str(error))
            return _Result.FAILED
        self._renewed_at = began
        self._told = ""
        return _Result.HELD

    def _is_free(self, lease: Body | None) -> bool:
        """Whether it may be taken: released, ours, or without a sign of life for as long as it says."""
        now = self._clock()
        if lease is not None:
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity", "") in {"", self.identity}:
                return True
            if spec != self._seen:
                self._seen, self._seen_at = spec, now
        elif not self._seen:
            return True  # there never was one
        # One that was deleted by hand does not stop its holder before its time is over.
        return now - self._seen_at >= float(self._seen.get("leaseDurationSeconds") or LEASE_SECONDS)

    async def _read(self) -> Body | None:
        try:
            return await self._send(Request("GET", self._path))
        except NotFound:
            return None

    async def _write(self, lease: Body | None, holder: str | None = None) -> Body:
        """Write the Lease over the very version that was read."""
        before = (lease or {}).get("spec") or {}
        holder = self.identity if holder is None else holder
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changes = before.get("holderIdentity", "") != holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "acquireTime": now if changes else before.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (changes and bool(holder) and bool(before)),
        }
        if lease is None:
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._name}}
            return await self._send(Request("POST", self._collection, {}, {**body, "spec": spec}, "application/json"))
        return await self._send(Request("PUT", self._path, {}, {**lease, "spec": spec}, "application/json"))

    async def _release(self) -> None:
        """Let a standby take it at once; when that fails it waits for the Lease to end."""
        if self._own is None:
            return
        try:
            await self._write(self._own, "")
        except KubeError as error:
            logger.warning("the Lease could not be released", extra={"lease": self._path, "error": str(error)})
        else:
            logger.info("the Lease is released", extra={"lease": self._path})
        self._own = None

    async def _send(self, request: Request) -> Body:
        asked = request.access
        self._requests[asked.verb, asked.kind] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.call, request)
        except Forbidden:
            self._denied.add(replace(asked, name=""))
            raise

    def _tell(self, error: str) -> None:
        """Log a failure once, until it changes or passes."""
        if error != self._told:
            self._told = error
            logger.warning("the Lease cannot be read or written; trying again", extra={"error": error})


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
