"""What a framework brings: defaults that the user overrules, limits that nobody can, and what it cannot tell."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from agentscaler.api.spec import parse_spec
from agentscaler.cli.explain import explained, from_status
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import QuantileObjective, Range
from agentscaler.frameworks.preset import Metrics
from agentscaler.frameworks.registry import PRESETS
from agentscaler.frameworks.resolve import Resolved, resolve
from agentscaler.frameworks.signature import names, stranger
from tests.api_corpus import owned

FRAMEWORKS = [name for name in PRESETS if name != "generic"]


def resolved(**spec: Any) -> Resolved:
    return resolve(parse_spec(owned(**spec)))


def test_every_framework_that_a_spec_may_name_has_a_preset() -> None:
    for name in PRESETS:
        assert resolved(framework=name).preset.name == name


def test_a_framework_brings_the_defaults_of_its_guide() -> None:
    policy = resolved(framework="agentflow").policy
    assert policy.objectives.latency == QuantileObjective(0.95, 0.5)
    assert policy.objectives.error_ratio == pytest.approx(0.001)
    assert (policy.workers.initial, policy.workers.max) == (50, 100)
    assert policy.cache.ttl_seconds == Range(300, 86_400, 3600)


def test_what_the_user_says_goes_before_the_framework() -> None:
    policy = resolved(
        framework="agentflow",
        objectives={"latency": {"quantile": "0.9", "targetMilliseconds": 9000}},
        tuning={"workers": {"initial": 5, "max": 20}},
    ).policy
    assert policy.objectives.latency == QuantileObjective(0.9, 9.0)
    assert policy.objectives.error_ratio == pytest.approx(0.001), "what the user does not say stays the guide's"
    assert (policy.workers.initial, policy.workers.max) == (5, 20)


@pytest.mark.parametrize("name", PRESETS)
def test_defaults_lie_within_their_bounds(name: str) -> None:
    policy = resolved(framework=name).policy
    workers, cache, breaker = policy.workers, policy.cache, policy.breaker
    ranges = [cache.max_bytes, cache.ttl_seconds, breaker.failure_rate_threshold_percent]
    ranges += [breaker.wait_duration_in_open_state_seconds, Range(workers.min, workers.max, workers.initial)]
    for each in ranges:
        assert each is not None
        assert each.min <= (each.initial or each.min) <= each.max


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_effective_values_name_the_file_and_what_is_never_known(name: str) -> None:
    told = resolved(framework=name).effective
    assert told["framework"] == name
    adapter = PRESETS[name].adapter
    assert adapter is not None
    assert told["delivery"]["file"] == adapter.file
    assert "agent_queue_wait_seconds" in told["signals"]["unavailable"]["queueWait"]


def test_a_signal_that_the_user_names_a_metric_for_is_not_called_unknown() -> None:
    override = {"queueWait": {"metric": "mine_seconds", "kind": "Histogram"}}
    told = resolved(framework="aiecs", signals={"overrides": override}).effective
    assert "queueWait" not in told["signals"]["unavailable"]
    assert "inFlight" in told["signals"]["unavailable"]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_only_signals_that_there_are_can_be_unknown(name: str) -> None:
    metrics: Metrics = PRESETS[name].metrics
    assert set(metrics.unavailable) <= {str(signal) for signal in SignalName}


def test_bounds_that_a_framework_cannot_hold_give_way_and_are_told() -> None:
    tuning = {"cache": {"ttlSeconds": {"min": 20, "max": 900, "initial": 30}}}
    made = resolved(framework="genericagents", delivery={"mode": "Restart"}, tuning=tuning)
    assert made.policy.cache.ttl_seconds == Range(60, 900, 60)
    (told,) = made.narrowed
    assert told.startswith("tuning.cache.ttlSeconds: Performance:CacheExpirationMinutes takes 60 to ")
    assert told.endswith("so 60 to 900 holds")
    assert made.effective["delivery"]["limits"] == [told]
    assert made.effective["tuning"]["cache"]["ttlSeconds"] == {"min": 60, "max": 900, "initial": 60}


def test_limits_of_what_is_not_delivered_narrow_nothing() -> None:
    tuning = {"cache": {"ttlSeconds": {"min": 20, "max": 900}}}
    made = resolved(framework="genericagents", tuning=tuning)
    assert made.policy.cache.ttl_seconds is not None
    assert made.policy.cache.ttl_seconds.min == 20
    assert made.narrowed == ()


def test_explain_shows_what_a_framework_brings() -> None:
    told = resolved(framework="agentflow", delivery={"baseConfigMap": {"name": "mine"}}).effective
    body = {"metadata": {"namespace": "ns", "name": "one"}, "status": {"effective": told}}
    shown = Console(width=200)
    with shown.capture() as capture:
        shown.print(explained(from_status(body, missing="test"), full=False, now=0.0))
    text = capture.get()
    assert "framework agentflow, settings in agentflow.toml on top of agentflow.toml of ConfigMap mine" in text
    assert "latency: quantile 0.95, targetMilliseconds 500" in text
    assert "workers: mode Auto, min 1, max 100, initial 50" in text
    assert "not in the framework's own metrics: queueWait (" in text


def test_each_framework_is_known_by_metrics_of_its_own() -> None:
    for name in FRAMEWORKS:
        own = names(name) - names("generic")
        assert own, name
        message = stranger("generic", own)
        assert not stranger(name, own), "its own, before its first run"
        assert not stranger(name, {"agent_tuning_applied_generation", "my_runs_total"}), "every framework has that"
        assert f"set spec.framework: {name}" in message


def test_metrics_of_nobody_lead_to_overrides() -> None:
    assert "name them in spec.signals.overrides" in stranger("aiecs", {"my_runs_total"})
