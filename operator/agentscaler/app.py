"""The operator as a process: builds the parts, runs them together, ends when one of them dies or is told to."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiohttp import web
from kubernetes import client
from kubernetes.config import ConfigException

from agentscaler import health, logs
from agentscaler.frameworks.registry import PRESETS
from agentscaler.kube import schema
from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.leadership import Leadership
from agentscaler.kube.lease import Election, own_namespace
from agentscaler.kube.permissions import Permissions
from agentscaler.kube.records import Records
from agentscaler.kube.resync import MISSING_CRD, CannotStart, Resync
from agentscaler.kube.store import Store
from agentscaler.kube.targets import Targets
from agentscaler.kube.watch import Watch
from agentscaler.loop import Loop
from agentscaler.settings import OperatorSettings
from agentscaler.signals.collector import Collector
from agentscaler.telemetry import Telemetry

logger = logging.getLogger(__name__)

NESTING = 12_000
"""The API server takes JSON of 10,000 levels: one such object must not make a LIST of all unreadable."""


class Died(Exception):  # noqa: N818 (it is what happened)
    """A part that has to run as long as the process has ended."""


async def run(settings: OperatorSettings) -> int:
    """Run the operator until SIGTERM, SIGINT or the death of a part.

    Args:
        settings: From `settings.load`.

    Returns:
        The exit code: 0 after a signal, 1 when it cannot start or a part has died; the log says which and the mend.
    """
    logs.configure(settings.log_format, settings.log_level)
    sys.setrecursionlimit(NESTING)
    stop = asyncio.Event()
    _listen(stop)
    try:
        async with AsyncExitStack() as stack:
            await Operator(settings, stack).run(stop)
    except (CannotStart, ConfigException) as error:
        logger.error("cannot start", extra={"error": str(error)})  # noqa: TRY400 (a mend for a person, not a crash)
        return 1
    except Died as error:
        logger.error("the process ends", extra={"error": str(error)})  # noqa: TRY400 (as above)
        return 1
    except Exception:
        logger.exception("a part has died; the process ends")
        return 1
    logger.info("stopped")
    return 0


class Operator:
    """All parts of one operator."""

    def __init__(self, settings: OperatorSettings, stack: AsyncExitStack) -> None:
        """Build the parts; nothing runs yet.

        Args:
            settings: From `settings.load`.
            stack: Closes what has to be closed.

        Raises:
            ConfigException: There is no way to the API server.
        """
        self._settings = settings
        self._stack = stack
        configuration = load_configuration(settings.kubeconfig)
        self._lease = _lease(settings)
        self._leadership = Leadership.without_end() if self._lease is None else Leadership()
        self._api = KubeApi(
            configuration,
            writes_per_second=settings.writes_per_second,
            write_burst=settings.write_burst,
            leadership=None if self._lease is None else self._leadership,
        )
        stack.callback(self._api.close)
        self._telemetry = Telemetry(object_metrics=settings.object_metrics)
        self._telemetry.follow_requests(self._api.requests, self._api.failures)
        self._store = Store()
        self._resync = Resync(
            self._api, self._store, settings.namespaces, settings.resync_seconds, self._telemetry.resynced
        )
        self._permissions = Permissions(self._api, settings.namespaces, self._lease)
        self._watch = Watch(self._store, configuration, settings.namespaces)
        self._collector = Collector(settings.servers, PRESETS)
        stack.push_async_callback(self._collector.close)
        self._records = Records()
        self._election = self._elections(configuration)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            CannotStart: The CRD or RBAC is missing.
            Died: The CRD was removed.
            ExceptionGroup: A part has died.
        """
        server = await self._serve()
        if not await _unless(stop, self._begin()):
            return
        try:
            await self._work(stop, server)
        except ExceptionGroup as error:
            if await self._resync.finds_no_crd():
                raise Died(f"{MISSING_CRD}; it was removed while the operator ran") from error
            raise

    async def _work(self, stop: asyncio.Event, server: web.AppRunner) -> None:
        stop_watch = asyncio.Event()
        # The loop comes first: at its end kopf cancels every task that is younger than itself.
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(_essential("control loop", self._act(stop), stop))
            resync = group.create_task(_essential("resync", self._resync.run(), stop))
            rights = group.create_task(_essential("permissions", self._permissions.run(), stop))
            await asyncio.sleep(0)
            group.create_task(_essential("watch", self._watch.run(stop_watch, partial(_listen, stop)), stop))
            await loop
            resync.cancel()
            rights.cancel()
            # Open connections are tasks that kopf would wait for.
            await server.cleanup()
            stop_watch.set()

    async def _begin(self) -> None:
        """Everything that has to hold before the first tick."""
        if lacking := self._collector.lacking():
            logger.error("not ready", extra={"mend": lacking})
        await self._resync.first()
        if denied := await self._permissions.check():
            raise CannotStart(denied)
        if outdated := await schema.require(self._api):
            raise CannotStart(outdated)

    def _elections(self, configuration: client.Configuration) -> Election | None:
        if self._lease is None:
            return None
        namespace, name = self._lease
        election = Election(
            configuration,
            self._leadership,
            namespace=namespace,
            name=name,
            requests=self._api.requests,
            denied=self._api.denied,
        )
        self._stack.callback(election.close)
        return election

    async def _act(self, stop: asyncio.Event) -> None:
        """Tick whenever this process is the one that acts."""
        if self._election is None:
            await self._lead(stop)
        else:
            await self._election.run(stop, partial(self._lead, stop))

    async def _lead(self, stop: asyncio.Event) -> None:
        """One term, with nothing remembered from the one before: another leader may have acted meanwhile."""
        loop = Loop(
            store=self._store,
            targets=Targets(self._api, self._settings.namespaces),
            collector=self._collector,
            api=self._api,
            records=self._records,
            telemetry=self._telemetry,
            tick_seconds=self._settings.tick_seconds,
        )
        self._telemetry.leads(is_leader=True)
        try:
            await _essential("control loop", loop.run(stop), stop)
        finally:
            self._telemetry.leads(is_leader=False)

    def _unready(self) -> str:
        """Why the operator is not ready; empty when it is."""
        return self._resync.failure or self._watch.missing or self._permissions.lacking or self._collector.lacking()

    async def _serve(self) -> web.AppRunner:
        probes = health.Probes(
            self._telemetry,
            tick_seconds=self._settings.tick_seconds,
            resync_seconds=self._settings.resync_seconds,
            tried_at=lambda: self._resync.tried_at,
            unready=self._unready,
            standing_by=lambda: not self._leadership.is_held,
        )
        server = web.AppRunner(health.application(self._telemetry, probes, self._records), access_log=None)
        await server.setup()
        self._stack.push_async_callback(server.cleanup)
        try:
            await web.TCPSite(server, self._settings.health_address, self._settings.health_port).start()
        except OSError as error:
            raise CannotStart(f"healthPort {self._settings.health_port}: {error.strerror or error}") from error
        logger.info("serving", extra={"port": server.addresses[0][1]})
        return server


def _lease(settings: OperatorSettings) -> tuple[str, str] | None:
    """Namespace and name of the Lease; None: the process acts alone."""
    if not settings.leader_election:
        return None
    namespace = settings.lease_namespace or own_namespace()
    if not namespace:
        raise CannotStart("leaderElection: set leaseNamespace; outside of a cluster there is no namespace of one's own")
    return namespace, settings.lease_name


def _listen(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _essential(name: str, work: Awaitable[None], stop: asyncio.Event) -> None:
    """Run a part that may only end after `stop`."""
    await work
    if not stop.is_set():
        raise Died(f"{name} ended by itself")


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done before `stop` was set; else it is cancelled."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        await working
        return True
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return False
