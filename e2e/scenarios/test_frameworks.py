"""The example of each agent framework, with an agent in its own language, through a change by hand and a spike.

``make e2e-frameworks`` runs these; ``make e2e`` does not. All frameworks run at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e.scenarios.frameworks import FRAMEWORKS, Framework
from e2e.scenarios.measured import Row, page, report_file
from e2e.scenarios.together import Together
from e2e.scenarios.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.kind.cluster import KindCluster


class Trials:
    """All frameworks that were selected, side by side."""

    def __init__(self, cluster: KindCluster, frameworks: list[Framework]) -> None:
        images = {each.name: each.build(cluster.engine) for each in frameworks}
        cluster.load_images(*images.values())
        self.rows = {each.name: Row(each, _bytes(cluster, images[each.name])) for each in frameworks}
        self._plays = {name: self._play(row) for name, row in self.rows.items()}
        self._together = Together(cluster, self._plays.values())

    def result_of(self, name: str) -> Row:
        """Wait for the end of a framework's trial; what it raised is raised here."""
        self._together.result_of(self._plays[name])
        return self.rows[name]

    @staticmethod
    def _play(row: Row) -> Callable[[KindCluster, str], None]:
        def play(cluster: KindCluster, namespace: str) -> None:
            Trial(cluster, namespace, row).play()

        play.__name__ = row.framework.name
        return play


def _bytes(cluster: KindCluster, image: str) -> int:
    return int(cluster.engine.docker("image", "inspect", "--format", "{{.Size}}", image).stdout)


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest, installed: KindCluster) -> Iterator[Trials]:
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen: list[Any] = [item.callspec.params["framework"] for item in items if "trials" in item.fixturenames]
    begun = Trials(installed, chosen)
    yield begun
    text = page(begun.rows.values())
    print(text)
    if (file := report_file()) is not None and all(row.complete for row in begun.rows.values()):
        file.write_text(text)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda each: each.name)
def test_the_example_of_a_framework_runs_and_each_knob_moves_in_its_own_settings_file_without_losing_a_request(
    trials: Trials, framework: Framework
) -> None:
    assert trials.result_of(framework.name).complete
