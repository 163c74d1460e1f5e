"""The fleet's raw view of the API server: pods watched, ConfigMaps read, drained pods marked."""

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import yaml

from e2e.harness.fleet_pod import DRAINED_ANNOTATION, PROCESS_LABEL

_WATCH_SECONDS = 60
_RETRY_SECONDS = 0.5
_LONGEST_LINE_BYTES = 2**21
_UNREACHABLE = (aiohttp.ClientError, TimeoutError, ConnectionError)
_log = logging.getLogger(__name__)


class Event(NamedTuple):
    """`LISTED` carries every pod there is in `pods`; `ADDED`, `MODIFIED` and `DELETED` carry one."""

    type: str
    pods: list[dict[str, Any]]


class KubeApi:
    """An admin's session with one API server, taken from a kubeconfig; `namespace` None means all of them."""

    def __init__(self, kubeconfig: Path, namespace: str | None = None) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        self._url = cluster["server"].rstrip("/")
        self._pods_path = "/api/v1/pods" if namespace is None else f"/api/v1/namespaces/{namespace}/pods"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_tls(cluster, user, kubeconfig.parent), limit=16),
            headers={"Authorization": f"Bearer {user['token']}"} if "token" in user else {},
            timeout=aiohttp.ClientTimeout(total=5),
            read_bufsize=_LONGEST_LINE_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def pods(self) -> AsyncIterator[Event]:
        """Every change of the pods that the fleet runs, for ever; the API server may come and go."""
        while True:
            try:
                listed = await self._get(self._pods_path, {"labelSelector": f"{PROCESS_LABEL}=true"}) or {}
                yield Event("LISTED", listed["items"])
                version = listed["metadata"]["resourceVersion"]
                while True:
                    async for change in self._watch(version):
                        version = change["object"]["metadata"]["resourceVersion"]
                        if change["type"] != "BOOKMARK":
                            yield Event(change["type"], [change["object"]])
            except _UNREACHABLE as error:
                _log.warning("The watch of pods broke, listing again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The ConfigMap, None where there is none; waits while the API server is away."""
        while True:
            try:
                return await self._get(f"/api/v1/namespaces/{namespace}/configmaps/{name}", {})
            except _UNREACHABLE:
                await asyncio.sleep(_RETRY_SECONDS)

    async def mark_drained(self, namespace: str, name: str, uid: str) -> None:
        """Tells kwok that the pod's process has ended, so that it removes the pod; waits for the API server."""
        # The uid makes the patch miss (409) a later pod of the same name.
        patch = {"metadata": {"uid": uid, "annotations": {DRAINED_ANNOTATION: "true"}}}
        await self._patch(f"/api/v1/namespaces/{namespace}/pods/{name}", patch, "application/merge-patch+json")

    async def report(self, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        """Patches the pod's status (see fleet_status); waits for the API server."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        await self._patch(path, patch, "application/strategic-merge-patch+json")

    async def _patch(self, path: str, patch: Mapping[str, Any], content_type: str) -> None:
        headers = {"Content-Type": content_type}
        while True:
            try:
                async with self._session.patch(self._url + path, data=json.dumps(patch), headers=headers) as response:
                    if response.ok or response.status in {404, 409}:
                        return
                    _log.warning("PATCH %s: %s", path, await response.text())
            except _UNREACHABLE as error:
                _log.warning("PATCH %s: %s", path, error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _get(self, path: str, params: Mapping[str, str]) -> dict[str, Any] | None:
        async with self._session.get(self._url + path, params=params) as response:
            if response.status == 404:
                return None
            response.raise_for_status()
            answer: dict[str, Any] = await response.json()
            return answer

    async def _watch(self, version: str) -> AsyncIterator[dict[str, Any]]:
        params = {
            "labelSelector": f"{PROCESS_LABEL}=true",
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_WATCH_SECONDS + 10)
        async with self._session.get(self._url + self._pods_path, params=params, timeout=timeout) as response:
            response.raise_for_status()
            async for line in response.content:
                change: dict[str, Any] = json.loads(line)
                if change["type"] == "ERROR":
                    raise aiohttp.ClientError(change["object"].get("message", "expired"))
                yield change


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], base: Path) -> ssl.SSLContext | bool:
    if cluster.get("insecure-skip-tls-verify"):
        return False
    context = ssl.create_default_context()
    if "certificate-authority-data" in cluster:
        context.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context.load_verify_locations(cafile=base / cluster["certificate-authority"])
    if "client-certificate" in user:
        context.load_cert_chain(base / user["client-certificate"], base / user["client-key"])
    return context
