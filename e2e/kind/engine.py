"""The Docker engine: the host's own where one answers, else one started here that leaves nothing behind."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.harness.part import Startable
from e2e.harness.process import Process, wait_until
from e2e.harness.tools import cache_directory
from e2e.harness.workspace import janitor
from e2e.kind.stages import say, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

# Another cache directory has an engine of its own, so that a trial from a cold cache disturbs nobody.
_KEY = (
    f"-{hashlib.sha256(str(cache_directory()).encode()).hexdigest()[:5]}" if "AGENTSCALER_CACHE" in os.environ else ""
)
BRIDGE = f"agents{_KEY}0"  # at most 15 characters
CGROUP = f"agentscaler{_KEY}"
RUN = Path(f"/run/agentscaler{_KEY}")  # sockets have short paths
SOCKET = RUN / "docker.sock"
BOUNDED_RUNC = Path(__file__).with_name("bounded_runc.py")
START_SECONDS = 180.0

# What outlives a killed engine: its bridge, its empty cgroups and its run directory.
_LEFTOVERS = f"""
for attempt in $(seq 100); do
  ip link delete {BRIDGE} 2>/dev/null
  find /sys/fs/cgroup -depth -type d \\( -path '*/{CGROUP}' -o -path '*/{CGROUP}/*' \\) -exec rmdir {{}} + 2>/dev/null
  rm -rf -- {RUN} 2>/dev/null && [ -z "$(find /sys/fs/cgroup -type d -name {CGROUP} 2>/dev/null)" ] && exit 0
  sleep 0.3
done
"""


class Engine(Startable):
    """A Docker engine that answers; a context manager.

    ``AGENTSCALER_ENGINE`` chooses: ``host`` takes the one that the Docker client reaches, ``own`` starts one, and
    ``auto`` (default) starts one only when none answers.

    An engine of our own runs in PID and mount namespaces, so that the kernel ends every container and removes every
    mount when its first process ends. It touches neither iptables nor the host's forwarding: builds use the host's
    network. Its images stay in the cache directory.

    Attributes:
        environment: Variables with which ``docker`` and ``kind`` reach the engine.
        owned: Whether it is one of ours, started here or by another process.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.owned = False
        self._daemon: Process | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def start(self) -> None:
        """Find the engine or start one.

        Raises:
            RuntimeError: There is none, and none can be started; the message says what is missing.
        """
        choice = os.environ.get("AGENTSCALER_ENGINE", "auto")
        if choice not in ("auto", "host", "own"):
            raise RuntimeError(f"AGENTSCALER_ENGINE must be auto, host or own, not {choice!r}")
        if choice != "own" and self._answers({}):
            say(f"engine: the host's own ({os.environ.get('DOCKER_HOST') or 'default socket'})")
            return
        if choice == "host":
            raise RuntimeError("AGENTSCALER_ENGINE=host, and no Docker engine answers")
        self.environment = {"DOCKER_HOST": f"unix://{SOCKET}"}
        self.owned = True
        if self._answers(self.environment):
            say(f"engine: ours, started by another process ({SOCKET})")
            return
        self._start_own()

    def _start_own(self) -> None:
        missing = [tool for tool in ("docker", "dockerd", "runc", "unshare", "ip") if shutil.which(tool) is None]
        if missing or os.geteuid() != 0:
            raise RuntimeError(
                "no Docker engine answers, and to start one it takes root"
                + (f" and {', '.join(missing)} (Debian: apt-get install docker.io iproute2)" if missing else "")
            )
        data = cache_directory() / "engine"
        data.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(data.parent / "engine.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("engine: another process holds it, waiting for that one to end or to answer")
            wait_until(self._free_or_answering, START_SECONDS, "the engine of another process")
            if self._answers(self.environment):
                return
        RUN.mkdir(parents=True, exist_ok=True)
        log = RUN / "dockerd.log"
        with stage("start of the engine"):
            self._janitor = janitor(_LEFTOVERS)
            configuration = RUN / "daemon.json"
            configuration.write_text(json.dumps(_configuration(data)))
            self._daemon = Process(
                [
                    *("unshare", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child=SIGKILL"),
                    *("dockerd", "--config-file", configuration),
                ],
                log,
            )
            self._daemon.start()
            wait_until(self._started, START_SECONDS, "dockerd")
        say(f"engine: ours, dockerd at {SOCKET}, images in {data}")

    def stop(self) -> None:
        """End an engine that this process started, with all containers; the host's own is left alone."""
        if self._daemon is not None:
            self._terminate(self._daemon)
            self._daemon.kill()
        if self._janitor is not None:
            self._janitor.communicate()
        if self._lock is not None:
            os.close(self._lock)
        self._daemon = self._janitor = self._lock = None

    @staticmethod
    def _terminate(daemon: Process) -> None:
        """SIGTERM for dockerd itself, since unshare does not pass it on."""
        if not daemon.alive:
            return
        with suppress(OSError):  # it has just ended by itself
            children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
        try:
            wait_until(lambda: not daemon.alive, 20, "the end of dockerd")
        except TimeoutError as error:
            say(f"engine: {error}, killing it")

    def docker(
        self,
        *args: str | Path,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run the Docker client.

        Raises:
            RuntimeError: It failed and ``check`` is set; the message ends with what it said.
        """
        return run(["docker", *args], self.environment, input=input, check=check)

    def image_id(self, name: str) -> str | None:
        """The id of an image in the engine; None when it is not there."""
        answer = self.docker("image", "inspect", "--format", "{{.Id}}", name, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else None

    def has_image(self, name: str) -> bool:
        """Whether an image of that name is in the engine."""
        return self.image_id(name) is not None

    def _started(self) -> bool:
        if self._daemon is not None:
            self._daemon.check()
        return self._answers(self.environment)

    def _free_or_answering(self) -> bool:
        if self._answers(self.environment):
            return True
        try:
            fcntl.flock(self._lock or 0, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @staticmethod
    def _answers(environment: Mapping[str, str]) -> bool:
        if shutil.which("docker") is None:
            return False
        return run(["docker", "version", "--format", "{{.Server.Version}}"], environment, check=False).returncode == 0


def run(
    argv: list[str | Path],
    environment: Mapping[str, str],
    *,
    input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with variables added; RuntimeError with its output when it fails."""
    given = input.encode() if isinstance(input, str) else input
    done = subprocess.run(argv, input=given, capture_output=True, check=False, env={**os.environ, **environment})
    answer = subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and answer.returncode != 0:
        said = "\n".join((answer.stdout + answer.stderr).splitlines()[-40:])
        raise RuntimeError(f"{' '.join(map(str, argv))} failed with code {answer.returncode}:\n{said}")
    return answer


def _configuration(data: Path) -> dict[str, object]:
    return {
        "data-root": str(data),
        "exec-root": str(RUN / "exec"),
        "pidfile": str(RUN / "dockerd.pid"),
        "hosts": [f"unix://{SOCKET}"],
        "cgroup-parent": f"/{CGROUP}",
        "default-runtime": "bounded",
        "runtimes": {"bounded": {"path": str(BOUNDED_RUNC)}},
        # Nothing of the host's network is changed: the only bridge is the cluster's, and nothing is routed out of it.
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
    }
