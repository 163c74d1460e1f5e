"""What stands in `status.effective`: every default, in the words and units of the spec."""

from __future__ import annotations

import pytest

from agentscaler.api.spec import parse_spec
from agentscaler.frameworks.effective import describe, effective
from tests.api_corpus import CASES, Case, owned

GOOD = [case for case in CASES if case.refused is None]


def test_the_description_uses_the_users_words_and_units() -> None:
    spec = parse_spec(
        owned(
            objectives={"errorRate": {"targetPercent": "0.1"}, "memory": {"targetPercent": "82.5"}},
            signals={"overrides": {"latency": {"metric": "my_seconds", "kind": "Histogram"}}},
            tuning={"cache": {"max": "256Mi"}, "replicas": {"behavior": {"scaleUp": {"tolerance": "50m"}}}},
            delivery={"mode": "Restart"},
        )
    )
    told = describe(spec, effective(spec))
    assert told["objectives"] == {
        "queueWait": {"quantile": "0.99", "targetMilliseconds": 5000},
        "errorRate": {"targetPercent": "0.1"},
        "memory": {"targetPercent": "82.5"},
    }
    assert told["signals"] == {"windowSeconds": 120, "overrides": {"latency": "my_seconds", "duration": "my_seconds"}}
    assert told["tuning"]["cache"] == {
        "mode": "Auto",
        "min": "64Mi",
        "max": "256Mi",
        "ttlSeconds": {"min": 60, "max": 3600},
    }
    assert told["tuning"]["replicas"]["behavior"]["scaleUp"]["tolerance"] == "0.05"
    assert told["delivery"] == {"mode": "Restart", "minRestartIntervalSeconds": 3600}
    assert (told["framework"], told["prometheus"], told["container"]) == ("generic", "default", "agent")


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_the_description_is_a_spec_that_means_the_same(case: Case) -> None:
    spec = parse_spec(case.spec)
    told = describe(spec, effective(spec))
    told["signals"].pop("overrides", None)
    again = parse_spec(
        owned(replicas=spec.replicas, **{key: told[key] for key in ("objectives", "signals", "tuning")})
        | {key: told[key] for key in ("statefulness", "pausedScaleIn", "pausedScaleOut")}
    )
    assert effective(again) == effective(spec)
