"""Full records of decisions, fetched from the operator: by its URL, or through the API server's service proxy."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3

from agentscaler.cli.cluster import CliError, Cluster
from agentscaler.kube.errors import KubeError, Unavailable

DEFAULT_SERVICE = "agentscaler-system/agentscaler:8080"
_SERVICE = re.compile(r"(?P<namespace>[a-z0-9-]+)/(?P<name>[a-z0-9-]+):(?P<port>[a-z0-9-]+)")
_TRIES = 8
"""A Service leads to any of its pods, and a standby keeps no records: the one that leads is met soon."""
_TIMEOUT = urllib3.Timeout(connect=3, read=10)


@dataclass(frozen=True, slots=True)
class Found:
    """What the operator told."""

    newest: dict[str, Any] | None
    """The full record of the newest tick; None: status is all there is."""
    moved: dict[str, Any] | None = None
    """That of the newest one that moved something."""
    kept: tuple[dict[str, Any], ...] = ()
    """All that the operator keeps, oldest first."""
    problem: str = ""
    """Why there is none."""


def records(cluster: Cluster, namespace: str, name: str, *, url: str | None, service: str) -> Found:
    """Ask the operator for an object's records.

    Args:
        cluster: Whose API server leads to the Service.
        namespace: Of the object.
        name: Of the object.
        url: The operator's own URL; comes before the Service.
        service: `NAMESPACE/NAME:PORT`.

    Raises:
        CliError: The URL was given and does not answer, or the Service is not written as it should be.
    """
    params: dict[str, str | int] = {"namespace": namespace, "name": name}
    if url is not None:
        return _found(_direct(f"{url.rstrip('/')}/records?{urlencode(params)}"))
    match = _SERVICE.fullmatch(service)
    if match is None:
        raise CliError(f"--operator-service {service}: write it as NAMESPACE/NAME:PORT", exit_code=2)
    path = f"/api/v1/namespaces/{match['namespace']}/services/{match['name']}:{match['port']}/proxy/records"
    for _ in range(_TRIES):
        try:
            return _found(cluster.raw(path, params))
        except Unavailable:
            continue
        except KubeError:
            break
    return Found(
        None, problem=f"the operator's Service {service} could not be reached: give --operator-url for its record"
    )


def _direct(url: str) -> Any:
    try:
        response = urllib3.request("GET", url, timeout=_TIMEOUT, retries=False)
        if response.status >= 400:
            raise CliError(f"{url} answers {response.status}: is --operator-url that of the operator's port?")
        return json.loads(response.data)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise CliError(f"the operator does not answer at {url} ({error}): check --operator-url") from error


def _found(answer: Any) -> Found:
    # An object, since a client of the API server's proxy takes nothing else.
    kept = answer.get("records") if isinstance(answer, dict) else answer
    if not kept:
        return Found(None, problem="the operator keeps no record of this object: it has not decided since it started")
    moves = (each for each in reversed(kept) if each["decision"]["current"] != each["decision"]["settings"])
    return Found(kept[-1], next(moves, None), tuple(kept))
