"""When the settings files of users are read, and how fresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentscaler.kube.bases import PACE_SECONDS, Bases
from agentscaler.kube.store import Record, project
from tests.api_corpus import owned


class Api:
    """Notes how fresh each answer has to be."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def list(self, path: str, *, resource_version: str, keep: Callable[[dict[str, Any]], Any]) -> list[Any]:
        assert path == "/api/v1/namespaces/ns/configmaps"
        self.asked.append(resource_version)
        names = ("first", "second", "other")
        bodies: list[dict[str, Any]] = [
            {"metadata": {"namespace": "ns", "name": name}, "data": {"aiecs.env": name}} for name in names
        ]
        bodies.append({"metadata": {"namespace": "ns", "name": "utf-16"}, "binaryData": {"aiecs.env": "/v9BAA=="}})
        return [kept for body in bodies if (kept := keep(body)) is not None]


def based_on(name: str) -> Record:
    metadata = {"uid": name, "namespace": "ns", "name": name, "generation": 1, "resourceVersion": "1"}
    return project({"metadata": metadata, "spec": owned(framework="aiecs", delivery={"baseConfigMap": {"name": name}})})


async def test_a_base_that_nobody_has_asked_for_is_read_past_the_servers_cache() -> None:
    api = Api()
    bases = Bases(api, clusterwide=False)  # type: ignore[arg-type]  # it only lists
    first, second = based_on("first"), based_on("second")
    await bases.refresh([first], clock=0.0)
    await bases.refresh([first], clock=PACE_SECONDS - 1)
    await bases.refresh([first], clock=PACE_SECONDS)
    await bases.refresh([first, second], clock=PACE_SECONDS + 1)
    assert api.asked == ["", "0", ""], "at its pace the cache will do"
    found = bases.of(second)
    assert found is not None
    assert found.text == "second"


async def test_a_file_in_another_encoding_is_told_as_such() -> None:
    """kubectl puts what an editor on Windows may have saved as UTF-16 into binaryData."""
    bases = Bases(Api(), clusterwide=False)  # type: ignore[arg-type]  # it only lists
    record = based_on("utf-16")
    await bases.refresh([record], clock=0.0)
    found = bases.of(record)
    assert found is not None
    assert found.text is None
    assert found.missing == (
        "key aiecs.env of ConfigMap utf-16 is not text in UTF-8: save the file as UTF-8 and put it in anew"
    )
