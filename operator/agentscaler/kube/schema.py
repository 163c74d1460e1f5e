"""Whether the CRD in the cluster has every field that this operator works with.

A CRD of an older version drops the fields that it does not know without a word: what the user writes has no effect, and
status is written again and again. OpenAPI is read instead of the CRD, since no right is needed for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Final

from agentscaler.api import crd
from agentscaler.kube.api import KubeApi
from agentscaler.kube.errors import KubeError

_PATH: Final = f"/openapi/v3/apis/{crd.API_VERSION}"
_KIND: Final = {"group": crd.GROUP, "version": crd.VERSION, "kind": crd.KIND}
_PATIENCE_SECONDS: Final = 10
"""OpenAPI follows a change of the CRD by a second or two."""

logger = logging.getLogger(__name__)


async def require(api: KubeApi) -> str:
    """What is wrong with the CRD, and the mend; empty when it has all fields, or when nobody can tell.

    Args:
        api: The API server.
    """
    for _ in range(_PATIENCE_SECONDS):
        lacking = await _lacking(api)
        if not lacking:
            return ""
        await asyncio.sleep(1)
    return (
        f"the CRD {crd.NAME} is of an older version: it lacks {', '.join(lacking)}. Upgrade it with "
        "`helm upgrade` (crds.install: true), or with `agentscaler crds | kubectl apply --server-side -f -`"
    )


async def _lacking(api: KubeApi) -> list[str]:
    """Fields that the CRD lacks, the outermost only."""
    try:
        document = await api.get(_PATH)
    except KubeError as error:
        logger.warning("the version of the CRD could not be checked", extra={"error": str(error)})
        return []
    schemas = (document.get("components") or {}).get("schemas") or {}
    kinds = [schema for schema in schemas.values() if _KIND in schema.get("x-kubernetes-group-version-kind", ())]
    if not kinds:
        return []
    (version,) = crd.render()["spec"]["versions"]
    needed = version["schema"]["openAPIV3Schema"]["properties"]
    served = kinds[0].get("properties") or {}
    return [path for part in ("spec", "status") for path in _differences(needed[part], served.get(part) or {}, part)]


def _differences(needed: dict[str, Any], served: dict[str, Any], path: str) -> Iterator[str]:
    known = served.get("properties") or {}
    for name, child in (needed.get("properties") or {}).items():
        if name in known:
            yield from _differences(child, known[name], f"{path}.{name}")
        else:
            yield f"{path}.{name}"
    for inner in ("items", "additionalProperties"):
        if isinstance(needed.get(inner), dict):
            yield from _differences(needed[inner], served.get(inner) or {}, path)
