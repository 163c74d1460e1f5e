"""From an empty host to a cluster with Prometheus in it, and back."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from e2e.harness import tools
from e2e.harness.process import wait_until
from e2e.harness.workspace import Workspace, janitor
from e2e.kind import base, images, node
from e2e.kind.cluster import NETWORK, PROMETHEUS, KindCluster, kind
from e2e.kind.engine import BRIDGE, Engine
from e2e.kind.stages import say, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTACH_SECONDS = 900.0
READY = "ready"


@contextmanager
def kind_cluster(name: str | None = None) -> Iterator[KindCluster]:
    """A cluster with images and Prometheus; no operator yet.

    A cluster of that name which another process holds (``python -m e2e.kind up``) is used and left up. A leftover of
    a process that was killed is removed first. Everything made here goes at the end, also when this process dies.

    Args:
        name: Of the cluster; default: ``AGENTSCALER_CLUSTER``, else ``agentscaler``.
    """
    name = name or os.environ.get("AGENTSCALER_CLUSTER") or "agentscaler"
    with ExitStack() as stack:
        engine = stack.enter_context(Engine())
        directory = stack.enter_context(Workspace(None, "kind")).path
        registry = node.registry_answers()
        say("node image: the published one" if registry else "node image: made here, no registry answers")
        if not registry:
            base.make_debian(engine)
        # Images of this tree are built while the node image is made and the cluster comes up.
        builder = stack.enter_context(ThreadPoolExecutor(1))
        building = builder.submit(images.build, engine, registry=registry)
        image = node.PUBLISHED if registry else node.make_node(engine)
        mark = stack.enter_context((_mark_directory() / name).open("a+"))
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"cluster {name}: held by another process, used and left up")
            wait_until(partial(_is_ready, mark), ATTACH_SECONDS, f"cluster {name} of another process")
            holds = False
        else:
            mark.truncate(0)
            holds = True
            stack.enter_context(_created(engine, name, image, made=not registry))
        built = building.result()
        cluster = KindCluster(name, engine, built, directory)
        cluster.load_images(built.operator, f"{images.OPERATOR}:{images.VERSION}", built.agent, built.prometheus)
        with stage("Prometheus and cluster DNS"):
            cluster.apply(PROMETHEUS.read_text().replace("@IMAGE@", built.prometheus))
            cluster.wait_rolled_out("monitoring", "prometheus")
            cluster.wait_rolled_out("kube-system", "coredns")
        if holds:
            mark.write(READY)
            mark.flush()
        yield cluster


def _is_ready(mark: TextIO) -> bool:
    mark.seek(0)
    return mark.read() == READY


def _mark_directory() -> Path:
    directory = tools.cache_directory() / "clusters"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _created(engine: Engine, name: str, image: str, *, made: bool) -> Iterator[None]:
    removal = f'{tools.ensure("kind")["kind"]} delete cluster --name "$1"; docker network rm {NETWORK}'
    with stage("leftovers of an earlier cluster"):
        _remove(engine, name)
    watcher = None
    try:
        variables = " ".join(f"{key}='{value}'" for key, value in engine.environment.items())
        watcher = janitor(f"export {variables or 'A=b'}\n{removal}", name)
        with stage("kind create cluster"):
            bridge = ("--driver", "bridge", "--opt", f"com.docker.network.bridge.name={BRIDGE}")
            engine.docker("network", "create", *bridge, NETWORK, check=False)  # another cluster of ours may have it
            settings = ["--config", str(node.FILES / "cluster.yaml")] if made else []
            kind(
                engine,
                "create",
                "cluster",
                "--name",
                name,
                "--image",
                image,
                "--wait",
                "180s",
                *settings,
                "--kubeconfig",
                "/dev/null",
            )
        yield
    finally:
        with stage("kind delete cluster"):
            _remove(engine, name)
        if watcher is not None:
            watcher.communicate()


def _remove(engine: Engine, name: str) -> None:
    kind(engine, "delete", "cluster", "--name", name, "--kubeconfig", "/dev/null")
    engine.docker("network", "rm", NETWORK, check=False)
    if engine.owned:
        # What is younger is the cache of the next build.
        engine.docker("image", "prune", "--force", "--filter=until=48h", check=False)
