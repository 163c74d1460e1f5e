"""A kind cluster with this repository's images and a Prometheus in it, and what a scenario asks of it."""

from __future__ import annotations

import base64
import fcntl
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import yaml

from e2e.harness import tools
from e2e.harness.administrator import Administrator, checked, is_true
from e2e.harness.process import Process, free_port, wait_until
from e2e.harness.workspace import Workspace, janitor
from e2e.kind import base, images, node
from e2e.kind.engine import BRIDGE, Engine, run
from e2e.kind.stages import say, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = "agentscaler"
PROMETHEUS = Path(__file__).with_name("prometheus.yaml")
PROMETHEUS_URL = "http://prometheus.monitoring:9090"
READY_SECONDS = 180.0
NAME_LABEL = "agentscaler.dev/name"


class KindCluster(Administrator):
    """A running cluster; ``kind_cluster`` makes one.

    Attributes:
        name: Of the kind cluster.
        engine: Where its node runs.
        images: What was built for it and loaded.
        node: Name of the node's container.
    """

    def __init__(self, name: str, engine: Engine, built: images.Images, directory: Path) -> None:
        self.name = name
        self.engine = engine
        self.images = built
        self.node = f"{name}-control-plane"
        self._kind_kubeconfig = directory / "kind-kubeconfig"
        self._kind_kubeconfig.touch(mode=0o600)
        self._kind_kubeconfig.write_text(_kind(engine, "get", "kubeconfig", "--name", name))
        cluster = yaml.safe_load(self._kind_kubeconfig.read_text())["clusters"][0]["cluster"]
        ca = directory / "ca.crt"
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        super().__init__(cluster["server"], self._token(), ca, directory)
        self._write_kubeconfig(self.kubeconfig, "admin", self.token)
        self._numbers = itertools.count(1)

    def _token(self) -> str:
        """A token of an administrator's ServiceAccount: kind's own kubeconfig has a certificate instead."""
        kubectl: list[str | Path] = [
            tools.ensure("kubectl")["kubectl"],
            f"--kubeconfig={self._kind_kubeconfig}",
            "--namespace=kube-system",
        ]
        run([*kubectl, "create", "serviceaccount", "e2e-admin"], {}, check=False)  # there when attached
        binding = ("e2e-admin", "--clusterrole=cluster-admin", "--serviceaccount=kube-system:e2e-admin")
        run([*kubectl, "create", "clusterrolebinding", *binding], {}, check=False)
        return run([*kubectl, "create", "token", "e2e-admin", "--duration=24h"], {}).stdout.strip()

    def load_images(self, *names: str) -> None:
        """Put images of the engine into the node; those it has are skipped."""
        with stage("images into the node"):
            _kind(self.engine, "load", "docker-image", "--name", self.name, *names)

    @contextmanager
    def namespace(self, prefix: str = "e2e") -> Iterator[str]:
        """A namespace of its own; its deletion is asked for at the end, not awaited."""
        name = f"{prefix}-{os.getpid()}-{next(self._numbers)}"
        checked(self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}))
        try:
            yield name
        finally:
            self.request("DELETE", f"/api/v1/namespaces/{name}")

    def wait_rolled_out(self, namespace: str, name: str, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait until a Deployment has only pods of its present template, all of them ready."""
        argument = f"--timeout={timeout_seconds:.0f}s"
        self.kubectl("rollout", "status", f"deployment/{name}", f"--namespace={namespace}", argument)

    def agent_deployment(self, namespace: str, name: str) -> dict[str, Any]:
        """An AgentDeployment as it is now."""
        return self.get(f"/apis/agentscaler.dev/v1alpha1/namespaces/{namespace}/agentdeployments/{name}")

    def deployment(self, namespace: str, name: str) -> dict[str, Any]:
        """A Deployment as it is now."""
        return self.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Pods by label selector, those that are ending left out, in the order of their names."""
        answer = checked(
            self.request("GET", f"/api/v1/namespaces/{namespace}/pods", params={"labelSelector": selector})
        )
        living = [pod for pod in answer["items"] if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: str(pod["metadata"]["name"]))

    def pods_of(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """The pods of an AgentDeployment that has a template."""
        return self.pods(namespace, f"{NAME_LABEL}={name}")

    def ready_pods_of(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """Those of ``pods_of`` that are Ready."""
        return [pod for pod in self.pods_of(namespace, name) if is_true(pod, "Ready")]

    def exec(self, namespace: str, pod: str, *command: str, container: str | None = None) -> str:
        """Run a command in a pod; what it printed."""
        where = [] if container is None else [f"--container={container}"]
        return self.kubectl("exec", f"--namespace={namespace}", pod, *where, "--", *command).stdout

    def node_exec(self, *command: str) -> str:
        """Run a command in the node's container, as root."""
        return self.engine.docker("exec", self.node, *command).stdout

    def http(
        self,
        namespace: str,
        target: str,
        path: str,
        *,
        method: str = "GET",
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> requests.Response:
        """A request to a pod or service through the API server; the answer is returned whatever its status.

        Args:
            namespace: Of the target.
            target: ``pods/NAME:PORT`` or ``services/NAME:PORT``.
            path: Below the target, without a leading slash.
            method: HTTP method.
            body: Sent as JSON.
            params: Query.
        """
        return self.request(method, f"/api/v1/namespaces/{namespace}/{target}/proxy/{path}", body, params=params)

    def metric(self, namespace: str, pod: str, name: str, port: int = 8080) -> float:
        """One value out of a pod's own /metrics; KeyError when the series is not there.

        Args:
            namespace: Of the pod.
            pod: Its name.
            name: The series as exposed, labels included.
            port: Of the metrics.
        """
        answer = self.http(namespace, f"pods/{pod}:{port}", "metrics")
        answer.raise_for_status()
        for line in answer.text.splitlines():
            series, _, value = line.rpartition(" ")
            if series == name:
                return float(value)
        raise KeyError(f"{pod} exposes no {name}")

    def query(self, promql: str, time: float | None = None) -> list[Any]:
        """The raw result of an instant query to the cluster's Prometheus.

        Raises:
            requests.HTTPError: Prometheus is away or refuses; the message is its own.
        """
        params = {"query": promql} if time is None else {"query": promql, "time": repr(time)}
        answer = checked(self.http("monitoring", "services/prometheus:http", "api/v1/query", params=params))
        result: list[Any] = answer["data"]["result"]
        return result

    def value(self, promql: str) -> float | None:
        """The value of a query whose result is one series; None when there is none."""
        result = self.query(promql)
        return float(result[0]["value"][1]) if result else None

    @contextmanager
    def port_forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """``kubectl port-forward``; the URL on loopback. For what must not go through the API server's HTTP proxy."""
        local = free_port()
        process = Process(
            [
                *(tools.ensure("kubectl")["kubectl"], f"--kubeconfig={self.kubeconfig}", f"--namespace={namespace}"),
                *("port-forward", target, f"{local}:{port}"),
            ],
            self.directory / "logs" / f"port-forward-{local}.log",
        )
        process.start()
        try:
            wait_until(partial(_forwards, process), 30, f"the port-forward to {target}")
            yield f"http://127.0.0.1:{local}"
        finally:
            process.stop()


def _forwards(process: Process) -> bool:
    process.check()
    return "Forwarding from" in process.tail()


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
        lock = stack.enter_context((_lock_directory() / name).open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"cluster {name}: held by another process, used and left up")
        else:
            stack.enter_context(_created(engine, name, image, made=not registry))
        built = building.result()
        cluster = KindCluster(name, engine, built, directory)
        cluster.load_images(built.operator, f"{images.OPERATOR}:{images.VERSION}", built.agent, built.prometheus)
        with stage("Prometheus and cluster DNS"):
            cluster.apply(PROMETHEUS.read_text().replace("@IMAGE@", built.prometheus))
            cluster.wait_rolled_out("monitoring", "prometheus")
            cluster.wait_rolled_out("kube-system", "coredns")
        yield cluster


def _lock_directory() -> Path:
    directory = tools.cache_directory() / "clusters"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _created(engine: Engine, name: str, image: str, *, made: bool) -> Iterator[None]:
    kind = tools.ensure("kind")["kind"]
    removal = f'{kind} delete cluster --name "$1"; docker network rm {NETWORK}'
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
            _kind(
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
    _kind(engine, "delete", "cluster", "--name", name, "--kubeconfig", "/dev/null")
    engine.docker("network", "rm", NETWORK, check=False)
    if engine.owned:
        # What is younger is the cache of the next build.
        engine.docker("image", "prune", "--force", "--filter=until=48h", check=False)


def _kind(engine: Engine, *args: str) -> str:
    environment = {**engine.environment, "KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK}
    return run([tools.ensure("kind")["kind"], *args], environment).stdout
