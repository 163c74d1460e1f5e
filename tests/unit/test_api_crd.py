"""The CRD is what the models say, structural, small, and the file in crds/ is it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, Field

from agentscaler.api import crd, reference
from agentscaler.api.rules import VALIDATIONS, Rule
from agentscaler.api.structural import structural

ROOT = Path(__file__).parents[2]
SCHEMA = crd.render()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
LARGEST_BYTES = 80_000


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.*")


NODES = list(nodes(SCHEMA))

# The keywords of a structural schema, after the Kubernetes documentation.
STRUCTURAL = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "type": {"enum": ["object", "array", "string", "integer", "boolean"]},
        "format": {"enum": ["date-time"]},
        "description": {"type": "string", "minLength": 1},
        "default": {"type": "integer"},
        "enum": {"type": "array", "minItems": 1},
        "pattern": {"type": "string"},
        "required": {"type": "array", "minItems": 1, "uniqueItems": True},
        "properties": {"type": "object", "additionalProperties": {"$ref": "#"}},
        "items": {"$ref": "#"},
        "additionalProperties": {"$ref": "#"},
        **{
            key: {"type": "integer"}
            for key in (
                "minimum",
                "maximum",
                "minLength",
                "maxLength",
                "minItems",
                "maxItems",
                "minProperties",
                "maxProperties",
            )
        },
        "x-kubernetes-int-or-string": {"const": True},
        "x-kubernetes-preserve-unknown-fields": {"const": True},
        "x-kubernetes-list-type": {"enum": ["map"]},
        "x-kubernetes-list-map-keys": {"type": "array", "minItems": 1, "maxItems": 1},
        VALIDATIONS: {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["rule", "message"],
                "properties": {
                    "rule": {"type": "string", "minLength": 1},
                    "message": {"type": "string", "minLength": 20, "maxLength": 2048},
                    "fieldPath": {"type": "string", "pattern": r"^(\.[a-zA-Z]+)+$"},
                },
            },
        },
    },
    "oneOf": [{"required": ["type"]}, {"required": ["x-kubernetes-int-or-string"]}],
    "not": {"required": ["properties", "additionalProperties"]},
}


def test_the_file_is_what_the_models_say() -> None:
    text = (ROOT / "crds" / f"{crd.NAME}.yaml").read_text()
    assert yaml.safe_load(text) == crd.render()
    assert text.endswith(crd.to_yaml(crd.render()))


def test_the_reference_is_what_the_crd_says() -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == reference.generate()


@pytest.mark.parametrize("main", [crd.main, reference.main])
def test_a_check_fails_on_a_file_that_differs(
    main: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (crd, reference):
        monkeypatch.setattr(module, "repository", lambda: tmp_path)
    monkeypatch.setattr("sys.argv", ["generate"])
    assert main() == 0
    monkeypatch.setattr("sys.argv", ["generate", "--check"])
    assert main() == 0
    for written in [path for path in tmp_path.rglob("*") if path.is_file()]:
        text = written.read_text()
        written.write_text(text + " ")
        assert main() == 1
        assert f"{written.name} is not what the models say: generate it again" in capsys.readouterr().err
        written.write_text(text)


def test_the_chart_has_a_copy_of_the_crd() -> None:
    copy = ROOT / "charts" / "agentscaler" / "files" / "crd.yaml"
    assert copy.read_text() == (ROOT / "crds" / f"{crd.NAME}.yaml").read_text()


def test_the_crd_is_small() -> None:
    assert len(crd.to_yaml(crd.render())) < LARGEST_BYTES


def test_the_schema_is_structural() -> None:
    jsonschema.validate(SCHEMA, STRUCTURAL)


def test_every_field_is_described() -> None:
    plain = {".apiVersion", ".kind", ".metadata", ".metadata.name"}
    missing = {
        path for path, node in NODES if "description" not in node and path not in plain and not path.endswith(".*")
    }
    assert missing == {".spec", ".status"} - {path for path, node in NODES if "description" in node}


def test_replicas_has_the_only_default() -> None:
    assert [path for path, node in NODES if "default" in node] == [".spec.replicas"]


def test_every_number_of_the_spec_is_bounded() -> None:
    unbounded = [
        path
        for path, node in NODES
        if path.startswith(".spec")
        and node.get("type") == "integer"
        and "enum" not in node
        and not {"minimum", "maximum"} <= node.keys()
    ]
    assert unbounded == []


def test_every_list_of_the_spec_is_bounded() -> None:
    assert [path for path, node in NODES if node.get("type") == "array" and "maxItems" not in node] == []


def test_the_blamed_field_of_a_rule_exists() -> None:
    for path, node in NODES:
        for rule in node.get(VALIDATIONS, ()):
            field = node
            for part in rule.get("fieldPath", "").split(".")[1:]:
                assert part in field["properties"], (path, rule)
                field = field["properties"][part]


class Inner(BaseModel):
    number: Annotated[int, Field(gt=0)]


class Broken(BaseModel):
    union: int | str


def test_what_a_structural_schema_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="exclusiveMinimum"):
        structural(Inner)
    with pytest.raises(ValueError, match="union"):
        structural(Broken)


def test_a_message_with_braces_reaches_the_person() -> None:
    rule = Rule("self", "write {a: 1}", lambda _: False)
    with pytest.raises(ValueError, match=r"write \{a: 1\}"):
        rule.judge(None)
