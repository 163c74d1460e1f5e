"""Kubernetes events on AgentDeployments: moves and transitions, each told once."""

from __future__ import annotations

import logging
import os
import socket
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from agentscaler.kube.api import KubeApi
from agentscaler.kube.case import Event
from agentscaler.kube.errors import KubeError
from agentscaler.kube.paths import Resource
from agentscaler.kube.store import Record
from agentscaler.kube.workload import MANAGER, Body

QUIET_SECONDS: Final = 600.0
"""The same reason and note on the same object is told at most this often."""
_EVENTS: Final = Resource("events.k8s.io", "v1", "events")
_MOST_REMEMBERED: Final = 10_000
_LONGEST_NOTE: Final = 1000  # the API server's limit is 1024 bytes

log = logging.getLogger(__name__)


class Events:
    """Writes events, at best effort: one that is refused disturbs nothing."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._told: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._instance = f"{socket.gethostname()}-{os.getpid()}"[:128]

    async def tell(self, record: Record, event: Event, now: float) -> bool:
        """Write the event unless it was told lately; whether it was written.

        Args:
            record: The object that it is about.
            event: What there is to tell.
            now: Unix seconds.
        """
        key = (record.uid, str(event.reason), event.note)
        if 0 <= now - self._told.get(key, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._told[key] = now
        self._told.move_to_end(key)
        while len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)
        try:
            path = _EVENTS.path(record.namespace)
            await self._api.create(path, self._body(record, event, now), field_manager=MANAGER)
        except KubeError as error:
            log.warning("event not written: %s", error, extra={"namespace": record.namespace, "object": record.name})
            return False
        return True

    def _body(self, record: Record, event: Event, now: float) -> Body:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{record.name}.{uuid4().hex[:16]}", "namespace": record.namespace},
            "eventTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": "agentscaler.dev/operator",
            "reportingInstance": self._instance,
            "action": event.action,
            "reason": str(event.reason),
            "note": event.note.encode()[:_LONGEST_NOTE].decode(errors="ignore"),
            "type": "Warning" if event.warning else "Normal",
            "regarding": {
                "apiVersion": "agentscaler.dev/v1alpha1",
                "kind": "AgentDeployment",
                "name": record.name,
                "namespace": record.namespace,
                "uid": record.uid,
                "resourceVersion": record.resource_version,
            },
        }
