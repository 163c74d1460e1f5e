"""kopf as a watcher: each event goes into the store, and nothing else happens here.

No timer, daemon, index, finalizer or change handler: each of them costs CPU for ever or writes to every object.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import kopf
from kubernetes import client

from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from agentscaler.kube.store import Store


class NullDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-handled state: nobody asks kopf what has changed."""

    def build(self, **_: Any) -> Any:
        """Nothing to compare with, and no deep copy of the object."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing was kept."""

    def store(self, **_: Any) -> None:
        """Keep nothing: an annotation would be a write on each object."""


class NullProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers: there are none that could be half done."""

    def fetch(self, **_: Any) -> None:
        """Nothing was kept."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""

    def purge(self, **_: Any) -> None:
        """There is nothing to remove."""

    def touch(self, **_: Any) -> None:
        """Wake nobody up."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing of ours in it."""
        return essence


def registry(store: Store, configuration: client.Configuration) -> kopf.OperatorRegistry:
    """The handlers, bound to a store and to the credentials that all of the operator uses.

    Args:
        store: Where events go.
        configuration: From `load_configuration`; the token is read anew whenever kopf asks.
    """
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        scheme, _space, token = (configuration.get_api_key_with_prefix("BearerToken") or "").partition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            username=configuration.username or None,
            password=configuration.password or None,
            scheme=scheme or None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )

    group, version, plural = AGENT_DEPLOYMENTS.group, AGENT_DEPLOYMENTS.version, AGENT_DEPLOYMENTS.plural

    @kopf.on.event(group, version, plural, registry=handlers)  # type: ignore[arg-type]  # kopf's protocol wants every keyword spelt out
    async def observe(event: dict[str, Any], **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            store.delete(body["metadata"]["uid"])
        else:
            store.put(body)

    return handlers


class Backoffs:
    """Pauses between attempts to reach the API server, in seconds, without end: an outage is no reason to die."""

    def __iter__(self) -> Iterator[float]:
        """Rising to ten seconds."""
        yield from (1.0, 1.0, 2.0, 3.0, 5.0, 8.0)
        yield from repeat(10.0)


def settings() -> kopf.OperatorSettings:
    """Settings of kopf: no writes, no scans, no peering, small pages, no task per idle object."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.persistence.diffbase_storage = NullDiffBase()
    chosen.persistence.progress_storage = NullProgress()
    chosen.queueing.worker_limit = 100
    chosen.queueing.idle_timeout = 0.05
    chosen.watching.chunk_size = 500
    chosen.watching.server_timeout = 300
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    chosen.networking.error_backoffs = Backoffs()
    return chosen
