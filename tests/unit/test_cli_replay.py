"""`agentscaler replay` on everything that a record comes wrapped in."""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentscaler.cli import app
from agentscaler.core.decide import decide
from agentscaler.core.memory import Memory
from agentscaler.kube.records import DecisionRecord, Records, to_json
from agentscaler.logs import JsonFormatter
from tests.worlds import POLICY, START, TARGET, observe


def record(now: float = START, queue_depth: float = 50_000.0) -> DecisionRecord:
    observation, memory = observe(now, in_flight=1 / 3, queue_depth=queue_depth), Memory(decided_at=now - 5)
    return DecisionRecord(
        namespace="ns",
        name="one",
        uid="u",
        generation=1,
        now=now,
        spec={},
        policy=POLICY,
        target=TARGET,
        observation=observation,
        memory=memory,
        decision=decide(POLICY, TARGET, observation, memory, now),
    )


def invoke(text: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["replay", "-", *arguments], input=text)


def changed(**decision: Any) -> dict[str, Any]:
    plain = deepcopy(to_json(record()))
    plain["decision"] |= decision
    return plain


def test_one_record_gives_the_same_decision(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(to_json(record())))
    result = CliRunner().invoke(app, ["replay", str(file)])
    assert result.exit_code == 0, result.output
    assert "ns/one" in result.stdout
    assert "same" in result.stdout
    assert record().decision.summary in result.stdout


def test_the_operators_own_log_lines_are_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="agentscaler"):
        ring = Records()
        ring.add(record())
        ring.add(record(START + 5, queue_depth=0.0))
        logging.getLogger("agentscaler.test").info("something else")
    lines = [JsonFormatter().format(each) for each in caplog.records]
    prefixed = "\n".join(
        ["Defaulted container agentscaler", *(f"[pod/agentscaler-0/operator] {each}" for each in lines)]
    )
    for text in ("\n".join(lines), prefixed):
        result = invoke(text, "-o", "json")
        assert result.exit_code == 0, result.output
        assert [(each["now"], each["same"]) for each in json.loads(result.stdout)] == [(START, True), (START + 5, True)]


def test_a_changed_decision_is_told_with_its_place_and_exit_code_1() -> None:
    plain = changed(margin_runs=1.0)
    plain["decision"]["settings"]["replicas"] += 1
    result = invoke(json.dumps([to_json(record()), plain]))
    assert result.exit_code == 1
    assert "decision.settings.replicas" in result.stdout
    assert "decision.margin_runs" in result.stdout
    assert "2 values differ" in result.stdout
    assert result.stdout.count("same") == 1


def test_the_smallest_bit_of_a_number_counts() -> None:
    before = record().decision.demand_runs
    assert before is not None
    bits = changed(demand_runs=before * (1 + 2**-52))
    found = json.loads(invoke(json.dumps(bits), "-o", "json").stdout)
    assert [each["path"] for each in found[0]["differences"]] == ["decision.demand_runs"]


def test_a_step_that_is_gone_and_a_field_that_is_unknown_are_differences() -> None:
    steps = to_json(record())["decision"]["steps"]
    result = invoke(json.dumps(changed(steps=steps[:-1], later=1)), "-o", "json")
    paths = {each["path"] for each in json.loads(result.stdout)[0]["differences"]}
    assert f"decision.steps[{len(steps) - 1}]" in paths
    assert "decision.later" in paths


def test_whole_numbers_written_without_a_point_are_the_same() -> None:
    made = replace(record(), now=START)
    text = json.dumps(to_json(made)).replace(".0,", ",").replace(".0}", "}")
    assert invoke(text).exit_code == 0


@pytest.mark.parametrize("text", ["", "{}", "no JSON at all", '{"records": []}', "[1, 2]", "null"])
def test_a_file_without_a_record_says_what_to_give(text: str) -> None:
    result = invoke(text)
    assert result.exit_code == 2
    assert "no decision record" in result.stderr
    assert "explain -o json" in result.stderr


def test_half_a_record_names_the_field() -> None:
    plain = to_json(record())
    del plain["target"]
    result = invoke(json.dumps(plain))
    assert result.exit_code == 2
    assert "target: " in result.stderr


def test_a_file_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(app, ["replay", "/does/not/exist"])
    assert result.exit_code == 2
    assert "/does/not/exist" in result.stderr
