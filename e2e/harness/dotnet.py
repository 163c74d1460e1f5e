"""Programs in C#, compiled by Debian's Mono once and cached outside the work tree."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from e2e.harness.tools import cache_directory

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "clients" / "dotnet"
AGENTS = ROOT / "e2e" / "agents"
PACKAGES = ("mono-mcs", "mono-runtime", "libmono-posix4.0-cil")
"""Of Debian: compiler, runtime, and the classes for signals and memory."""
RUNTIME_PACKAGES = ("mono-runtime", "libmono-posix4.0-cil", "libmono-system-core4.0-cil")
"""What runs a program; LINQ's classes come with the compiler otherwise."""
FLAGS = ("-warnaserror", "-warn:4", "-r:Mono.Posix")


def ensure_agent(name: str) -> Path:
    """The agent ``aiagentsharp`` or ``genericagents``; ``mono`` runs it."""
    return ensure(name, LIBRARY, AGENTS / "dotnet", AGENTS / name)


def ensure_tests() -> Path:
    """The tests of the client library and of what the agents share; they expect to run in the library's directory."""
    return ensure("tests", LIBRARY, LIBRARY / "tests", AGENTS / "dotnet", AGENTS / "dotnet" / "tests")


def ensure(name: str, *directories: Path) -> Path:
    """The program made of all sources in some directories, compiled first where it is missing.

    Several processes may ask at the same time: one compiles, the others wait.

    Raises:
        RuntimeError: The compiler is missing, or refuses the sources; the message holds what it said.
    """
    sources = [source for directory in directories for source in sorted(directory.glob("*.cs"))]
    key = hashlib.sha256(" ".join((_compiler_version(), *FLAGS)).encode())
    for source in sources:
        key.update(source.name.encode() + b"\0" + source.read_bytes())
    program = cache_directory() / "dotnet" / f"{name}-{key.hexdigest()[:16]}" / f"{name}.exe"
    program.parent.mkdir(parents=True, exist_ok=True)
    with program.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not program.exists():
            unfinished = program.with_suffix(".unfinished")
            command: list[str | Path] = ["mcs", *FLAGS, f"-out:{unfinished}", *sources]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{name} does not compile:\n{done.stdout}{done.stderr}")
            unfinished.replace(program)  # last and atomic: a program that exists is whole
    return program


def _compiler_version() -> str:
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        raise RuntimeError(f"C# needs Mono: apt-get install --no-install-recommends {' '.join(PACKAGES)}")
    return subprocess.run(["mcs", "--version"], capture_output=True, text=True, check=True).stdout.strip()
