"""Python environments of agents whose dependencies the operator's own must not hold, made once and cached."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from e2e.harness.tools import cache_directory

AIECS = Path(__file__).parents[1] / "agents" / "aiecs"
AIECS_LOCKS = (AIECS / "requirements.lock", AIECS / "framework.lock")


def ensure_aiecs() -> Path:
    """The Python that the AIECS agent runs on."""
    return ensure("aiecs", *AIECS_LOCKS)


def ensure(name: str, *locks: Path) -> Path:
    """The Python of an environment that holds what hashed locks name and nothing else, made first where it is missing.

    Several processes may ask at the same time: one installs, the others wait.

    Raises:
        subprocess.CalledProcessError: The installation failed.
    """
    key = hashlib.sha256(sys.version.encode())
    for lock in locks:
        key.update(lock.read_bytes())
    directory = cache_directory() / f"{name}-{key.hexdigest()[:16]}"
    complete = directory / "complete"  # written last: an installation that was cut short is made anew
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not complete.exists():
            print(f"environments: installing {name}", file=sys.stderr, flush=True)
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", directory], check=True)
            pip = (directory / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
            for lock in locks:
                arguments = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", lock)
                subprocess.run([*pip, *arguments], check=True)
            complete.touch()
    return directory / "bin" / "python"
