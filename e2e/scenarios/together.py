"""Scenarios that run side by side: most of their time is waiting, and each has a namespace of its own."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from e2e.kind import artefacts, operator
from e2e.kind.stages import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from e2e.kind.cluster import KindCluster

    Scenario = Callable[[KindCluster, str], None]

FRAGILE = "fragile"
"""Name of a Prometheus server that one scenario may take away, and of its namespace."""
RELEASE = {
    "replicas": 2,
    "defaultServer": "main",
    "prometheus": {FRAGILE: {"url": f"http://prometheus.{FRAGILE}:9090", "scrapeIntervalSeconds": 5}},
}
"""What these scenarios ask of the operator's release: a standby, and the server above."""
AT_ONCE = 6
"""More pods than these scenarios have would start too slowly on two cores."""
_SCENARIO = "side_by_side"
_LONG = "long"
_SLOW = "slow"


def side_by_side(scenario: Scenario) -> Callable[..., None]:
    """Make a test of a scenario that runs beside the others of its kind, in a namespace of its own.

    Args:
        scenario: Takes the cluster, with the operator in it, and the namespace.
    """

    def test(together: Together) -> None:
        together.result_of(scenario)

    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(test, attribute, getattr(scenario, attribute))
    setattr(test, _SCENARIO, scenario)
    return test


def slow_side_by_side(scenario: Scenario) -> Callable[..., None]:
    """The same for one that takes so long that tests of the operator itself run meanwhile; it begins first."""
    test = long_side_by_side(scenario)
    setattr(test, _SLOW, True)
    return test


def long_side_by_side(scenario: Scenario) -> Callable[..., None]:
    """The same for one that takes minutes: it begins before the others."""
    test = side_by_side(scenario)
    setattr(test, _LONG, True)
    return test


class Together:
    """Runs scenarios at the same time.

    Attributes:
        cluster: With the operator in it.
    """

    def __init__(self, cluster: KindCluster, scenarios: Iterable[Scenario]) -> None:
        """Begin the first of them.

        Args:
            cluster: With the operator in it.
            scenarios: What to play, in this order.
        """
        self.cluster = cluster
        self._futures: dict[Any, Future[None]] = {}
        self._waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
        for scenario in scenarios:
            self._futures[scenario] = Future()
            self._waiting.put(scenario)
        for _ in range(min(AT_ONCE, len(self._futures))):
            # Daemons: nothing waits for them after Ctrl-C.
            threading.Thread(target=self._play_all, daemon=True).start()

    def result_of(self, scenario: Scenario) -> None:
        """Wait for the end of a scenario; what it raised is raised here."""
        self._futures[scenario].result()

    def _play_all(self) -> None:
        while True:
            try:
                scenario = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._play(scenario)

    def _play(self, scenario: Scenario) -> None:
        future = self._futures[scenario]
        name = scenario.__name__.removeprefix("test_")
        try:
            with stage(name), self.cluster.namespace("side") as namespace:
                try:
                    scenario(self.cluster, namespace)
                except BaseException:
                    artefacts.collect(self.cluster, scenario.__name__, [namespace, operator.NAMESPACE])
                    raise
        except BaseException as error:  # noqa: BLE001 - the test that waits for it raises it
            future.set_exception(error)
        else:
            future.set_result(None)


@pytest.fixture(scope="session")
def together(request: pytest.FixtureRequest, installed: KindCluster) -> Together:
    """All scenarios that were selected; the first of them have begun."""
    operator.install(installed, over=RELEASE)
    functions = [item.function for item in request.session.items if isinstance(item, pytest.Function)]
    tests = sorted((each for each in functions if hasattr(each, _SCENARIO)), key=lambda each: not hasattr(each, _LONG))
    return Together(installed, [getattr(each, _SCENARIO) for each in tests])


def place(item: pytest.Item) -> int:
    """Where a test stands: those of the release alone, those side by side, those of the operator, the slow ones."""
    if not isinstance(item, pytest.Function) or "together" not in item.fixturenames:
        return 0
    if not hasattr(item.function, _SCENARIO):
        return 2
    return 3 if hasattr(item.function, _SLOW) else 1
