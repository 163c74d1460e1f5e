"""From the JSON schema that pydantic makes to the structural OpenAPI schema that a CRD takes.

One pass, and it refuses what it does not know: a silent wrong turn here would be a field that the API server drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT: Final = frozenset(
    {
        "type",
        "format",
        "description",
        "default",
        "enum",
        "pattern",
        "required",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    }
)
_DROPPED: Final = frozenset({"title", "$defs", "properties", "items", "additionalProperties", "$ref", "anyOf", "const"})
_ENUM_TYPES: Final = {int: "integer", str: "string"}


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model.

    Raises:
        ValueError: the model uses what a structural schema cannot say.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(source, source.get("$defs", {}), "")


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Schema:
    node = _resolve(node, definitions)
    unknown = {key for key in node if key not in _KEPT | _DROPPED and not key.startswith("x-kubernetes-")}
    if unknown:
        raise ValueError(f"{path}: a structural schema has no {sorted(unknown)}")
    schema = {
        key: _one_line(value) if key == "description" else value
        for key, value in node.items()
        if key not in _DROPPED and not (key == "default" and value is None)
    }
    if "const" in node:
        schema["enum"] = [node["const"]]
    if "enum" in schema:
        schema["type"] = _ENUM_TYPES[type(schema["enum"][0])]
    if "x-kubernetes-int-or-string" in schema:
        schema.pop("type", None)
    elif "type" not in schema:
        raise ValueError(f"{path}: no type")
    if "properties" in node:
        schema["properties"] = {
            name: _convert(each, definitions, f"{path}.{name}") for name, each in node["properties"].items()
        }
    if "items" in node:
        schema["items"] = _convert(node["items"], definitions, f"{path}[]")
    # False says that no other keys are allowed: the API server prunes or refuses them without being told.
    extra = node.get("additionalProperties", False)
    if extra is True:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    elif isinstance(extra, Mapping):
        schema["additionalProperties"] = _convert(extra, definitions, f"{path}.*")
    return schema


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node without `$ref` and without the `null` branch of optional fields; its own keys win."""
    if "$ref" in node:
        target = _resolve(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
        return _merge(target, node)
    branches = [each for each in node.get("anyOf", ()) if each.get("type") != "null"]
    if len(branches) == 1:
        return _merge(_resolve(branches[0], definitions), node)
    if branches and not (
        "x-kubernetes-int-or-string" in node and {b["type"] for b in branches} == {"integer", "string"}
    ):
        raise ValueError("a union is not structural: write it as optional siblings and a rule")
    return node


def _merge(target: Mapping[str, Any], node: Mapping[str, Any]) -> Schema:
    return {**target, **{key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}}


def _one_line(text: str) -> str:
    return " ".join(text.split())
