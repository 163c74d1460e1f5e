"""Processes that end with their parent, ports, and waiting for either."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from e2e.harness.process import PATIENCE_SECONDS, Process, free_port, wait_until

ROOT = Path(__file__).parents[2]


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def guarded(children: list[psutil.Process]) -> list[Path]:
    """The directories that go with their parent: each has a shell that waits for that."""
    return [Path(child.cmdline()[-1]) for child in children if child.name() == "sh"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_parent_ends(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "e2e.harness", "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            directory = Path(parent.stdout.readline().partition("=")[2].strip()).parent
            children = family(parent.pid)
            names = {child.name() for child in children}
            assert {"etcd", "kube-apiserver", "kube-scheduler", "kwok", "prometheus"} <= names
            assert directory.exists()
            directories = guarded(children)
            assert directory in directories
            assert len(directories) == 2
            parent.send_signal(number)
            parent.wait(PATIENCE_SECONDS)
        finally:
            parent.kill()
    wait_until(lambda: not any(child.is_running() for child in children), PATIENCE_SECONDS, "the end of all children")
    assert not any(path.exists() for path in directories)


def test_nothing_is_left_of_what_is_ended_while_it_starts() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "e2e.harness", "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            wait_until(
                lambda: "etcd" in {child.name() for child in family(parent.pid)}, PATIENCE_SECONDS, "its first part"
            )
            children = family(parent.pid)
            directories = guarded(children)
            assert len(directories) == 1
            parent.send_signal(signal.SIGTERM)
            said, _ = parent.communicate(timeout=PATIENCE_SECONDS)
        finally:
            parent.kill()
    assert said == ""
    wait_until(lambda: not any(child.is_running() for child in children), PATIENCE_SECONDS, "the end of all children")
    assert not directories[0].exists()


def test_a_child_dies_with_its_parent_whatever_thread_started_it(tmp_path: Path) -> None:
    script = """
import sys, threading, time
from pathlib import Path
from e2e.harness.process import Process
child = Process(["sleep", "60"], Path(sys.argv[1]))
thread = threading.Thread(target=child.start)
thread.start()
thread.join()
time.sleep(0.3)  # long enough for a death signal that came with the thread's end
print(child.pid, child.alive, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, alive = parent.stdout.readline().split()
        parent.kill()
    assert alive == "True"
    wait_until(lambda: not psutil.pid_exists(int(pid)), PATIENCE_SECONDS, "the child's end")


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"], tmp_path / "log")
    process.start()
    wait_until(lambda: "up" in process.tail(), PATIENCE_SECONDS, "the trap")
    process.stop(timeout=0.5)
    assert not process.alive
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_ended_says_how(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo out of luck; exit 3"], tmp_path / "log")
    process.start()
    wait_until(lambda: not process.alive, PATIENCE_SECONDS, "the end")
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 3.*out of luck"):
        process.check()


def test_free_ports_differ_and_are_free() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_two_processes_never_get_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    few = range(11_900, 11_940)
    script = f"""
from e2e.harness import process
process.PORTS = {few}
print(*(process.free_port() for _ in range(20)), flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        taken = {int(port) for port in other.stdout.readline().split()}
        monkeypatch.setattr("e2e.harness.process.PORTS", few)
        ours = {free_port() for _ in range(10)}
        other.kill()
    assert len(taken) == 20
    assert not taken & ours


def test_a_process_that_ends_before_it_serves_says_why(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo out of luck; exit 3"], tmp_path / "log")
    with pytest.raises(RuntimeError, match=r"(?s)ended with code 3.*out of luck"):
        process.start_serving(f"http://127.0.0.1:{free_port()}", "luck")


def test_a_process_that_never_serves_shows_its_log(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "echo still warming up; sleep 60"], tmp_path / "log")
    process.start()
    wait_until(process.tail, PATIENCE_SECONDS, "the log")
    with pytest.raises(TimeoutError, match="the warmth") as raised:
        process.start_serving(f"http://127.0.0.1:{free_port()}", "the warmth", 0.2)
    process.kill()
    assert raised.value.__notes__ == ["still warming up"]


def test_waiting_in_vain_names_what_was_awaited() -> None:
    with pytest.raises(TimeoutError, match="a blue moon"):
        wait_until(lambda: None, 0.1, "a blue moon")
