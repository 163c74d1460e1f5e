"""One version everywhere: the distribution, the command line and the images that manifests name."""

from __future__ import annotations

import tomllib
from pathlib import Path

from typer.testing import CliRunner

from agentscaler.cli import app
from agentscaler.frameworks.registry import PRESETS

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_command_line_prints_the_version_of_the_distribution() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"agentscaler {VERSION}\n")


def test_the_images_are_labelled_with_the_version_of_the_distribution() -> None:
    for name in ("Dockerfile", "e2e/agents/reference/Dockerfile"):
        assert f"ARG VERSION={VERSION}\n" in (ROOT / name).read_text(), name


def test_examples_name_the_agents_of_this_version() -> None:
    images = {
        line.split("image:")[1].strip()
        for example in (ROOT / "examples").glob("*.yaml")
        for line in example.read_text().splitlines()
        if "image:" in line
    }
    names = {"reference", *(name for name in PRESETS if name != "generic")}
    assert images == {f"agentscaler.dev/{name}-agent:{VERSION}" for name in names}
