"""Reads what is live for many objects at once: bulk LISTs, never a GET per object at rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentscaler.frameworks import choices
from agentscaler.kube.api import KubeApi
from agentscaler.kube.bases import Bases
from agentscaler.kube.conflicts import Autoscalers, ForeignWriters, autoscaler_conflict, shared
from agentscaler.kube.errors import KubeError
from agentscaler.kube.facts import config_map_facts, deployment_facts
from agentscaler.kube.live import ConfigMapFacts, ConflictFacts, DeploymentFacts, Live
from agentscaler.kube.paths import CONFIG_MAPS, DEPLOYMENTS, Resource
from agentscaler.kube.pods import Pods
from agentscaler.kube.problems import blind, problems, unreadable
from agentscaler.kube.store import Record
from agentscaler.kube.workload import MANAGED_BY, settings_name

Key = tuple[str, str]
"""Namespace and name."""

_OURS = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
_NAMESPACES_ONE_BY_ONE = 10
_SPARED_BY_A_LIST = 50
"""A request more is worth as much as so many objects less."""


@dataclass(slots=True)
class _Found:
    """What one round of LISTs brought."""

    deployments: dict[Key, DeploymentFacts] = field(default_factory=dict)
    adopted: dict[Key, DeploymentFacts] = field(default_factory=dict)
    config_maps: dict[Key, ConfigMapFacts] = field(default_factory=dict)
    failures: dict[tuple[bool, str, str], KubeError] = field(default_factory=dict)
    """By whether it was a LIST of adopted targets, its namespace (empty: all), and its kind."""

    def failed(self, record: Record) -> list[KubeError]:
        """Why nothing is known of an object; empty when all was read."""
        return [
            error
            for (adopted, place, _), error in sorted(self.failures.items())
            if place in {"", record.namespace} and (record.adopts or not adopted)
        ]


class Targets:
    """The live side of all objects.

    Two LISTs bring everything that is ours, or two of each namespace that is asked about where the others hold many
    objects; one more each namespace with adopted Deployments. HPAs and ScaledObjects come at a slower pace, pods only
    of what is changing. Facts of an unchanged resourceVersion are kept, so that an object at rest costs little more
    than its share of the LIST.
    """

    def __init__(self, api: KubeApi, namespaces: Collection[str] = ()) -> None:
        """Read nothing yet.

        Args:
            api: The API server.
            namespaces: Where the operator works; empty: everywhere.
        """
        self._api = api
        self._namespaces = tuple(namespaces)
        self._pods = Pods(api, clusterwide=not namespaces)
        self._autoscalers = Autoscalers(api, namespaces)
        self._writers = ForeignWriters()
        self._last = _Found()
        self._bases = Bases(api, clusterwide=not namespaces)

    async def list(
        self,
        records: Sequence[Record],
        *,
        now: float,
        among: Iterable[Record] | None = None,
        pods_for: Collection[str] = (),
    ) -> dict[str, Live]:
        """What is live now, by uid of the AgentDeployment. A failed read is told in each `Live` that it concerns.

        Args:
            records: The objects asked about.
            now: Unix seconds.
            among: All objects there are, so that shared targets are found; None: `records` are all.
            pods_for: Of the objects whose pods are wanted although nothing about them changes, the uids.
        """
        if not records:
            return {}
        everyone = tuple(records if among is None else among)
        clock = time.monotonic()
        found, *_ = await asyncio.gather(
            self._read(records, everyone),
            self._autoscalers.refresh(clock),
            self._bases.refresh(everyone, clock),
        )
        self._remember(found, everyone)
        yielding = shared(everyone)
        lives = {record.uid: self._live(record, found, yielding, now) for record in records}
        wanted = {
            uid: live.deployment
            for uid, live in lives.items()
            if live.deployment is not None and (live.deployment.changing or uid in pods_for)
        }
        pods = await self._pods.of(tuple(wanted.values()))
        for uid, deployment in wanted.items():
            if deployment.uid in pods:
                lives[uid] = replace(lives[uid], pods=pods[deployment.uid], pods_known=True)
        return lives

    def scaled(self, uid: str, replicas: int) -> None:
        """We have written a size ourselves: another one at the next look is somebody else's.

        Args:
            uid: Of the AgentDeployment.
            replicas: What was written.
        """
        self._writers.scaled(uid, replicas)

    async def _read(self, records: Sequence[Record], everyone: Collection[Record]) -> _Found:
        found = _Found()
        adopted = {(record.namespace, record.target_name) for record in records if record.adopts}
        places = {namespace for namespace, _ in adopted}
        if not self._namespaces and len(places) > _NAMESPACES_ONE_BY_ONE:
            places = {""}
        keep_own = _keeper(self._last.deployments, deployment_facts)
        keep_map = _keeper(self._last.config_maps, config_map_facts)
        keep_adopted = _keeper(self._last.adopted, deployment_facts, adopted)

        async def read(resource: Resource, place: str, selector: str, keep: Any, into: dict[Key, Any]) -> None:
            try:
                into.update(await self._api.list(resource.path(place), label_selector=selector, keep=keep))
            except KubeError as error:
                found.failures[into is found.adopted, place, resource.plural] = error

        await asyncio.gather(
            *(
                read(resource, place, _OURS, keep, into)
                for place in self._places(records, everyone)
                for resource, keep, into in (
                    (DEPLOYMENTS, keep_own, found.deployments),
                    (CONFIG_MAPS, keep_map, found.config_maps),
                )
            ),
            *(read(DEPLOYMENTS, place, "", keep_adopted, found.adopted) for place in sorted(places)),
        )
        return found

    def _places(self, records: Iterable[Record], everyone: Iterable[Record]) -> Sequence[str]:
        """Where to look for what is ours: in single namespaces only if those LISTs spare enough objects."""
        everywhere = self._namespaces or ("",)
        asked = {record.namespace for record in records}
        spared = sum(record.namespace not in asked for record in everyone)
        if spared < _SPARED_BY_A_LIST * (len(asked) - len(everywhere)):
            return sorted(everywhere)
        return sorted(asked)

    def _remember(self, found: _Found, everyone: Collection[Record]) -> None:
        """Keep the facts for the next round, also of those objects about which nobody asked in this one."""
        targets = {(record.namespace, record.target_name) for record in everyone}
        settings = {(record.namespace, settings_name(record)) for record in everyone}
        self._last = _Found(
            deployments=_kept(self._last.deployments, targets, found.deployments),
            adopted=_kept(self._last.adopted, targets, found.adopted),
            config_maps=_kept(self._last.config_maps, settings, found.config_maps),
        )
        self._writers.forget_all_but({record.uid for record in everyone})

    def _live(self, record: Record, found: _Found, yielding: Mapping[str, ConflictFacts], now: float) -> Live:
        if record.spec is None:
            return Live()
        if failed := found.failed(record):
            return Live(known=False, problems=(unreadable(failed),))
        deployments = found.adopted if record.adopts else found.deployments
        deployment = deployments.get((record.namespace, record.target_name))
        if deployment is not None and deployment.owned and deployment.controller != record.uid:
            deployment = replace(deployment, owned=False)
        config_map = found.config_maps.get((record.namespace, settings_name(record)))
        conflict = yielding.get(record.uid) or autoscaler_conflict(record, self._autoscalers)
        container = choices.container(record.spec) or ""
        if deployment is not None:
            written = self._writers.conflict(record.uid, deployment, now)
            conflict = conflict or written
            container = container or next(iter(deployment.containers), "")
        unseen = (blind(self._autoscalers.blind),) if self._autoscalers.blind and conflict is None else ()
        return Live(
            deployment=deployment,
            configmap=config_map,
            base=self._bases.of(record),
            conflict=conflict,
            problems=(*problems(record, deployment, config_map, container), *unseen),
            container=container,
            adopted=record.adopts,
            settings_mounted=deployment is not None and (container, settings_name(record)) in deployment.mounts,
        )


def _kept(last: Mapping[Key, Any], wanted: Collection[Key], found: Mapping[Key, Any]) -> dict[Key, Any]:
    return {**{key: facts for key, facts in last.items() if key in wanted}, **found}


def _keeper(
    known: Mapping[Key, Any], facts: Callable[[Mapping[str, Any]], Any], wanted: Collection[Key] | None = None
) -> Callable[[dict[str, Any]], tuple[Key, Any] | None]:
    """What a LIST keeps of an object: its key and facts, the known ones where it has not changed.

    Args:
        known: Facts of the last round.
        facts: Makes them.
        wanted: Keys to keep; None: all.
    """

    def keep(body: dict[str, Any]) -> tuple[Key, Any] | None:
        metadata = body["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if wanted is not None and key not in wanted:
            return None
        last = known.get(key)
        if last is not None and (last.uid, last.resource_version) == (metadata["uid"], metadata["resourceVersion"]):
            return key, last
        return key, facts(body)

    return keep
