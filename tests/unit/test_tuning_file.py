"""Settings on the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.core.settings import Breaker, Cache, Settings
from agentscaler.kube import tuning

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/tuning.schema.json").read_text())
MEBIBYTE = 2**20


def optional(low: int, high: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(low, high)


SETTINGS = st.builds(
    Settings,
    replicas=st.just(0),
    workers=optional(1, 10_000),
    cache=st.builds(Cache, optional(0, 2**40), optional(1, 604_800)),
    breaker=st.builds(
        Breaker, optional(1, 100), optional(1, 3600), optional(1, 3600), optional(1, 10_000), optional(1, 1000)
    ),
)
GENERATIONS = st.integers(1, 2**53 - 1)


@given(SETTINGS, GENERATIONS)
def test_what_is_written_keeps_the_contract_and_is_read_back(settings: Settings, generation: int) -> None:
    file = tuning.text(settings, generation)
    jsonschema.validate(json.loads(file), SCHEMA)
    assert tuning.settings_of(file) == settings


@given(SETTINGS, GENERATIONS)
def test_status_holds_the_settings_exactly(settings: Settings, generation: int) -> None:
    assert tuning.from_status(tuning.to_status(settings, generation)) == (settings, generation)


def test_the_file_is_the_one_of_the_contract_without_blanks() -> None:
    settings = Settings(9, 12, Cache(256 * MEBIBYTE, 900), Breaker(50, 30, 60, 10, 2))
    assert tuning.text(settings, 7) == (
        '{"generation":7,"workers":{"maxConcurrent":12},"cache":{"maxBytes":268435456,"ttlSeconds":900},'
        '"circuitBreaker":{"failureRateThresholdPercent":50,"waitDurationInOpenStateSeconds":30,'
        '"slidingWindowSeconds":60,"minimumNumberOfCalls":10,"permittedCallsInHalfOpenState":2}}'
    )
    assert tuning.text(Settings(9), 1) == '{"generation":1}'


@pytest.mark.parametrize(
    "file",
    [
        "",
        "{",
        "[]",
        "null",
        '{"workers":{"maxConcurrent":3}}',
        '{"generation": 1}',
        '{"generation":1,"extra":1}',
        '{"generation":1,"workers":null}',
        '{"generation":1,"workers":{"maxConcurrent":"3"},"cache":[]}',
    ],
)
def test_any_other_text_is_not_ours(file: str) -> None:
    assert tuning.settings_of(file) is None


def settings(workers: int | None, cache: int | None) -> Settings:
    return Settings(1, workers, Cache(cache, 600))


@pytest.mark.parametrize(
    ("live", "wanted", "first"),
    [
        (settings(4, 100), settings(8, 100), settings(8, 100)),
        (settings(4, 100), settings(8, 50), settings(4, 50)),
        (settings(8, 50), settings(4, 100), settings(4, 50)),
        (settings(8, 100), settings(4, 50), settings(4, 50)),
        (settings(None, 100), settings(8, 50), settings(8, 50)),
    ],
)
def test_what_frees_memory_goes_before_what_uses_it(live: Settings, wanted: Settings, first: Settings) -> None:
    assert tuning.frees_first(live, wanted) == first


@given(st.integers(1, 64), st.integers(0, 2**30), st.integers(1, 64), st.integers(0, 2**30))
def test_two_steps_reach_what_is_wanted_and_never_exceed_either_end(a: int, b: int, c: int, d: int) -> None:
    live, wanted = settings(a, b), settings(c, d)
    first = tuning.frees_first(live, wanted)
    assert tuning.frees_first(first, wanted) == wanted
    assert first.workers is not None
    assert first.cache.max_bytes is not None
    assert first == wanted or (first.workers <= min(a, c) and first.cache.max_bytes <= min(b, d))


def test_settings_that_say_nothing_are_told_from_those_that_do() -> None:
    assert not tuning.has_any(Settings(3))
    assert tuning.has_any(replace(Settings(3), breaker=Breaker(wait_duration_in_open_state_seconds=5)))
