"""One cluster for all scenarios, a namespace for each, and what is kept of those that fail."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from e2e.kind import artefacts, operator, stages
from e2e.kind.cluster import KindCluster
from e2e.kind.lifecycle import kind_cluster
from e2e.scenarios.together import place, together  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

FAILED = pytest.StashKey[bool]()
pytest.register_assert_rewrite("e2e.scenarios.trial")  # or its asserts tell no values


@pytest.fixture(scope="session")
def cluster() -> Iterator[KindCluster]:
    """The cluster with Prometheus, without the operator."""
    with kind_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def installed(cluster: KindCluster) -> KindCluster:
    """The cluster with the operator, as the chart installs it; a scenario that changes the release puts it back."""
    operator.install(cluster)
    return cluster


@pytest.fixture
def namespace(request: pytest.FixtureRequest, cluster: KindCluster) -> Iterator[str]:
    """A namespace of the scenario's own."""
    with cluster.namespace() as name:
        yield name
        if request.node.stash.get(FAILED, False):
            test = re.sub(r"[^\w.-]+", "-", request.node.name)
            artefacts.collect(cluster, test, [name, operator.NAMESPACE])


def pytest_configure() -> None:
    # Leave through the fixtures, whoever ends us. A shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("stages")
    terminalreporter.line(stages.summary())
    for directory in artefacts.kept:
        terminalreporter.line(f"logs, events, objects and decisions: {directory}")
