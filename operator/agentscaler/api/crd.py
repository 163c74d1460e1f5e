"""The CustomResourceDefinition: a shell written by hand around the schema of the models.

`python -m agentscaler.api.crd` writes `crds/` and the chart's copy; with `--check` it fails when a file differs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from agentscaler.api.rules import VALIDATIONS, Rule
from agentscaler.api.spec import MAX_NAME_LENGTH, AgentDeploymentSpec
from agentscaler.api.status import AgentDeploymentStatus
from agentscaler.api.structural import structural

GROUP: Final = "agentscaler.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "AgentDeployment"
PLURAL: Final = "agentdeployments"
NAME: Final = f"{PLURAL}.{GROUP}"
API_VERSION: Final = f"{GROUP}/{VERSION}"

_ROOT_RULES: Final = (
    Rule(
        f"self.metadata.name.size() <= {MAX_NAME_LENGTH}",
        f"metadata.name must have at most {MAX_NAME_LENGTH} characters, since names of pods are longer: shorten it",
        field_path=".metadata.name",
    ),
    Rule(
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be a DNS label: use lower case letters, digits and '-', and no dots",
        field_path=".metadata.name",
    ),
)


def _column(name: str, kind: str, path: str, description: str, *, wide: bool = False) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | {"priority": 1} if wide else column


COLUMNS: Final = (
    _column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Available, delivered, signals known."),
    _column("Status", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is Ready or not."),
    _column("Replicas", "integer", ".status.replicas", "Pods of the target."),
    _column("Workers", "integer", ".status.settings.workers", "Concurrent runs in one pod."),
    _column("Cache", "string", ".status.settings.cache.size", "Size of the cache of one pod."),
    _column("Diagnosis", "string", ".status.diagnosis", "What limits the service."),
    _column("Reason", "string", ".status.lastDecision.reason", "Why the last decision moved something."),
    _column("Age", "date", ".metadata.creationTimestamp", "Age of the object."),
    _column("Summary", "string", ".status.lastDecision.summary", "What the last decision moved, and why.", wide=True),
)


def render() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    root = {
        "description": "An LLM-agent service that is kept inside its objectives at the least cost.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            # Named for the sake of `fieldPath`; the API server has the same bound of its own.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": structural(AgentDeploymentSpec),
            "status": structural(AgentDeploymentStatus),
        },
        VALIDATIONS: [rule.as_validation() for rule in _ROOT_RULES],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["agd"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": list(COLUMNS),
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors: people and tools read the file."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (the signature of the base class)
        return True


def to_yaml(manifest: dict[str, Any]) -> str:
    """The manifest as YAML, the same text for the same content."""
    return yaml.dump(manifest, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)


def write(path: Path, text: str, *, check: bool) -> int:
    """Write a generated file, or only compare it. The result is an exit code."""
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{path.name} is not what the models say: generate it again\n")
        return 1
    return 0


def repository() -> Path:
    """The root of the source tree; generated files are written there only."""
    return Path(__file__).resolve().parents[3]


def main() -> int:
    """Write or check `crds/` and the copy in the chart: Helm packages only what lies in a chart, and no links."""
    header = "# Generated from the models by `python -m agentscaler.api.crd`. Do not edit.\n"
    text = header + to_yaml(render())
    root, check = repository(), "--check" in sys.argv[1:]
    paths = (root / "crds" / f"{NAME}.yaml", root / "charts" / "agentscaler" / "files" / "crd.yaml")
    return max(write(path, text, check=check) for path in paths)


if __name__ == "__main__":
    sys.exit(main())
