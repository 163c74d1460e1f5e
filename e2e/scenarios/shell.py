"""What a person types."""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from e2e.harness import tools
from e2e.kind.cluster import AGAIN_SECONDS, ATTEMPTS, failed_on_the_way
from e2e.kind.images import ROOT

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster


def type_in(cluster: KindCluster, line: str) -> str:
    """Run a line in a shell at the root of the repository, with helm and kubectl at hand; what it printed.

    Raises:
        AssertionError: It failed; the text has what was printed.
    """
    programs = cluster.directory / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("helm", "kubectl"):
        with suppress(FileExistsError):
            (programs / name).symlink_to(tools.ensure(name)[name])
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(cluster.directory),
        "KUBECONFIG": str(cluster.kubeconfig),
    }
    for _ in range(1 if "helm" in line else ATTEMPTS):  # Helm's commands cannot be said twice
        done = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
        if not failed_on_the_way(done.stderr):
            break
        time.sleep(AGAIN_SECONDS)
    raise AssertionError(f"{line}\n{done.stdout}{done.stderr}")


def refusal(cluster: KindCluster, line: str) -> str:
    """What a line says that has to fail."""
    try:
        said = type_in(cluster, line)
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"not refused: {line}\n{said}")


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page of the repository in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
