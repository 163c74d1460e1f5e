"""An engine of ours leaves nothing on the host, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from e2e.harness import tools
from e2e.harness.process import Process, wait_until
from e2e.kind.engine import run

SECONDS = 120.0

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dockerd") is None, reason="only root starts an engine, and only with dockerd"
)


def mounts() -> set[str]:
    return {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))  # noqa: PTH208 - names, not paths


def processes_in(directory: Path) -> list[str]:
    """Command lines that name the directory."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in text:
            found.append(text)
    return found


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_engine_with_a_running_container_leaves_nothing_behind(tmp_path: Path, end: signal.Signals) -> None:
    before = mounts(), links()
    environment = {"AGENTSCALER_CACHE": str(tmp_path / "cache"), "AGENTSCALER_ENGINE": "own"}
    engine = Process([sys.executable, "-u", "-m", "e2e.kind", "engine"], tmp_path / "log", env=environment)
    engine.start()
    engine.wait_for(lambda: "Ctrl-C" in engine.tail(), SECONDS, "the engine")
    socket = next(line for line in engine.tail().splitlines() if "DOCKER_HOST=" in line).partition("=")[2]
    directory = Path(socket.removeprefix("unix://")).parent
    docker = {"DOCKER_HOST": socket}

    archive = tmp_path / "pause.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tools.ensure("pause")["pause"], "pause")
    run(["docker", "import", archive, "pause"], docker)
    bridge = ("--opt", f"com.docker.network.bridge.name={directory.name.replace('agentscaler', 'agents')}0")
    run(["docker", "network", "create", "--driver", "bridge", *bridge, "test"], docker)
    run(["docker", "run", "--detach", "--privileged", "--network", "test", "pause", "/pause"], docker)
    # It fails when a cgroup of somebody else goes while it looks.
    cgroups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", directory.name], capture_output=True, text=True, check=False
    ).stdout.split()
    assert cgroups
    assert links() - before[1]
    assert processes_in(directory)

    engine.signal(end)

    wait_until(lambda: not engine.alive, SECONDS, "the end of the engine")
    wait_until(lambda: not processes_in(directory), SECONDS, "the end of all its processes")
    wait_until(lambda: not directory.exists(), SECONDS, "the end of its directory")
    wait_until(lambda: not any(Path(each).exists() for each in cgroups), SECONDS, "the end of its cgroups")
    wait_until(lambda: mounts() <= before[0] and links() <= before[1], SECONDS, "mounts and links as before")
