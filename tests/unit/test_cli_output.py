"""What the commands print, from objects and decisions as the operator writes them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter
from rich.console import Console, RenderableType
from typer.testing import CliRunner

from agentscaler.api import crd
from agentscaler.cli import app
from agentscaler.cli.explain import explained, from_record, from_status
from agentscaler.cli.status import row, signal_table, table
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.policy import Policy
from agentscaler.core.target import Target

NOW = 1_800_000_000.0
AT = "2027-01-15T08:00:00Z"

BODY: Mapping[str, Any] = {
    "metadata": {"namespace": "agents", "name": "researcher"},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Available", "message": "fine"},
            {"type": "ScalingLimited", "status": "True", "reason": "BoundedMax", "message": "at the maximum of 8"},
            {"type": "Conflict", "status": "False", "reason": "NoConflict", "message": "nobody else"},
        ],
        "replicas": 8,
        "readyReplicas": 5,
        "settings": {
            "generation": 4,
            "workers": 12,
            "cache": {"size": "64Mi", "ttlSeconds": 600},
            "circuitBreaker": {"failureRateThresholdPercent": 20, "waitDurationInOpenStateSeconds": 10},
        },
        "appliedGeneration": 4,
        "diagnosis": "WorkerBound",
        "lastDecision": {"at": AT, "reason": "Burst", "summary": "replicas 3 -> 8: all workers are busy"},
        "records": [{"at": AT, "reason": "Burst", "summary": "replicas 3 -> 8: all workers are busy"}],
        "signals": [
            {"name": "queueWait", "value": "1.5", "health": "Fresh", "observedAt": AT},
            {"name": "latency", "value": "30", "health": "Stale", "observedAt": AT},
            {"name": "errorRatio", "health": "Idle"},
        ],
    },
}
EMPTY: Mapping[str, Any] = {"metadata": {"namespace": "agents", "name": "new"}}


def printed(renderable: RenderableType) -> str:
    screen = Console(file=io.StringIO(), width=200)
    screen.print(renderable)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def a_decision() -> Decision:
    seen = {
        SignalName.IN_FLIGHT: Signal(8.0, Health.FRESH, NOW - 3),
        SignalName.QUEUE_DEPTH: Signal(30.0, Health.FRESH, NOW - 3),
        SignalName.WORKER_LIMIT: Signal(4.0, Health.FRESH, NOW - 3),
        SignalName.REQUEST_RATE_60: Signal(2.0, Health.FRESH, NOW - 3),
        SignalName.LATENCY: Signal(9.0, Health.STALE, NOW - 90),
        SignalName.CACHE_BYTES: Signal(0.0, Health.FRESH, NOW - 3),
    }
    return decide(Policy(), Target(replicas=2, ready_replicas=2), Observation(NOW - 1, seen), Memory(), NOW)


def a_record(decision: Decision) -> dict[str, Any]:
    signals = {
        "inFlight": {"value": 8.0, "health": "Fresh", "observed_at": NOW - 3},
        "latency": {"value": 9.0, "health": "Stale", "observed_at": NOW - 90},
        "cacheBytes": {"value": 0.0, "health": "Fresh", "observed_at": NOW - 3},
    }
    encoded = TypeAdapter(Decision).dump_python(decision, mode="json")
    return {"now": NOW, "observation": {"evaluated_at": NOW - 1, "signals": signals}, "decision": encoded}


def test_status_shows_size_settings_diagnosis_health_and_the_last_decision() -> None:
    text = printed(table([dict(BODY)], with_namespace=True, now=NOW))
    for part in ("agents", "researcher", "True", "5/8", "12", "64Mi/600s", "20%/10s", "WorkerBound", "Stale: latency"):
        assert part in text
    assert "replicas 3 -> 8: all workers are busy" in text


def test_an_object_that_was_never_decided_has_dashes() -> None:
    text = printed(table([dict(EMPTY)], with_namespace=False, now=NOW))
    assert text.splitlines()[1].split() == ["new", "Unknown", "0/-", "-", "-", "-", "-", "-", "-", "-"]


def test_signals_are_shown_with_value_health_and_age() -> None:
    lines = printed(signal_table(dict(BODY), now=NOW)).splitlines()
    assert lines[1].split() == ["queueWait", "1.50s", "Fresh", "0s", "ago"]
    assert lines[3].split() == ["errorRatio", "-", "Idle", "-"]


def test_rows_for_programs_keep_the_words_of_status() -> None:
    found = row(dict(BODY))
    assert (found["ready"], found["workers"], found["settingsGeneration"]) == ("True", 12, 4)
    assert found["lastDecision"]["reason"] == "Burst"
    assert row(dict(EMPTY))["ready"] == "Unknown"


def test_explain_from_status_says_what_is_missing_and_why() -> None:
    text = printed(explained(from_status(dict(BODY), missing="the operator is away"), full=False, now=NOW))
    assert "From status only: the operator is away." in text
    assert "replicas 3 -> 8: all workers are busy (Burst)" in text
    assert "ScalingLimited" in text
    assert "Conflict" not in text  # all is normal there


def test_explain_of_an_object_without_a_decision_asks_for_the_operator() -> None:
    text = printed(explained(from_status(dict(EMPTY), missing="no record"), full=True, now=NOW))
    assert "does the operator run" in text


def test_explain_of_an_object_that_is_held_says_why_once() -> None:
    mend = "ConfigMap new-settings is not ours: delete or rename it"
    conditions = [
        {"type": "Ready", "status": "False", "reason": "NameTaken", "message": mend},
        {"type": "Stalled", "status": "True", "reason": "NameTaken", "message": mend},
    ]
    held = {**EMPTY, "status": {"conditions": conditions, "diagnosis": "Unknown"}}
    text = printed(explained(from_status(held, missing="no record"), full=False, now=NOW))
    assert f"Held (NameTaken): {mend}" in text
    assert "does the operator run" not in text
    assert text.count(mend) == 2
    assert "as Ready" in text


def test_explain_from_a_full_record_shows_every_step_and_the_hpa() -> None:
    decision = a_decision()
    assert decision.steps
    text = printed(explained(from_record(dict(BODY), a_record(decision)), full=False, now=NOW))
    for step in decision.steps:
        assert step.rule in text
        assert step.message.split("(")[0].strip() in text
    assert decision.summary.split("(")[0].strip() in text
    assert f"The HPA's rule would ask for {decision.hpa_replicas} replicas" in text


def test_explain_tells_the_forecast_and_the_margin_of_the_decision() -> None:
    decision = a_decision()
    assert decision.demand_runs is not None
    assert decision.forecast is not None
    assert decision.margin_runs is not None
    text = printed(explained(from_record(dict(BODY), a_record(decision)), full=False, now=NOW))
    f = decision.forecast
    assert f"{decision.demand_runs:.1f} runs at a time are expected" in text
    assert f"in {f.lead_seconds:.0f} s" in text
    assert f"now {f.busy_runs:.4g} run and {f.queued_runs:.4g} wait" in text
    assert f"{decision.margin_runs:.1f} workers are kept free above them" in text


def test_a_tick_that_moves_nothing_is_followed_by_the_last_move() -> None:
    moved = a_record(a_decision())
    quiet = a_record(a_decision()) | {"now": NOW + 60}
    quiet["decision"] = quiet["decision"] | {
        "settings": quiet["decision"]["current"],
        "steps": [],
        "summary": "no change",
    }
    text = printed(explained(from_record(dict(BODY), quiet, moved), full=False, now=NOW + 60))
    assert "no rule asked for a change" in text
    assert "Last move, 60s ago" in text
    assert "follow-demand" in text


def test_zeros_are_shown_on_demand_only_and_untrusted_values_always() -> None:
    explanation = from_record(dict(BODY), a_record(a_decision()))
    short, whole = (printed(explained(explanation, full=full, now=NOW)) for full in (False, True))
    assert "latency" in short
    assert "cacheBytes" not in short
    assert "cacheBytes" in whole


def test_crds_prints_what_kubectl_can_apply() -> None:
    result = CliRunner().invoke(app, ["crds"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == yaml.safe_load(crd.to_yaml(crd.render()))


def test_a_broken_server_flag_exits_2_and_says_the_form() -> None:
    result = CliRunner().invoke(app, ["run", "--prometheus", "http://only-a-url"])
    assert result.exit_code == 2
    assert "NAME=URL" in result.stderr


def test_no_kubeconfig_exits_2_and_says_what_to_set() -> None:
    result = CliRunner().invoke(app, ["status", "--kubeconfig", "/does/not/exist"])
    assert result.exit_code == 2
    assert "--kubeconfig FILE" in result.stderr


def test_a_name_and_all_namespaces_exclude_each_other() -> None:
    result = CliRunner().invoke(app, ["status", "researcher", "-A"])
    assert result.exit_code == 2
    assert "give the namespace with -n" in result.stderr
