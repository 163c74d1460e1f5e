"""What we know of every AgentDeployment: filled by watch events, corrected by LISTs, read by the loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agentscaler.api.spec import AgentDeploymentSpec, SpecError, parse_spec


@dataclass(frozen=True, slots=True)
class Record:
    """One AgentDeployment."""

    uid: str
    namespace: str
    name: str
    generation: int
    resource_version: str
    created_at: float
    """Unix seconds."""
    spec: AgentDeploymentSpec | None
    """None when it does not parse."""
    invalid: str
    """Why it does not parse; empty when it does."""
    spec_raw: Mapping[str, Any]
    status: Mapping[str, Any] = field(default_factory=dict)
    """As last seen or last written by us."""
    deleting: bool = False
    """It has a deletionTimestamp."""

    @property
    def target_name(self) -> str:
        """Name of the Deployment that it scales: its own, or the adopted one's."""
        if self.spec is None or self.spec.scale_target_ref is None:
            return self.name
        return self.spec.scale_target_ref.name

    @property
    def adopts(self) -> bool:
        """Whether the Deployment is somebody else's."""
        return self.spec is not None and self.spec.scale_target_ref is not None


class Store:
    """All records, by uid.

    Watch events, our own writes' answers and LISTs arrive in any order. What is newer stays: resourceVersions of one
    resource are compared as numbers, which the API server promises. uids are never used twice, so that one that was
    deleted stays deleted however late an older event comes.

    Attributes:
        synced: Whether a whole LIST has been taken in; before that nothing may be concluded from what is missing.
    """

    def __init__(self) -> None:
        self.synced = False
        self._records: dict[str, Record] = {}
        self._deleted: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._records)

    def put(self, body: Mapping[str, Any]) -> None:
        """Take in an object as a watch event shows it, unless something newer is known."""
        uid, version = body["metadata"]["uid"], body["metadata"]["resourceVersion"]
        if uid in self._deleted:
            return
        known = self._records.get(uid)
        if known is None or _version(version) >= _version(known.resource_version):
            self._records[uid] = project(body, known)

    def patched(self, uid: str, body: Mapping[str, Any]) -> None:
        """Take in the API server's answer to a write of ours: it is ahead of the watch."""
        if uid in self._records and body["metadata"]["uid"] == uid:
            self.put(body)

    def delete(self, uid: str) -> None:
        """Forget an object for good."""
        self._records.pop(uid, None)
        self._deleted[uid] = None
        while len(self._deleted) > 10_000:
            del self._deleted[next(iter(self._deleted))]

    def resync(self, bodies: Iterable[Mapping[str, Any]], list_version: str = "") -> int:
        """Make the store equal to a whole LIST: add, replace, drop ghosts.

        Args:
            bodies: All objects there are.
            list_version: The LIST's resourceVersion. Records that are newer than it stay.

        Returns:
            How many ghosts were dropped.
        """
        seen: set[str] = set()
        for body in bodies:
            seen.add(body["metadata"]["uid"])
            self.put(body)
        newest = _version(list_version) if list_version else None
        ghosts = [
            uid
            for uid, record in self._records.items()
            if uid not in seen and (newest is None or _version(record.resource_version) <= newest)
        ]
        for uid in ghosts:
            self.delete(uid)
        self.synced = True
        return len(ghosts)

    def snapshot(self) -> tuple[Record, ...]:
        """All records, in the order in which they became known."""
        return tuple(self._records.values())

    def get(self, uid: str) -> Record | None:
        """The record of a uid."""
        return self._records.get(uid)

    def find(self, namespace: str, name: str) -> Record | None:
        """The record of a name."""
        return next((r for r in self._records.values() if r.name == name and r.namespace == namespace), None)


def project(body: Mapping[str, Any], known: Record | None = None) -> Record:
    """Keep of an object what we use.

    Args:
        body: The AgentDeployment as the API server shows it.
        known: An earlier record of it: its parsed spec is kept while the generation is the same.
    """
    metadata = body["metadata"]
    generation = int(metadata.get("generation") or 0)
    if known is not None and known.generation == generation:
        spec, invalid, raw = known.spec, known.invalid, known.spec_raw
    else:
        raw = dict(body.get("spec") or {})
        try:
            spec, invalid = parse_spec(raw), ""
        except SpecError as error:
            spec, invalid = None, str(error)
    return Record(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        generation=generation,
        resource_version=metadata["resourceVersion"],
        created_at=unix_seconds(metadata.get("creationTimestamp")) or 0.0,
        spec=spec,
        invalid=invalid,
        spec_raw=raw,
        status=dict(body.get("status") or {}),
        deleting="deletionTimestamp" in metadata,
    )


def unix_seconds(timestamp: str | None) -> float | None:
    """A timestamp of the API (`2026-11-21T07:44:00Z`) as Unix seconds."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


def _version(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdigit() else 0
