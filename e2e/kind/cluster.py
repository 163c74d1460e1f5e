"""A kind cluster with this repository's images and a Prometheus in it, and what a scenario asks of it."""

from __future__ import annotations

import base64
import itertools
import os
import re
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import yaml

from e2e.harness import tools
from e2e.harness.administrator import Administrator, checked, is_true
from e2e.harness.process import Process, free_port, wait_until
from e2e.kind import images
from e2e.kind.engine import Engine, run
from e2e.kind.stages import stage

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = "agentscaler"
PROMETHEUS = Path(__file__).with_name("prometheus.yaml")
PROMETHEUS_URL = "http://prometheus.monitoring:9090"
READY_SECONDS = 300.0
NAME_LABEL = "agentscaler.dev/name"
ATTEMPTS = 4
AGAIN_SECONDS = 1.0
_ON_THE_WAY = re.compile(
    "connection re(fused|set)|was refused|TLS handshake timeout|i/o timeout|EOF|etcdserver|connection lost"
    "|unable to handle the request"
)


class KindCluster(Administrator):
    """A running cluster; ``e2e.kind.lifecycle`` makes one.

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
        self._kind_kubeconfig.write_text(kind(engine, "get", "kubeconfig", "--name", name))
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

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | list[Any] | None = None,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
    ) -> requests.Response:
        """As an administrator asks; what fails on the way to an API server short of CPU is asked a few times more.

        A POST that may have arrived is not sent again.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                answer = super().request(method, path, body, content_type, params)
            except (requests.ConnectionError, requests.Timeout):
                if method == "POST":
                    raise
            else:
                if not _failed_on_the_way(answer, method):
                    return answer
            time.sleep(AGAIN_SECONDS)
        return super().request(method, path, body, content_type, params)

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - as in subprocess.run
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """As an administrator runs it; again a few times when it did not get through to the API server."""
        for _ in range(ATTEMPTS - 1):
            done = super().kubectl(*args, input=input, check=False)
            if done.returncode == 0 or not failed_on_the_way(done.stderr):
                break
            time.sleep(AGAIN_SECONDS)
        else:
            return super().kubectl(*args, input=input, check=check)
        if check and done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        return done

    def load_images(self, *names: str) -> None:
        """Put images of the engine into the node; those it has are skipped."""
        with stage("images into the node"):
            kind(self.engine, "load", "docker-image", "--name", self.name, *names)

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

    def query(self, promql: str, at: float | None = None) -> list[Any]:
        """The raw result of an instant query to the cluster's Prometheus.

        Raises:
            requests.HTTPError: Prometheus is away or refuses; the message is its own.
        """
        params = {"query": promql} if at is None else {"query": promql, "time": repr(at)}
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


def failed_on_the_way(said: str) -> bool:
    """Whether what kubectl says tells of the way to the API server, or from there to etcd, and not of its answer."""
    return _ON_THE_WAY.search(said) is not None


def _failed_on_the_way(answer: requests.Response, method: str) -> bool:
    """Likewise for an answer: one of the API server's own, also as a proxy of a pod, that says to come again."""
    if answer.status_code == requests.codes.too_many_requests:
        return True
    own = answer.status_code >= requests.codes.server_error and '"kind":"Status"' in answer.text
    return own and method != "POST"


def _forwards(process: Process) -> bool:
    process.check()
    return "Forwarding from" in process.tail()


def kind(engine: Engine, *args: str) -> str:
    """Run kind on an engine; what it printed."""
    environment = {**engine.environment, "KIND_EXPERIMENTAL_DOCKER_NETWORK": NETWORK}
    return run([tools.ensure("kind")["kind"], *args], environment).stdout
