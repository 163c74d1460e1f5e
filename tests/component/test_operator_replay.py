"""What a running operator decided, told by `history` and made again by `replay`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from agentscaler.cli import app
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.operator_service import NAMESPACE, Service
from tests.component.operator_stage import Stage, growing, shared_stage

NAME = "spiky"


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


@pytest.fixture(scope="module")
def service(stage: Stage) -> Service:
    made = growing(stage, NAME)
    wait_until(lambda: bool(moves(stage)), PATIENCE_SECONDS, "a decision that moves something")
    return made


def moves(stage: Stage) -> list[float]:
    kept = [each["decision"] | {"now": each["now"]} for each in stage.records(NAME)]
    return [each["now"] for each in kept if each["current"] != each["settings"]]


def invoke(stage: Stage, *arguments: str, text: str | None = None) -> Result:
    url = ("--operator-url", f"http://127.0.0.1:{stage.port}", "--kubeconfig", str(stage.cluster.kubeconfig))
    return CliRunner().invoke(app, [*arguments, *(() if text is not None else url)], input=text)


def test_every_decision_in_the_log_of_a_running_operator_is_made_again(stage: Stage, service: Service) -> None:
    assert service.name == NAME
    log = (stage.directory / "operator.log").read_text()
    result = invoke(stage, "replay", "-", "-o", "json", text=log)
    assert result.exit_code == 0, result.stdout[-2000:]
    replayed = json.loads(result.stdout)
    assert any(each["name"] == NAME for each in replayed)
    assert all(each["same"] for each in replayed)


def test_history_tells_the_moves_in_order_with_their_numbers(stage: Stage, service: Service) -> None:
    assert service.name == NAME
    result = invoke(stage, "history", NAME, "-n", NAMESPACE, "-o", "json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [each["at"] for each in told] == sorted(each["at"] for each in told)
    assert set(moves(stage)[:1]) <= {each["at"] for each in told if each["moved_to"]}
    assert "operator" in {each["source"] for each in told}


def test_what_explain_gives_to_programs_can_be_replayed(stage: Stage, service: Service) -> None:
    assert service.name == NAME
    record = invoke(stage, "explain", NAME, "-n", NAMESPACE, "-o", "json")
    assert record.exit_code == 0, record.output
    result = invoke(stage, "replay", "-", text=record.stdout)
    assert result.exit_code == 0, result.output
    assert f"{NAMESPACE}/{NAME}" in result.stdout
