"""The release: it comes as the README says, is refused, is upgraded and goes."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.harness.administrator import is_true
from e2e.kind import images, operator, workload
from e2e.kind.cluster import PROMETHEUS_URL
from e2e.kind.images import ROOT
from e2e.kind.stages import say, stage
from e2e.scenarios.release import alone, left_of_the_release, refused, releases
from e2e.scenarios.shell import blocks, type_in
from e2e.scenarios.steps import change, wait_pods, wait_ready
from e2e.scenarios.targets import adopting, foreign, pods_in, revision, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.kind.cluster import KindCluster

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agentdeployments.agentscaler.dev"
PLACEHOLDER = "http://PROMETHEUS:9090"
"""What stands in the README for the reader's Prometheus."""
SMALL = {"template": workload.agent_pod(), "tuning": {"replicas": {"min": 2, "max": 3}}}


def commands() -> list[str]:
    """The commands of the README that install it and make the first object."""
    (block,) = (block for block in blocks("README.md", "console") if "helm install" in block)
    assert PLACEHOLDER in block
    return [line.removeprefix("$ ") for line in block.replace(PLACEHOLDER, PROMETHEUS_URL).splitlines()]


@pytest.fixture(scope="module")
def bare(cluster: KindCluster) -> Iterator[KindCluster]:
    """A cluster that scenarios install on."""
    with alone(cluster):
        yield cluster


# The scenarios of this module follow one another: each begins with the release that the one before left.


def test_the_commands_of_the_readme_install_it_and_make_the_first_object_ready(bare: KindCluster) -> None:
    try:
        said = "".join(type_in(bare, line) for line in commands())
        assert re.search(r"Phase:\s+Succeeded", said)
        assert len(operator.operator_pods(bare)) == 1
        wait_ready(bare, "default", "researcher", 1)

        # Gone is the operator, not what it works on.
        before = bare.deployment("default", "researcher")["spec"], pods_in(bare, "default")
        operator.uninstall(bare)
        wait(lambda: left_of_the_release(bare) == [], "the end of the release")
        assert bare.agent_deployment("default", "researcher")["spec"]
        assert bare.get(CRD)["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert (bare.deployment("default", "researcher")["spec"], pods_in(bare, "default")) == before
        assert len(bare.ready_pods_of("default", "researcher")) == 1
    finally:
        bare.kubectl("delete", "agd", "researcher", "--namespace=default", "--ignore-not-found", "--wait=false")


def test_wrong_values_are_refused_by_name_before_anything_is_made(bare: KindCluster) -> None:
    install = ("install", operator.RELEASE, operator.CHART, "--namespace", operator.NAMESPACE)
    assert "tickSeconds" in refused(bare, *install, values={"settings": {"tickSeconds": "fast"}})
    assert "promtheus" in refused(bare, *install, values={"promtheus": {}})
    assert "url" in refused(bare, *install, values={"prometheus": {"main": {"url": "prometheus:9090"}}})
    assert left_of_the_release(bare) == []
    assert releases(bare) == []


@contextmanager
def previous() -> Iterator[Path]:
    """The files of the version before: the last tag's, else as they were before the last change to what is shipped.

    A clone without that history has the present ones instead.
    """

    def git(*args: str) -> bytes:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, check=False).stdout

    def one(*args: str) -> str:
        return git(*args).decode().strip()

    shipped = ("--", "charts", "operator", "Dockerfile")
    last = one("log", "-1", "--format=%H", *shipped)
    found = one("describe", "--tags", "--abbrev=0", "HEAD~1") or one("log", "-1", "--format=%H", f"{last}~1", *shipped)
    archive = git("archive", "--format=tar", found) if found else b""
    with tempfile.TemporaryDirectory(prefix="agentscaler-previous-") as scratch:
        tree = Path(scratch)
        if archive:
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(tree, filter="data")
        if (tree / "charts").exists():
            say(f"upgrade: from {found}")
            yield tree
        else:
            say("upgrade: the history has no chart before this one; from the present version to itself")
            yield ROOT


def test_an_upgrade_from_the_version_before_rolls_no_workload(bare: KindCluster) -> None:
    cluster = bare
    with cluster.namespace("upgrade") as namespace, previous() as tree:
        made, theirs, adopter = "researcher", "theirs", "adopter"
        with stage("image of the version before"):
            image = images.build_operator(cluster.engine, tree)
        before = f"{images.OPERATOR}:previous"  # another name even when the content is the same
        cluster.engine.docker("tag", image, before)
        cluster.load_images(before)
        chart = tree / "charts" / "agentscaler"
        operator.install(cluster, chart=chart, over={"image": {"tag": "previous"}})
        (old,) = operator.operator_pods(cluster)
        cluster.apply(
            workload.in_namespace(
                namespace,
                workload.agent_deployment(made, **SMALL),
                foreign(theirs, settings_of=adopter),
                adopting(adopter, theirs, tuning=SMALL["tuning"]),
            )
        )
        wait_ready(cluster, namespace, made, 2)
        wait(lambda: is_true(cluster.agent_deployment(namespace, adopter), "Ready"), adopter)
        wait_pods(cluster, namespace, f"app={theirs}", 2)  # Ready with one of them as well
        pods = pods_in(cluster, namespace)
        revisions = {name: revision(cluster, namespace, name) for name in (made, theirs)}
        assert len(pods) == 4

        operator.install(cluster)
        (new,) = operator.operator_pods(cluster)
        assert new != old
        # What was asked of the new operator is done, and so it has looked at both.
        for name in (made, adopter):
            change(cluster, namespace, name, {"tuning": {"replicas": {"min": 3}}})
        wait_ready(cluster, namespace, made, 3)
        wait_pods(cluster, namespace, f"app={theirs}", 3)
        assert pods <= pods_in(cluster, namespace)
        assert {name: revision(cluster, namespace, name) for name in (made, theirs)} == revisions
        assert [release["status"] for release in releases(cluster)] == ["deployed"]
