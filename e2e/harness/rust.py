"""The Rust that builds agents, and where its builds are kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

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


def static_build(binary: str) -> list[str]:
    """The command that builds a binary which needs no file beside itself, not even the C library."""
    return [cargo(), "rustc", "--release", "--locked", "--bin", binary, "--", "-C", "target-feature=+crt-static"]
