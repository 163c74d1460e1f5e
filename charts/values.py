"""Writes what follows from the chart's values.schema.json: values.yaml, and the table in docs/chart.md.

`python charts/values.py` writes both; with `--check` it fails when one differs.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, Final

import yaml

from agentscaler.api.crd import repository, write

ROOT: Final = repository()
CHART: Final = ROOT / "charts" / "agentscaler"
DOCUMENT: Final = ROOT / "docs" / "chart.md"
BEGIN: Final = "<!-- values: begin, written by `python charts/values.py` -->\n"
END: Final = "<!-- values: end -->\n"
HEADER: Final = "# Values of the chart, written from values.schema.json by `python charts/values.py`. Do not edit.\n"
WIDTH: Final = 110

Schema = dict[str, Any]


def schema() -> Schema:
    """The schema as it is written."""
    loaded: Schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def values(root: Schema) -> str:
    """The text of values.yaml: every key with its description and its default.

    Args:
        root: The schema.

    Raises:
        KeyError: A key has neither a default nor keys of its own.
    """
    return HEADER + "".join(_lines(root, ""))


def table(root: Schema) -> str:
    """The table of all keys, those of servers included.

    Args:
        root: The schema.
    """
    rows = [f"| `{path}` | {kind} | {default} | {text} |\n" for path, kind, default, text in _rows(root, root, "")]
    return "| value | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def document(text: str, rows: str) -> str:
    """The page with the table put between its marks.

    Args:
        text: The page as it is.
        rows: The table.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + rows + END + after


def _lines(node: Schema, indent: str) -> Iterator[str]:
    for key, child in node["properties"].items():
        if not indent:
            yield "\n"
        for line in textwrap.wrap(child["description"], WIDTH - len(indent) - 2):
            yield f"{indent}# {line}\n"
        if "properties" in child:
            yield f"{indent}{key}:\n"
            yield from _lines(child, indent + "  ")
            continue
        for example in child.get("examples", ()):
            yield textwrap.indent(_yaml(example), f"{indent}#   ")
        default = child["default"]
        if isinstance(default, dict) and default:
            yield f"{indent}{key}:\n" + textwrap.indent(_yaml(default), indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(default)}\n"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)


def _rows(root: Schema, node: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for key, given in node.get("properties", {}).items():
        child = _resolved(root, given)
        path = f"{prefix}{key}"
        default = f"`{json.dumps(child['default'])}`" if "default" in child else ""
        yield path, _kind(root, child), default, child["description"]
        yield from _rows(root, child, f"{path}.")
        entries = child.get("additionalProperties")
        if isinstance(entries, dict) and "x-key" in entries:
            yield from _rows(root, _resolved(root, entries), f"{path}.{entries['x-key']}.")


def _resolved(root: Schema, node: Schema) -> Schema:
    """The node with what it refers to; its own words come first."""
    name = node.get("$ref", "").rpartition("/")[2]
    return {**root["definitions"][name], **node} if name else node


def _kind(root: Schema, node: Schema) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    kinds = node.get("type") or [_resolved(root, each)["type"] for each in node["oneOf"]]
    return kinds if isinstance(kinds, str) else " or ".join(kinds)


def main() -> int:
    """Write or check both files."""
    check = "--check" in sys.argv[1:]
    root = schema()
    page = document(DOCUMENT.read_text(encoding="utf-8"), table(root))
    return max(
        write(CHART / "values.yaml", values(root), check=check),
        write(DOCUMENT, page, check=check),
    )


if __name__ == "__main__":
    sys.exit(main())
