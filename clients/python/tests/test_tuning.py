import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler_runtime import CacheSettings, CircuitBreakerSettings, Settings, TuningError, WorkerSettings
from agentscaler_runtime.tuning import parse
from clients.python.tests.support import unhurried

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "tuning.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
DEFAULTS = Settings(
    workers=WorkerSettings(max_concurrent=3),
    cache=CacheSettings(max_bytes=1000, ttl_seconds=60),
    circuit_breaker=CircuitBreakerSettings(failure_rate_threshold_percent=40),
)
FULL: dict[str, Any] = {
    "generation": 7,
    "workers": {"maxConcurrent": 12},
    "cache": {"maxBytes": 268435456, "ttlSeconds": 900},
    "circuitBreaker": {
        "failureRateThresholdPercent": 50,
        "waitDurationInOpenStateSeconds": 30,
        "slidingWindowSeconds": 60,
        "minimumNumberOfCalls": 10,
        "permittedCallsInHalfOpenState": 2,
    },
}
LEAVES = [
    (section, key, leaf["minimum"], leaf["maximum"])
    for section in ("workers", "cache", "circuitBreaker")
    for key, leaf in SCHEMA["properties"][section]["properties"].items()
]


def accepts(document: object) -> bool:
    try:
        parse(json.dumps(document).encode(), DEFAULTS)
    except TuningError:
        return False
    return True


def test_every_key_is_read() -> None:
    tuning = parse(json.dumps(FULL).encode(), DEFAULTS)
    assert tuning.generation == 7
    assert tuning.unknown_keys == ()
    assert tuning.settings == Settings(
        workers=WorkerSettings(max_concurrent=12),
        cache=CacheSettings(max_bytes=268435456, ttl_seconds=900),
        circuit_breaker=CircuitBreakerSettings(
            failure_rate_threshold_percent=50,
            wait_duration_in_open_state_seconds=30,
            sliding_window_seconds=60,
            minimum_number_of_calls=10,
            permitted_calls_in_half_open_state=2,
        ),
    )


def test_an_absent_key_means_the_agents_own_default() -> None:
    assert parse(b'{"generation": 1}', DEFAULTS).settings == DEFAULTS
    settings = parse(b'{"generation": 2, "cache": {"ttlSeconds": 5}}', DEFAULTS).settings
    assert settings.cache == CacheSettings(max_bytes=1000, ttl_seconds=5)
    assert settings.workers == DEFAULTS.workers


def test_the_schema_accepts_the_full_example_and_knows_the_same_keys() -> None:
    VALIDATOR.check_schema(SCHEMA)
    VALIDATOR.validate(FULL)
    assert {(section, key) for section in FULL if section != "generation" for key in FULL[section]} == {
        (section, key) for section, key, _, _ in LEAVES
    }


@pytest.mark.parametrize(("section", "key", "minimum", "maximum"), LEAVES)
def test_the_runtime_keeps_the_bounds_of_the_schema(section: str, key: str, minimum: int, maximum: int) -> None:
    for value, good in ((minimum, True), (maximum, True), (minimum - 1, False), (maximum + 1, False)):
        document = {"generation": 1, section: {key: value}}
        assert accepts(document) is good
        assert VALIDATOR.is_valid(document) is good


def test_a_value_out_of_bounds_is_named_with_its_bounds() -> None:
    with pytest.raises(TuningError, match=r"workers: max_concurrent must be from 1 to 10000, not 0"):
        parse(b'{"generation": 1, "workers": {"maxConcurrent": 0}}', DEFAULTS)
    with pytest.raises(TuningError, match=r"workers\.maxConcurrent must be a whole number, not \"12\""):
        parse(b'{"generation": 1, "workers": {"maxConcurrent": "12"}}', DEFAULTS)


@pytest.mark.parametrize(("value", "good"), [("12.0", True), ("1.2e1", True), ("12.5", False), ("1e400", False)])
def test_a_number_is_whole_by_its_value_not_by_its_spelling(value: str, good: bool) -> None:
    text = '{"generation": 1, "workers": {"maxConcurrent": ' + value + "}}"
    assert VALIDATOR.is_valid(json.loads(text)) is good
    if good:
        assert parse(text.encode(), DEFAULTS).settings.workers == WorkerSettings(max_concurrent=12)
    else:
        with pytest.raises(TuningError):
            parse(text.encode(), DEFAULTS)


odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "12"]),
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "generation": st.one_of(st.integers(0, 2**53), odd_values),
        "workers": st.one_of(odd_values, st.fixed_dictionaries({}, optional={"maxConcurrent": odd_values})),
        "cache": st.fixed_dictionaries(
            {},
            optional={"maxBytes": st.one_of(st.integers(0, 2**41), odd_values), "ttlSeconds": st.integers(0, 700_000)},
        ),
        "circuitBreaker": st.fixed_dictionaries(
            {}, optional={"minimumNumberOfCalls": odd_values, "failureRateThresholdPercent": st.integers(-1, 102)}
        ),
    },
)


@unhurried
@given(documents)
def test_the_runtime_accepts_what_the_schema_accepts_and_nothing_else(document: dict[str, Any]) -> None:
    assert accepts(document) is VALIDATOR.is_valid(document)


def test_unknown_keys_are_ignored_and_named_though_the_writers_schema_forbids_them() -> None:
    document = {**FULL, "workers": {"maxConcurrent": 5, "stealing": True}, "gpu": {"share": 1}}
    tuning = parse(json.dumps(document).encode(), DEFAULTS)
    assert tuning.settings.workers.max_concurrent == 5
    assert set(tuning.unknown_keys) == {"gpu", "workers.stealing"}
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff\xfe",
        b'{"generation": NaN}',
        b'{"generation": 1, "cache": {"maxBytes": 1e400}}',
        b"[" * 50_000,
        b'{"generation": ' + b"9" * 5_000 + b"}",
        b'{"generation": 1}' + b" " * 70_000,
    ],
)
def test_what_is_not_a_settings_file_is_refused(content: bytes) -> None:
    with pytest.raises(TuningError):
        parse(content, DEFAULTS)


def test_settings_made_in_code_are_checked_too() -> None:
    with pytest.raises(ValueError, match="max_concurrent must be from 1 to 10000"):
        WorkerSettings(max_concurrent=0)
    with pytest.raises(ValueError, match="max_bytes must be a whole number"):
        CacheSettings(max_bytes=True)
