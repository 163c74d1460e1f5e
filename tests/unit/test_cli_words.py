"""Values as people read them."""

from __future__ import annotations

import pytest

from agentscaler.cli.words import age, breaker_words, cache_words, quantity, unix


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (192, "3m12s"), (3600 * 5 + 420, "5h7m"), (86400 * 3, "3d")],
)
def test_ages_read_as_kubectl_writes_them(seconds: float, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memoryMaxBytes", "157286400", "150.0Mi"),
        ("errorRatio", 0.0123, "1.2%"),
        ("requestRate60", "4", "4.00/s"),
        ("queueWait", "0.25", "250ms"),
        ("latency", 12.5, "12.50s"),
        ("inFlight", "12", "12"),
        ("inFlight", None, "-"),
    ],
)
def test_a_signal_is_shown_in_the_unit_of_its_name(name: str, value: float | str | None, words: str) -> None:
    assert quantity(name, value) == words


def test_times_of_status_become_unix_seconds() -> None:
    assert unix("1970-01-01T00:01:00Z") == 60
    assert unix(None) is None
    assert unix("yesterday") is None


def test_settings_that_are_left_to_the_agent_are_a_dash() -> None:
    assert cache_words({}) == "-"
    assert cache_words({"cache": {"size": "64Mi"}}) == "64Mi"
    assert cache_words({"cache": {"size": "64Mi", "ttlSeconds": 60}}) == "64Mi/60s"
    assert breaker_words({}) == "-"
    assert breaker_words({"circuitBreaker": {"failureRateThresholdPercent": 50}}) == "50%/-"
    assert breaker_words(
        {"circuitBreaker": {"failureRateThresholdPercent": 50, "waitDurationInOpenStateSeconds": 10}}
    ) == ("50%/10s")
