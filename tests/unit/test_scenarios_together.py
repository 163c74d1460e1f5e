"""How scenarios on kind run side by side."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from e2e.kind import artefacts
from e2e.scenarios import together
from e2e.scenarios.together import AT_ONCE, Together, side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.kind.cluster import KindCluster
    from e2e.scenarios.together import Scenario


class FakeCluster:
    """Hands out names of namespaces and makes none."""

    @contextmanager
    def namespace(self, prefix: str) -> Iterator[str]:
        yield prefix


CLUSTER = cast("KindCluster", FakeCluster())


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def collect(_: Any, name: str, __: list[str]) -> None:
        names.append(name)

    monkeypatch.setattr(artefacts, "collect", collect)
    return names


def test_as_many_run_at_once_as_are_allowed_and_the_others_follow() -> None:
    together_now = threading.Barrier(AT_ONCE, timeout=10)

    def scenario() -> Scenario:
        def rendezvous(_: KindCluster, __: str) -> None:
            together_now.wait()  # breaks where fewer run at the same time

        return rendezvous

    scenarios = [scenario() for _ in range(2 * AT_ONCE)]
    running = Together(CLUSTER, scenarios)
    for each in scenarios:
        running.result_of(each)


def test_what_a_scenario_raises_is_raised_in_its_own_test_and_its_artefacts_are_kept(collected: list[str]) -> None:
    def bad(_: KindCluster, __: str) -> None:
        raise ValueError("no pod came")

    def good(_: KindCluster, __: str) -> None:
        pass

    running = Together(CLUSTER, [bad, good])
    running.result_of(good)
    with pytest.raises(ValueError, match="no pod came"):
        running.result_of(bad)
    assert collected == ["bad"]


def test_a_test_made_of_a_scenario_has_its_name_and_asks_for_the_others() -> None:
    def named(_: KindCluster, __: str) -> None:
        """Says what it is."""

    made = side_by_side(named)
    assert (made.__name__, made.__doc__) == ("named", "Says what it is.")
    assert made.__code__.co_varnames[: made.__code__.co_argcount] == (together.together.__name__,)
