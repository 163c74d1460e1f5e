"""The settings files that users start from: read by LISTs at a slow pace, and at once where one is not known yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from agentscaler.frameworks import choices
from agentscaler.frameworks.registry import PRESETS
from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import KubeError
from agentscaler.kube.live import BaseFacts
from agentscaler.kube.native import base_facts
from agentscaler.kube.paths import CONFIG_MAPS
from agentscaler.kube.store import Record
from agentscaler.kube.workload import settings_name

PACE_SECONDS: Final = 15.0
_NAMESPACES_ONE_BY_ONE: Final = 10

Key = tuple[str, str]
"""Namespace and name."""


class Bases:
    """ConfigMaps of users. They carry no label of ours, so that only a LIST of all ConfigMaps shows many at once."""

    def __init__(self, api: KubeApi, *, clusterwide: bool) -> None:
        """Read nothing yet.

        Args:
            api: The API server.
            clusterwide: Whether one LIST may bring those of all namespaces.
        """
        self._api = api
        self._clusterwide = clusterwide
        self._known: dict[Key, Mapping[str, Any] | None] = {}
        """Contents; None: there is no such ConfigMap."""
        self._read_at = float("-inf")
        self._failures: dict[str, str] = {}
        """Why the last LIST of a namespace (empty: of all) failed."""

    async def refresh(self, records: Iterable[Record], clock: float) -> None:
        """Read what is due. A failed read keeps what was known.

        Args:
            records: All objects.
            clock: Monotonic seconds.
        """
        wanted = {key for record in records if (key := _key(record)) is not None}
        self._known = {key: data for key, data in self._known.items() if key in wanted}
        if not wanted or (clock - self._read_at < PACE_SECONDS and wanted <= self._known.keys()):
            return
        self._read_at = clock
        # A base that came with its object may not be in the server's cache yet, and would cost a second generation.
        version = "0" if wanted <= self._known.keys() else ""
        places: Collection[str] = sorted({namespace for namespace, _ in wanted})
        if self._clusterwide and len(places) > _NAMESPACES_ONE_BY_ONE:
            places = ("",)
        self._failures = {}
        for place in places:
            await self._list(place, wanted, version)

    async def _list(self, place: str, wanted: Collection[Key], version: str) -> None:
        def keep(body: dict[str, Any]) -> tuple[Key, Mapping[str, Any]] | None:
            key = (body["metadata"]["namespace"], body["metadata"]["name"])
            binary = dict.fromkeys(body.get("binaryData") or (), b"")  # that it is there is all there is to say
            return (key, binary | (body.get("data") or {})) if key in wanted else None

        try:
            found = dict(await self._api.list(CONFIG_MAPS.path(place), resource_version=version, keep=keep))
        except KubeError as error:
            self._failures[place] = str(error)
            return
        here = [key for key in wanted if place in {"", key[0]}]
        self._known |= {key: found.get(key) for key in here}

    def of(self, record: Record) -> BaseFacts | None:
        """The file that an object starts from; None where it names none."""
        key = _key(record)
        if key is None or record.spec is None:
            return None
        adapter = PRESETS[choices.framework(record.spec)].adapter
        base = choices.delivery(record.spec).base
        assert adapter is not None
        assert base is not None
        name, file = base[0], base[1] or adapter.file
        if key not in self._known:
            why = self._failures.get(record.namespace) or self._failures.get("") or "it was not read yet"
            return BaseFacts(name, file, None, f"ConfigMap {name} cannot be read: {why}")
        return base_facts(name, file, self._known[key], settings_name(record))


def _key(record: Record) -> Key | None:
    base = choices.delivery(record.spec).base if record.spec is not None else None
    return None if base is None else (record.namespace, base[0])
