"""A child process that never outlives its parent, free ports, and how to wait for either."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

POLL_SECONDS = 0.05
SLOWER, SLOWEST_POLL_SECONDS = 1.2, 0.25
"""Each pause is so many times the one before it, up to this."""
PATIENCE_SECONDS = 90.0
"""Of a test that waits for what takes seconds on an idle machine: only a failure has to wait for so long."""
START_SECONDS = 60.0
"""From the start of a process until it serves, on a machine that has much else to do."""
REQUEST_SECONDS = 30.0
"""Of one request to a part of the harness: what is busy or swapped out answers late."""
_ASK_SECONDS = 5.0
# Below the kernel's range for outgoing connections: nothing takes a port while the server that owns it is away.
PORTS = range(12_000, 32_000)

# Run in the child before the program: asks the kernel for SIGKILL when the parent dies, and ends at once when the
# parent died before it could ask. A shim rather than preexec_fn, which is not safe in a process with threads.
_SHIM = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execvp(sys.argv[2], sys.argv[2:])
"""

# The kernel sends the death signal when the *thread* that forked ends, so one thread that never ends forks them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
# Not the module's own generator: what seeds that (a property test) would give two processes the same ports.
_random = random.SystemRandom()


class Process:
    """A program with its output in a log file, started in a session of its own.

    It can be stopped or killed and started again with the same arguments. If the Python process that started it
    ends in any way, also by SIGKILL, the kernel kills it.

    Args:
        argv: Program and arguments; the program is looked up on PATH.
        log: File to which standard output and error are appended.
        env: Variables added to the environment of this process.
        cwd: Working directory.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = [str(argument) for argument in argv]
        self.log = log
        self.env = dict(env or {})
        self.cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the last start; RuntimeError when it was never started."""
        if self._popen is None:
            raise RuntimeError(f"{self.argv[0]} was not started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last run, negative for a signal; None while it runs or before the first start."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start the program; nothing happens when it runs already."""
        if not self.alive:
            self._popen = _spawner.submit(self._spawn).result()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                env={**os.environ, **self.env},
                start_new_session=True,  # Ctrl-C goes to the parent, which ends its children in order
            )

    def stop(self, timeout: float = 10.0) -> None:
        """End the process by SIGTERM, after ``timeout`` seconds by SIGKILL, and wait for its end."""
        if self._popen is None:
            return
        if self.alive:
            self._popen.terminate()
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process by SIGKILL and wait for its end."""
        if self._popen is not None:
            if self.alive:
                self._popen.kill()
            self._popen.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, SIGSTOP for one; nothing happens when the process does not run."""
        if self._popen is not None and self.alive:
            self._popen.send_signal(number)

    def check(self) -> None:
        """Raise RuntimeError with the end of the log when the process does not run."""
        if not self.alive:
            raise RuntimeError(f"{self.argv[0]} ended with code {self.returncode}:\n{self.tail()}")

    def wait_for(self, condition: Callable[[], object], timeout_seconds: float, what: str) -> None:
        """Wait until a condition is true; an answer that does not come counts as false.

        Args:
            condition: Asks the process, or somebody about it.
            timeout_seconds: How long to wait.
            what: What is awaited, for the error.

        Raises:
            RuntimeError: The process ended; the message holds the end of its log.
            TimeoutError: The time is over; a note holds the end of its log.
        """

        def holds() -> bool:
            self.check()
            try:
                return bool(condition())
            except requests.RequestException:
                return False

        try:
            wait_until(holds, timeout_seconds, what)
        except TimeoutError as error:
            error.add_note(self.tail())
            raise

    def start_serving(self, url: str, what: str, timeout_seconds: float = START_SECONDS) -> None:
        """Start the program and wait until a GET of the URL succeeds; raises as `wait_for` does."""
        self.start()
        self.wait_for(lambda: serves(url), timeout_seconds, what)

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on; no process that asks here gets it again while this one lives."""
    for _ in range(1000):
        port = _random.choice(PORTS)
        # A name that the kernel gives once, and takes back at the end of the process, however that comes.
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                claim.bind(f"\0agentscaler-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        claim.detach()
        return port
    raise RuntimeError("no free port on 127.0.0.1")


def serves(url: str) -> bool:
    """Whether a GET of the URL succeeds.

    Raises:
        requests.RequestException: There is no answer.
    """
    with requests.Session() as http:
        http.trust_env = False  # no proxy for 127.0.0.1
        return http.get(url, timeout=_ASK_SECONDS).ok


def wait_until(
    condition: Callable[[], T | Literal[False] | None],
    timeout_seconds: float,
    what: str,
    *,
    every_seconds: float = POLL_SECONDS,
) -> T:
    """Poll until a condition is true and return its value.

    Args:
        condition: Anything false means "not yet".
        timeout_seconds: How long to try; the condition is asked at least once.
        what: What is awaited, for the error.
        every_seconds: How long to wait between the first two questions; what lets wait for long is asked more rarely.

    Raises:
        TimeoutError: The time is over.
    """
    deadline, pause = time.monotonic() + timeout_seconds, every_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"after {timeout_seconds:g} s still waiting for {what}")
        time.sleep(pause)
        pause = max(every_seconds, min(SLOWER * pause, SLOWEST_POLL_SECONDS))
