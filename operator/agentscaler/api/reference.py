"""The reference of the resource, generated from the CRD.

`python -m agentscaler.api.reference` writes `docs/reference.md`; with `--check` it fails when the file differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from agentscaler.api.crd import API_VERSION, COLUMNS, KIND, render, repository, write
from agentscaler.api.rules import VALIDATIONS

_DEFAULT_MARK: Final = " Effective default: "
_BOUNDS: Final = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minProperties", "maxProperties", " entries"),
)
_PREAMBLE: Final = f"""# Reference of the resource

Generated from the CRD by `python -m agentscaler.api.reference`. Do not edit.

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `agd`, category `all`.
`*` stands for a key of the user's own, `[]` for an entry of a list.

**Defaults.** The API server fills in `spec.replicas` and nothing else. All other defaults come from the framework
preset; `status.effective` shows what holds for an object. Where you give only one of `min` and `max`, the default of
the other gives way to it. An omitted knob is in mode Auto: an object that says nothing lets all four knobs move.
`tuning.replicas.behavior` is the exception: absent, the operator shapes moves by itself; given, it limits them with the
HPA's meaning, and what is missing in it has the HPA's defaults.

**Units.** Durations are integers with the unit in the name. Percentages are integers or strings. Sizes are quantities
(`64Mi`, `1G`, plain bytes). Quantiles are strings.
"""


def leaves(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below a schema that holds a value of its own, with its path."""
    for name, field in schema.get("properties", {}).items():
        yield from leaves(field, f"{path}.{name}")
    if "items" in schema:
        yield from leaves(schema["items"], f"{path}[]")
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and "properties" in extra:
        yield from leaves(extra, f"{path}.*")
    elif "properties" not in schema and "items" not in schema:
        yield path, schema


def generate() -> str:
    """The text of `docs/reference.md`."""
    root = render()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec, status = root["properties"]["spec"], root["properties"]["status"]
    places: dict[str, list[str]] = {}
    for path, message in _rules(root, ""):
        places.setdefault(message, []).append(f"`{path}`")
    parts = [
        _PREAMBLE,
        "## Spec\n",
        "| field | type | bounds | default | meaning |\n|---|---|---|---|---|",
        *_rows(spec, "spec", {}, bounds=True),
        "\n## Rules\n",
        "What one object can get wrong beyond the bounds above is refused with these messages.\n",
        "| message | where |\n|---|---|",
        *(f"| {message} | {', '.join(paths)} |" for message, paths in places.items()),
        "\n## Status\n",
        "Written with a decision or a change of health, never for a drifting number.\n",
        "| field | type | meaning |\n|---|---|---|",
        *_rows(status, "status", {}, bounds=False),
        "\n## Columns of `kubectl get agd`\n",
        "| column | from | meaning |\n|---|---|---|",
        *(f"| {each['name']} | `{each['jsonPath']}` | {each['description']}{_wide(each)} |" for each in COLUMNS),
    ]
    return "\n".join(parts) + "\n"


def _wide(column: dict[str, Any]) -> str:
    return " With `--output=wide`." if column.get("priority") else ""


def _rows(schema: dict[str, Any], path: str, seen: dict[str, str], *, bounds: bool) -> Iterator[str]:
    """A row for each field, depth first; a structure that came before is named and not told again."""
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        below, inner = _below(field, where)
        shape = json.dumps({**inner, "description": ""})
        earlier = seen.get(shape) if inner.get("properties") else None
        yield _row(where, field, f" Fields as in `{earlier}`." if earlier else "", bounds=bounds)
        if earlier is None:
            seen[shape] = below
            yield from _rows(inner, below, seen, bounds=bounds)


def _below(field: dict[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    """What a list or a map holds, or the field itself."""
    if "items" in field:
        return f"{path}[]", field["items"]
    if "properties" in field.get("additionalProperties", {}):
        return f"{path}.*", field["additionalProperties"]
    return path, field


def _row(path: str, field: dict[str, Any], added: str, *, bounds: bool) -> str:
    meaning, _, default = field.get("description", "").partition(_DEFAULT_MARK)
    if "default" in field:
        default = f"`{field['default']}`, by the API server"
    cells = [f"`{path}`", _type(field), *([_bounds(field), default.rstrip(".")] if bounds else []), meaning + added]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: dict[str, Any]) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "additionalProperties" in field:
        return f"map of {field['additionalProperties']['type']}s"
    if "items" in field:
        return f"list of {field['items']['type']}s"
    return str(field.get("format", field["type"]))


def _bounds(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for low, high, unit in _BOUNDS:
        if high in field and not field.get("x-kubernetes-int-or-string"):
            return f"{field.get(low, 0)} to {field[high]}{unit}"
    return ""


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get(VALIDATIONS, ()):
        yield f"{path}{rule.get('fieldPath', '')}".lstrip("."), rule["message"].replace("|", "\\|")
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _rules(schema["additionalProperties"], f"{path}.*")


def main() -> int:
    """Write or check `docs/reference.md`."""
    return write(repository() / "docs" / "reference.md", generate(), check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
