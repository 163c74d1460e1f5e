"""The node image: the published one where a registry answers, else one made of Debian packages and built binaries."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from e2e.harness import tools
from e2e.kind import base
from e2e.kind.stages import say, stage

if TYPE_CHECKING:
    from e2e.kind.engine import Engine

FILES = Path(__file__).with_name("node")
PUBLISHED = "kindest/node:v1.36.1@sha256:3489c7674813ba5d8b1a9977baea8a6e553784dab7b84759d1014dbd78f7ebd5"
REGISTRY = "https://registry-1.docker.io/v2/"
REGISTRY_SECONDS = 5.0
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
BINARIES = (*CONTROL_PLANE, "kube-proxy", "kubelet", "kubeadm", "kubectl", "etcd", "coredns", "pause", "kind")
COMMIT = "agentscaler-node-commit"

# --no-unpack: whiteouts cannot be unpacked on a nested overlay; containerd unpacks them at boot, on the node's volume.
_IMPORT = """
containerd >/dev/null 2>&1 &
for i in $(seq 120); do ctr version >/dev/null 2>&1 && break; sleep .25; done
ctr -n k8s.io images import --no-unpack /images.tar
kill $! && wait $! || true
"""


def registry_answers() -> bool:
    """Whether Docker Hub can be reached from here; ``AGENTSCALER_REGISTRY`` = ``yes`` or ``no`` decides instead."""
    choice = os.environ.get("AGENTSCALER_REGISTRY", "auto")
    if choice in ("yes", "no"):
        return choice == "yes"
    try:
        answer = requests.get(REGISTRY, timeout=REGISTRY_SECONDS)
    except requests.RequestException:
        return False
    return answer.status_code in (200, 401)


def make_node(engine: Engine) -> str:
    """The name of the made node image, which is built unless the engine has it."""
    binaries = tools.ensure(*BINARIES)
    name = f"agentscaler.dev/kind-node:{tools.kubernetes_version()}-{_key(binaries)}"
    if engine.has_image(name):
        say(f"node image: {name}, made earlier")
        return name
    base.make_debian(engine)
    with stage("node image"), tempfile.TemporaryDirectory(prefix="agentscaler-node-") as scratch:
        images = _component_names(binaries["kubeadm"])
        _build_base(engine, binaries, Path(scratch) / "base", images["pause"])
        archive = Path(scratch) / "images.tar"
        _save_components(engine, binaries, Path(scratch) / "components", images, archive)
        _commit(engine, archive, name)
    return name


def _key(binaries: dict[str, Path]) -> str:
    key = hashlib.sha256()
    for file in sorted(FILES.iterdir()):
        key.update(file.read_bytes())
    key.update(json.dumps(sorted(str(path.relative_to(path.parents[1])) for path in binaries.values())).encode())
    return key.hexdigest()[:12]


def _component_names(kubeadm: Path) -> dict[str, str]:
    """Full image names by the last part, as this kubeadm asks for them."""
    argv = [str(kubeadm), "config", "images", "list", "--kubernetes-version", tools.kubernetes_version()]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return {name.rsplit("/", 1)[1].split(":")[0]: name for name in listed}


def _kind_files() -> Path:
    """``images/base/files`` of the pinned kind module."""
    argv = [tools.go(), "mod", "download", "-json", "sigs.k8s.io/kind"]
    environment = {**os.environ, "GOWORK": "off", "GOTOOLCHAIN": "local"}
    module = tools.FAMILY_OF["kind"].module
    done = subprocess.run(argv, cwd=module, capture_output=True, text=True, check=True, env=environment)
    return Path(json.loads(done.stdout)["Dir"]) / "images" / "base" / "files"


def _build_base(engine: Engine, binaries: dict[str, Path], context: Path, pause: str) -> None:
    shutil.copytree(FILES, context)
    shutil.copytree(_kind_files(), context / "files")
    subprocess.run(["chmod", "-R", "u+w", context / "files"], check=True)  # the module cache is read-only
    (context / "bin").mkdir()
    for name in ("kubelet", "kubeadm", "kubectl"):
        shutil.copy(binaries[name], context / "bin")
    with stage("node image: packages"):
        version = f"KUBERNETES_VERSION={tools.kubernetes_version()}"
        arguments = ("--build-arg", version, "--build-arg", f"PAUSE_IMAGE={pause}")
        engine.docker("build", "--network=host", "--tag", "agentscaler.dev/kind-node:base", *arguments, context)


def _save_components(
    engine: Engine, binaries: dict[str, Path], context: Path, images: dict[str, str], archive: Path
) -> None:
    context.mkdir()
    with stage("node image: component images"):
        for name, image in images.items():
            shutil.copy(binaries[name], context / name)
            if name == "kube-proxy":
                dockerfile = (FILES / "kube-proxy.Dockerfile").read_text()
            else:
                directory = "/" if name in ("pause", "coredns") else "/usr/local/bin/"
                path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                dockerfile = f'FROM scratch\nCOPY {name} {directory}{name}\n{path}\nENTRYPOINT ["{directory}{name}"]\n'
            file = context / f"{name}.Dockerfile"
            file.write_text(dockerfile)
            engine.docker("build", "--network=host", "--file", file, "--tag", image, context)
        engine.docker("save", "--output", archive, *images.values())


def _commit(engine: Engine, archive: Path, name: str) -> None:
    """Put the component images into the node's containerd, and commit."""
    with stage("node image: commit"):
        engine.docker("rm", "--force", COMMIT, check=False)
        volume = f"{archive}:/images.tar:ro"
        run = ("run", "--name", COMMIT, "--network=none", "--privileged", "--volume", volume, "--entrypoint", "sh")
        try:
            engine.docker(*run, "agentscaler.dev/kind-node:base", "-ec", _IMPORT)
            entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]'
            engine.docker("commit", "--change", entrypoint, "--change", "CMD []", COMMIT, name)
        finally:  # also after Ctrl-C: the container would go on without its client
            engine.docker("rm", "--force", "--volumes", COMMIT, check=False)
