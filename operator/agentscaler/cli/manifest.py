"""AgentDeployments out of files, as `kubectl apply` would take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from agentscaler.api.spec import AgentDeploymentSpec
from agentscaler.cli.cluster import CliError
from agentscaler.core.policy import Policy
from agentscaler.frameworks.resolve import resolve

SUFFIXES = (".yaml", ".yml", ".json")


def is_manifest(name: str) -> bool:
    """Whether a word names a file and not a policy."""
    return name.endswith(SUFFIXES)


def read_manifest(file: Path, name: str | None = None) -> dict[str, Any]:
    """The AgentDeployment in a file.

    Args:
        file: YAML with one document or several.
        name: Of the object, where the file has more than one; None: there has to be one only.

    Raises:
        CliError: The file holds none, or several to choose from.
    """
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file}: {error}", exit_code=2) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise CliError(f"{file}{place}: this is not YAML", exit_code=2) from error
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == "AgentDeployment"]
    named = [each for each in found if (each.get("metadata") or {}).get("name") == name]
    chosen = named if len(found) > 1 and named else found
    if len(chosen) != 1:
        names = ", ".join(str((each.get("metadata") or {}).get("name")) for each in found) or "none"
        raise CliError(f"{file}: one AgentDeployment is needed; it has {names}", exit_code=2)
    return chosen[0]


def spec_of(body: dict[str, Any]) -> AgentDeploymentSpec:
    """The spec of an object.

    Raises:
        CliError: It is not valid; the text names each field.
    """
    try:
        return AgentDeploymentSpec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        what = "; ".join(
            f"spec.{'.'.join(str(part) for part in each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_url=False)
        )
        raise CliError(f"the manifest is not valid: {what}", exit_code=2) from error


def policy_of(body: dict[str, Any]) -> Policy:
    """The policy that the operator would follow for an object, every default filled in.

    Raises:
        CliError: It is not valid.
    """
    return resolve(spec_of(body)).policy
