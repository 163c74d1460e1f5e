"""Helm, as a person runs it; both versions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.harness import tools

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "agentscaler"
VERSIONS: Final = ("helm", "helm3")
RELEASE: Final = "agentscaler"
NAMESPACE: Final = "agentscaler-system"
URL: Final = {"prometheus": {"main": {"url": "http://prometheus:9090"}}}

Json = dict[str, Any]


class HelmError(Exception):
    """Helm refused; the text is what it said."""


class Helm:
    """One Helm binary.

    Args:
        version: Of ``VERSIONS``.
        directory: For its caches and for values.
        kubeconfig: Of the cluster; None where none is needed.
    """

    def __init__(self, version: str, directory: Path, kubeconfig: Path | None = None) -> None:
        self.version = version
        self.binary = tools.ensure(version)[version]
        self.directory = directory
        self.kubeconfig = kubeconfig or directory / "none"

    def __call__(self, *args: str, values: Json | None = None) -> str:
        """Run it; the result is what it printed.

        Raises:
            HelmError: It failed.
        """
        given: tuple[str, ...] = ()
        if values is not None:
            file = self.directory / "values.json"
            file.write_text(json.dumps(values))
            given = ("--values", str(file))
        homes = {f"HELM_{kind}_HOME": str(self.directory / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        finished = subprocess.run(
            [self.binary, *args, *given],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.directory), "KUBECONFIG": str(self.kubeconfig), **homes},
        )
        if finished.returncode != 0:
            raise HelmError(finished.stderr)
        return finished.stdout

    def template(self, values: Json | None = None, *, namespace: str = NAMESPACE, chart: Path = CHART) -> list[Json]:
        """All objects of the chart."""
        # A Helm 3 that is not an official build takes a cluster of 2020 for granted.
        fixed = ("--namespace", namespace, "--kube-version", "v1.36.0")
        text = self("template", RELEASE, str(chart), *fixed, values=values or {})
        return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]

    def install(
        self, *args: str, values: Json | None = None, release: str = RELEASE, namespace: str = NAMESPACE
    ) -> str:
        return self("install", release, str(CHART), "--namespace", namespace, *args, values={**URL, **(values or {})})


def of(objects: list[Json], kind: str, name: str = RELEASE) -> Json:
    """The one object of that kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def kinds(objects: list[Json]) -> set[str]:
    return {each["kind"] for each in objects}


def operator_config(objects: list[Json]) -> Json:
    """The operator's configuration file."""
    loaded: Json = yaml.safe_load(of(objects, "ConfigMap")["data"]["operator.yaml"])
    return loaded
