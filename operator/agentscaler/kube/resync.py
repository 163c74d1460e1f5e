"""Makes the store equal to a LIST: at start, which is the barrier before the first tick, and every few minutes.

kopf never reports objects that were deleted while its watch was down: without this, ghosts would be tuned for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import Forbidden, KubeError, NotFound, Unauthorized
from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from agentscaler.kube.store import Store

_LONGEST_PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


MISSING_CRD: Final = (
    "the API server does not know AgentDeployments: install the CRD with "
    "`agentscaler crds | kubectl apply --server-side -f -` or `kubectl apply --server-side -f crds/`"
)


class CannotStart(Exception):  # noqa: N818 (it is the sentence that a person reads)
    """The operator has nothing to work on until a person acts; the message says what to do."""


class Resync:
    """Keeps the store honest.

    Attributes:
        tried_at: Monotonic time of the last attempt, whatever came of it.
        failure: Why the last attempt failed; empty when it did not.
    """

    def __init__(
        self,
        api: KubeApi,
        store: Store,
        namespaces: Collection[str] = (),
        every_seconds: float = 300,
        done: Callable[[int], None] = lambda _ghosts: None,
    ) -> None:
        """Read nothing yet.

        Args:
            api: The API server.
            store: To be kept honest.
            namespaces: Where the operator works; empty: everywhere.
            every_seconds: Pace, give or take a tenth, so that several operators do not read in step.
            done: Told after each success how many ghosts were dropped.
        """
        self._api = api
        self._store = store
        self._namespaces = tuple(namespaces) or ("",)
        self._every_seconds = every_seconds
        self._done = done
        self.tried_at = time.monotonic()
        self.failure = "the first LIST has not come yet"

    async def once(self) -> None:
        """One LIST of everything.

        Raises:
            KubeError: It cannot be read; the store is as before.
        """
        try:
            # Up to date, not from the cache: an older answer would bring ghosts back.
            listings = [
                await self._api.list(AGENT_DEPLOYMENTS.path(namespace), resource_version="", keep=_slim)
                for namespace in self._namespaces
            ]
        except KubeError as error:
            self.failure = str(error)
            raise
        finally:
            self.tried_at = time.monotonic()
        bodies = [body for listing in listings for body in listing]
        ghosts = self._store.resync(bodies, min((listing.list_version for listing in listings), key=int))
        self.failure = ""
        self._done(ghosts)
        if ghosts:
            logger.info("resync dropped ghosts", extra={"ghosts": ghosts})

    async def first(self) -> None:
        """Read until it works; wait where only time can mend it.

        Raises:
            CannotStart: The CRD is missing, or RBAC does not let us.
        """
        pause_seconds = 1.0
        while True:
            try:
                await self.once()
            except NotFound as error:
                raise CannotStart(MISSING_CRD) from error
            except (Forbidden, Unauthorized) as error:
                raise CannotStart(str(error)) from error
            except KubeError as error:
                logger.warning(
                    "the API server does not answer; trying again",
                    extra={"error": str(error), "pause_seconds": pause_seconds},
                )
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            else:
                logger.info("synced", extra={"objects": len(self._store)})
                return

    async def finds_no_crd(self) -> bool:
        """Whether the API server says that there are no AgentDeployments."""
        try:
            await self.once()
        except NotFound:
            return True
        except KubeError:
            return False
        return False

    async def run(self) -> None:
        """Read again and again; a failure is logged and mended by the next time, which then comes sooner."""
        while True:
            pace = self._every_seconds if not self.failure else min(self._every_seconds, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pace * random.uniform(0.9, 1.1))  # noqa: S311 (spreads load, guards nothing)
            try:
                await self.once()
            except KubeError as error:
                logger.warning("resync failed; the store may hold ghosts until it works", extra={"error": str(error)})


def _slim(body: dict[str, Any]) -> dict[str, Any]:
    body["metadata"].pop("managedFields", None)
    return body
