"""Runs kopf as one part among others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, cast

import kopf
from kopf._cogs.structs.references import Insights  # kopf takes one as a public argument, and exports no name for it
from kubernetes import client

from agentscaler.kube import handlers
from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from agentscaler.kube.store import Store


class WatchFailed(Exception):  # noqa: N818 (it is what happened)
    """There is no watch, and kopf would not try again by itself."""


class Watch:
    """The watch of AgentDeployments.

    Attributes:
        missing: Why there is no watch; empty once kopf has found what to watch.
    """

    def __init__(self, store: Store, configuration: client.Configuration, namespaces: Collection[str] = ()) -> None:
        """Watch nothing yet.

        Args:
            store: Where events go.
            configuration: From `load_configuration`.
            namespaces: Where the operator works; empty: everywhere.
        """
        self._store = store
        self._configuration = configuration
        self._namespaces = tuple(namespaces)
        self.missing = "the watch has not begun yet"

    async def run(self, stop: asyncio.Event, spawned: Callable[[], None]) -> None:
        """Watch until `stop` is set.

        Args:
            stop: Ends it in an orderly way.
            spawned: Called once kopf has taken over the signal handlers, to take them back.

        Raises:
            ExceptionGroup: The watch has failed for good.
        """
        older = asyncio.all_tasks()
        insights = Insights()
        tasks = await kopf.spawn_tasks(
            registry=handlers.registry(self._store, self._configuration),
            settings=handlers.settings(),
            insights=insights,
            stop_flag=stop,
            # Without one kopf asks for the user's name, which a numeric user of a container does not have.
            identity=cast("Any", "agentscaler"),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        spawned()
        async with asyncio.TaskGroup() as group:
            checking = group.create_task(self._check(insights))
            # kopf waits at its end for tasks that are younger than itself.
            await group.create_task(kopf.run_tasks(tasks, ignored={*older, checking}))
            checking.cancel()

    async def _check(self, insights: Insights) -> None:
        """Kopf looks only once for what to watch, and an API server that has just started may not know it yet."""
        await insights.ready_resources.wait()
        if not insights.watched_resources:
            raise WatchFailed(f"the API server's discovery does not list {AGENT_DEPLOYMENTS.plural}")
        self.missing = ""
