"""The Rust that builds agents, and where its builds are kept."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OLDEST = (1, 85)
"""What the crates need; their Cargo.toml say so, too."""
MEND = "apt-get install cargo-web rustfmt-web rust-web-clippy (Debian 12), or see https://rustup.rs"


def cargo() -> str:
    """A cargo that is new enough: the one on PATH, or rustup's in the home directory.

    Raises:
        RuntimeError: There is none; the message says how to install it.
    """
    found = shutil.which("cargo", path=f"{os.environ.get('PATH', os.defpath)}:{Path.home() / '.cargo/bin'}")
    if found is None:
        raise RuntimeError(f"no cargo on PATH, and the agent in Rust needs one: {MEND}")
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.(\d+)", answer)
    if version is None or tuple(map(int, version.groups())) < OLDEST:
        raise RuntimeError(f"{answer.strip()} is older than {'.'.join(map(str, OLDEST))}: {MEND}")
    return found


def environment(cache: Path) -> dict[str, str]:
    """Variables of every build and test: what the crates have in common is compiled once, outside of the work tree."""
    # Beside cargo stand the programs that it calls.
    path = f"{Path(cargo()).parent}:{os.environ.get('PATH', os.defpath)}"
    return {"CARGO_TARGET_DIR": str(cache / "rust"), "CARGO_TERM_COLOR": "never", "PATH": path}


def sources(root: Path, parts: Iterable[str], cache: Path) -> Path:
    """A copy of files and directories of the work tree; the same content has the same path and the same times.

    Cargo compiles a crate anew where it lies elsewhere or is newer, as in each clone.
    """
    key = hashlib.sha256()
    files = [root / part for part in parts]
    files = sorted(file for each in files for file in (each.rglob("*") if each.is_dir() else (each,)) if file.is_file())
    for file in files:
        key.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    copy = cache / "rust-sources" / key.hexdigest()[:16]
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=copy.parent))
        for file in files:
            target = scratch / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
        try:
            scratch.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(scratch)
    return copy


def static_build(binary: str) -> list[str]:
    """The command that builds a binary which needs no file beside itself, not even the C library."""
    return [cargo(), "rustc", "--release", "--locked", "--bin", binary, "--", "-C", "target-feature=+crt-static"]
