"""Base images for a host without a container registry, made from Debian packages under the published names."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.kind.stages import stage

if TYPE_CHECKING:
    from e2e.kind.engine import Engine

DEBIAN = "debian:bookworm-slim"
PYTHON = "python:3.11-slim-bookworm"
SUITE = "bookworm"
INCLUDE = "ca-certificates"
CLUTTER = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
MIRROR = "http://deb.debian.org/debian"
RECIPE = "dev.agentscaler.recipe"
"""Label of the images made here, with a digest of what they were made of; those of a registry have none."""
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

# Debian's python3 is 3.11 in bookworm. `python` as in the published image; the bundle and pip.conf are the host's,
# so that pip in a build trusts what this host trusts. They are in this local image only.
_PYTHON_DOCKERFILE = f"""
FROM {DEBIAN}
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && ln -s /usr/bin/python3 /usr/local/bin/python
COPY host/ /
"""


def make_debian(engine: Engine) -> None:
    """``debian:bookworm-slim`` by debootstrap, unless the engine has it."""
    recipe = _digest(SUITE, INCLUDE, *CLUTTER)
    if _is_current(engine, DEBIAN, recipe):
        return
    if shutil.which("debootstrap") is None:
        raise RuntimeError(f"no registry has {DEBIAN}, and debootstrap is missing: apt-get install debootstrap")
    with stage(f"base image {DEBIAN}"), tempfile.TemporaryDirectory(prefix="agentscaler-debian-") as scratch:
        root = Path(scratch) / "root"
        # In a mount namespace, so that nothing which debootstrap mounts outlives it.
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={INCLUDE}", SUITE, str(root), _mirror()]
        done = subprocess.run(["unshare", "--mount", *bootstrap], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        for clutter in CLUTTER:
            shutil.rmtree(root / clutter, ignore_errors=True)
            (root / clutter).mkdir(parents=True)
        (root / "var/lib/apt/lists/partial").mkdir()
        tar = Path(scratch) / "debian.tar"
        subprocess.run(["tar", "-C", root, "--exclude=./dev/*", "--exclude=./proc/*", "-cf", tar, "."], check=True)
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        changes = (path, 'CMD ["bash"]', f"LABEL {RECIPE}={recipe}")
        engine.docker("import", *(f"--change={change}" for change in changes), tar, DEBIAN)


def make_python(engine: Engine) -> None:
    """``python:3.11-slim-bookworm`` with Debian's Python, unless the engine has it."""
    make_debian(engine)
    bundle = BUNDLE.read_bytes() if BUNDLE.exists() else b""
    recipe = _digest(_PYTHON_DOCKERFILE, engine.image_id(DEBIAN) or "", pip_configuration(), bundle)
    if _is_current(engine, PYTHON, recipe):
        return
    with stage(f"base image {PYTHON}"), tempfile.TemporaryDirectory(prefix="agentscaler-python-") as scratch:
        context = Path(scratch)
        (context / "Dockerfile").write_text(_PYTHON_DOCKERFILE)
        certificates = context / "host" / "etc" / "ssl" / "certs"
        certificates.mkdir(parents=True)
        if bundle:
            (certificates / BUNDLE.name).write_bytes(bundle)
        (context / "host" / "etc" / "pip.conf").write_text(pip_configuration())
        engine.docker("build", "--network=host", "--label", f"{RECIPE}={recipe}", "--tag", PYTHON, context)


def _digest(*parts: str | bytes) -> str:
    key = hashlib.sha256()
    for part in parts:
        key.update(part.encode() if isinstance(part, str) else part)
        key.update(b"\0")
    return key.hexdigest()[:16]


def _is_current(engine: Engine, name: str, recipe: str) -> bool:
    """Whether the engine has an image of that name that was not made here, or was made in the same way."""
    label = f'{{{{index .Config.Labels "{RECIPE}"}}}}'
    answer = engine.docker("image", "inspect", "--format", label, name, check=False)
    return answer.returncode == 0 and answer.stdout.strip() in ("", recipe)


def _mirror() -> str:
    """The first Debian archive in the host's own APT sources, or the public one."""
    for file in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if file.is_file() and (found := re.search(r"\bhttp://\S+/debian/?(?=\s|$)", file.read_text(errors="replace"))):
            return found.group()
    return MIRROR


def pip_configuration() -> str:
    """pip's index and certificates as this host has them, for builds."""
    wanted = {key: value for key in ("index-url", "extra-index-url", "cert") if (value := _pip_setting(key))}
    lines = [f"{key} = {BUNDLE if key == 'cert' else value}" for key, value in wanted.items()]
    return "\n".join(["[global]", "disable-pip-version-check = true", *lines, ""])


def _pip_setting(key: str) -> str | None:
    from_environment = os.environ.get(f"PIP_{key.upper().replace('-', '_')}")
    if from_environment:
        return from_environment
    for file in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf")):
        parser = configparser.RawConfigParser()
        parser.read(file)
        if parser.has_option("global", key):
            return parser.get("global", key)
    return None
