"""Fixtures for tests on a real API server and a real Prometheus."""

from __future__ import annotations

import re
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession, TCPConnector, web

from agentscaler.api import crd
from agentscaler.kube.api import KubeApi
from agentscaler.kube.connection import load_configuration
from agentscaler.kube.paths import AGENT_DEPLOYMENTS, DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS
from e2e.harness.cluster import ControlPlane
from e2e.harness.prometheus import Prometheus
from e2e.harness.upstream import Upstream
from tests.component.act_stage import Stage
from tests.component.agent_stage import TIME_SCALE
from tests.component.signals_fake import Fake
from tests.component.targets_stage import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytest.register_assert_rewrite("tests.component.agent_checks")  # or its asserts tell no values
HERE = Path(__file__).parent
_numbers = count(1)
TOGETHER = {
    "test_operator_": re.compile(r"test_operator_(?!patience)"),  # they share a stage
    "bare": re.compile("test_chart_install|test_without_crd"),  # they share a control plane without the CRDs
    # No test of these needs a control plane: the workers that run them start none.
    "agents": re.compile("test_.*_agents?.py|test_dotnet_client"),
    "servers": re.compile("test_signals_|test_harness_pro|test_chart_render|test_chart_values"),
}
"""Groups of files by their name; any other file is a group of its own."""
LONGEST_FIRST = (
    "test_operator_",
    "agents",
    "test_operator_patience.py",
    "test_lease.py",
    "bare",
    "servers",
    "test_act_kill.py",
    "test_fleet.py",
    "test_app_trouble.py",
    "test_app.py",
    "simulate",
)
"""Groups that take about a minute or more: one of them at the end would leave the other workers without work."""


def pytest_itemcollected(item: pytest.Item) -> None:
    # As early as this: xdist has looked for groups by the time that the list of all tests is given to us.
    if HERE in item.path.parents:
        item.add_marker(pytest.mark.component)
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups first, then each other group with some of the tests that are in none, then the rest of these.

    Groups wait for processes most of their time, the others compute: side by side they leave no processor without work.
    `make test` tells xdist to keep this order; by itself it begins with the groups that have most tests.
    """
    groups: dict[str, list[pytest.Item]] = {name: [] for name in LONGEST_FIRST}
    free: list[pytest.Item] = []
    for item in items:
        group = item.get_closest_marker("xdist_group")
        (groups.setdefault(group.args[0], []) if group else free).append(item)
    first, others = [groups.pop(name) for name in LONGEST_FIRST], list(groups.values())
    share = len(free) // (2 * max(len(others), 1))
    mixed = (chain(each, free[at * share : (at + 1) * share]) for at, each in enumerate(others))
    items[:] = chain(*first, *mixed, free[len(others) * share :])


def _group(item: pytest.Item) -> str:
    """Tests of one file share fixtures."""
    name = item.path.name
    return next((group for group, pattern in TOGETHER.items() if pattern.match(name)), name)


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    """One process for all agents of a module."""
    with Upstream(time_scale=TIME_SCALE) as started:
        yield started


@pytest.fixture
def upstream(provider: Upstream) -> Upstream:
    """The model provider of an agent, which nobody has called yet."""
    provider.reset()
    return provider


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """For callers, as many at a time as a test wants."""
    async with ClientSession(connector=TCPConnector(limit=0)) as started:
        yield started


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    """One control plane with the CRDs for the whole session; take a ``namespace`` of your own."""
    with ControlPlane() as control_plane:
        control_plane.install_crds()
        yield control_plane


@pytest.fixture(scope="session")
def _bare() -> Iterator[ControlPlane]:
    with ControlPlane(pod_startup_seconds=0, service_account_admission=True) as control_plane:
        yield control_plane


@pytest.fixture
def bare(_bare: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane without the CRDs, whose pods have ServiceAccounts and tokens as anywhere else."""
    yield _bare
    kinds = "clusterroles,clusterrolebindings,crds"
    _bare.kubectl("delete", kinds, "--selector=app.kubernetes.io/part-of=agentscaler", "--ignore-not-found")
    _bare.kubectl("delete", "crds", crd.NAME, "--ignore-not-found")


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own. What works on in it is deleted, and nobody waits for that; the namespace itself
    stays, for its end takes Kubernetes' controllers sixty requests."""
    name = f"test-{next(_numbers)}"
    created = cluster.request(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )
    created.raise_for_status()
    yield name
    for resource in (AGENT_DEPLOYMENTS, DEPLOYMENTS, HORIZONTAL_POD_AUTOSCALERS):
        cluster.request("DELETE", resource.path(name))


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    """A Prometheus without targets; ``backfill()`` gives it series."""
    with Prometheus(scrape_interval_seconds=1) as server:
        yield server


@pytest.fixture
async def stage(cluster: ControlPlane, namespace: str) -> AsyncIterator[Stage]:
    """A namespace under the act side, tick by tick; modules of test_operator_* have a stage of their own."""
    stage = Stage(cluster, namespace)
    yield stage
    stage.close()


@pytest.fixture
async def api(cluster: ControlPlane) -> AsyncIterator[KubeApi]:
    """The operator's own client, as administrator."""
    api = KubeApi(load_configuration(str(cluster.kubeconfig)))
    yield api
    api.close()


@pytest.fixture
def world(cluster: ControlPlane, api: KubeApi, namespace: str) -> World:
    """A namespace whose objects are made by the test and read by `Targets`."""
    return World(cluster, api, namespace)


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """A server of queries that fails as it is told to."""
    server_ = Fake()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server_.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server_.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server_
    await runner.cleanup()
