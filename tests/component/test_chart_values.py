"""The values of the chart: complete, documented, and refused by name where they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agentscaler.settings import OperatorSettings
from charts import values as generator
from tests.component.helm import CHART, VERSIONS, Helm, HelmError, Json

SECRET = {"secret": "prometheus", "key": "it"}


@pytest.fixture(params=VERSIONS)
def helm(request: pytest.FixtureRequest, tmp_path: Path) -> Helm:
    return Helm(request.param, tmp_path)


def test_every_setting_of_the_operator_has_a_value() -> None:
    elsewhere = {"prometheus", "namespaces", "kubeconfig", "default_server"}
    elsewhere |= {"leader_election", "lease_namespace", "lease_name"}
    offered = set(generator.schema()["properties"]["settings"]["properties"])
    fields = OperatorSettings.model_fields
    assert offered == {str(fields[name].alias) for name in fields.keys() - elsewhere}
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    assert defaults == {str(field.alias): field.default for name, field in fields.items() if name not in elsewhere}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"replicaz": 2}, ("replicaz",)),
        ({"settings": {"tickSecond": 2}}, ("/settings", "tickSecond")),
        ({"settings": {"tickSeconds": 0.5}}, ("/settings/tickSeconds", "minimum")),
        ({"prometheus": {"main": {"ulr": "http://a"}}}, ("/prometheus/main", "ulr")),
        ({"prometheus": {"main": {"url": "prometheus:9090"}}}, ("/prometheus/main/url",)),
        ({"prometheus": {"main": {"bearerToken": {"secret": "a"}}}}, ("/prometheus/main/bearerToken", "key")),
        ({"prometheus": {"main": {"tls": {"cert": SECRET}}}}, ("/prometheus/main/tls", "key")),
        ({"namespaces": "agents"}, ("/namespaces", "array")),
        ({"image": {"tag": 1.1}}, ("/image/tag", "string")),
        ({"podMonitor": {"interval": "often"}}, ("/podMonitor/interval",)),
        ({"replicas": 2, "leaderElection": {"enabled": False}}, ("leaderElection.enabled", "set replicas to 1")),
        ({"defaultServer": "main"}, ("defaultServer", "main")),
        (
            {"prometheus": {"a": {"bearerToken": SECRET, "basicAuth": {"username": "x", "password": SECRET}}}},
            ("prometheus.a", "remove one"),
        ),
    ],
)
def test_a_wrong_value_is_refused_and_named(helm: Helm, wrong: Json, named: tuple[str, ...]) -> None:
    with pytest.raises(HelmError) as refused:
        helm.template(wrong)
    for words in named:
        assert words in str(refused.value)


def test_what_is_generated_is_what_the_schema_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = generator.schema()
    assert (CHART / "values.yaml").read_text() == generator.values(schema)
    page = generator.DOCUMENT.read_text()
    assert page == generator.document(page, generator.table(schema))
    copy = tmp_path / "chart.md"
    copy.write_text(page.replace("| `replicas` |", "| `replica` |"))
    monkeypatch.setattr(generator, "DOCUMENT", copy)
    monkeypatch.setattr("sys.argv", ["values", "--check"])
    assert generator.main() == 1
    assert "generate it again" in capsys.readouterr().err


def test_the_schema_is_complete() -> None:
    schema = generator.schema()
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text()), schema)
    free = {
        "affinity",
        "podSecurityContext",
        "securityContext",
        "global",
    }  # Kubernetes checks them, or nobody reads them

    def walk(node: Any, path: str) -> None:
        if not isinstance(node, dict):
            return
        if node.get("type") == "object" and path not in free:
            assert "additionalProperties" in node, path
        for name, child in node.get("properties", {}).items():
            assert "description" in child, f"{path}.{name}"
            walk(child, f"{path}.{name}".lstrip("."))
        walk(node.get("additionalProperties"), f"{path}.*")

    walk(schema, "")
    for name, definition in schema["definitions"].items():
        if name != "objects":
            walk(definition, name)
