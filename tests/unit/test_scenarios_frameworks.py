"""What the frameworks' scenarios hold settings files against: what the operator writes is right, all else is not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agentscaler.core.settings import Breaker, Cache, Settings
from agentscaler.frameworks.render import render
from agentscaler.kube import tuning
from e2e.scenarios.frameworks import FRAMEWORKS, Framework
from e2e.scenarios.measured import Row, page

SETTINGS = Settings(
    replicas=0,
    workers=140,  # above what the examples' own pools have
    cache=Cache(max_bytes=200 * 2**20, ttl_seconds=7200),
    breaker=Breaker(
        failure_rate_threshold_percent=25,
        wait_duration_in_open_state_seconds=90,
        sliding_window_seconds=60,
        minimum_number_of_calls=10,
        permitted_calls_in_half_open_state=14,
    ),
)


def written(framework: Framework) -> dict[str, str]:
    """The files that the operator makes of the framework's example."""
    (base, agd) = framework.example()
    key = agd["spec"]["delivery"]["baseConfigMap"].get("key", framework.file)
    restart = agd["spec"]["delivery"]["mode"] == "Restart"
    made = render(framework.adapter, SETTINGS, base["data"][key], framework.adapter.entry_bytes, restart=restart)
    return {"tuning.json": tuning.text(SETTINGS, 3), framework.file: made.text}


each_framework = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda each: each.name)


@each_framework
def test_what_the_operator_writes_has_no_fault(framework: Framework) -> None:
    assert framework.faults(written(framework)) == []


@each_framework
def test_a_file_that_is_missing_or_of_other_settings_has_faults(framework: Framework) -> None:
    files = written(framework)
    assert framework.faults({"tuning.json": files["tuning.json"]}) == [f"there is no {framework.file}"]
    other: dict[str, Any] = json.loads(files["tuning.json"])
    other["workers"]["maxConcurrent"] += 1
    assert framework.faults(files | {"tuning.json": json.dumps(other)}) != []


@each_framework
def test_each_value_that_is_missing_is_a_fault(framework: Framework) -> None:
    files = written(framework)
    for missing in framework.wants(json.loads(files["tuning.json"])) | framework.kept:

        def without(text: str, missing: str = missing) -> dict[str, Any]:
            return {name: value for name, value in framework.read(text).items() if name != missing}

        (fault,) = replace(framework, read=without).faults(files)
        assert fault.startswith(f"{missing} is None")


def test_the_page_has_a_row_for_each_framework() -> None:
    rows = [Row(each, 1_000_000, "Hot", [0.5, 1.25], 200, 0, {"workers": (4, 9)}) for each in FRAMEWORKS]
    text = page(rows)
    for framework in FRAMEWORKS:
        listed, enforced, mapped, live = framework.counts()
        counts = f"{listed} | {enforced} | {mapped} | {live}"
        assert f"| {framework.name} | Hot | {counts} | 0.5 s, 1.2 s | 0 of 200 | workers 4 to 9 | 1 MB |" in text
        assert 0 <= live <= mapped <= enforced <= listed
