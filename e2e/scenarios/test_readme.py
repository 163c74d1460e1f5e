"""What the README shows is true on a cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import yaml

from e2e.harness.administrator import is_true
from e2e.scenarios.shell import blocks
from e2e.scenarios.targets import wait

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster


@pytest.mark.parametrize("number", range(len(blocks("README.md", "yaml"))))
def test_a_manifest_of_the_readme_becomes_ready_as_it_stands(
    installed: KindCluster, namespace: str, number: int
) -> None:
    manifest = blocks("README.md", "yaml")[number]
    installed.kubectl("apply", f"--namespace={namespace}", "--filename=-", input=manifest)
    for document in yaml.safe_load_all(manifest):
        if document["kind"] == "AgentDeployment":
            name = document["metadata"]["name"]
            wait(partial(_ready, installed, namespace, name), f"{name} Ready")


def _ready(cluster: KindCluster, namespace: str, name: str) -> bool:
    return is_true(cluster.agent_deployment(namespace, name), "Ready")
