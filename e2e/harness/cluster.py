"""A Kubernetes control plane of plain processes on loopback, with nodes that kwok simulates."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import requests

from e2e.harness import tools
from e2e.harness.administrator import Administrator, Manifest, checked, is_true
from e2e.harness.part import Startable
from e2e.harness.process import START_SECONDS, Process, free_port
from e2e.harness.workspace import Workspace

HARNESS = Path(__file__).parent
CONTROLLERS = (
    "clusterrole-aggregation",
    "deployment",
    "disruption",
    "garbage-collector",
    "horizontal-pod-autoscaler",
    "namespace",
    "node-lifecycle",
    "pod-garbage-collector",
    "replicaset",
    "root-ca-certificate-publisher",
    "serviceaccount",
    "serviceaccount-token",
)
"""Those whose objects something here has: the thirty others take half of the controller manager's CPU time at rest."""
NODE = {"cpu": "32", "memory": "64Gi", "pods": "1000"}


class ControlPlane(Startable, Administrator):
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok; a context manager.

    Each part is a ``Process``: ``kill()`` takes it away, ``start()`` brings it back on the same port with the same
    data, and ``wait_ready()`` waits until the API answers again. Several control planes run side by side.

    Args:
        directory: Where data and logs are kept; None takes a temporary directory that goes at the end.
        nodes: Simulated nodes, each with room for 1,000 pods.
        pod_startup_seconds: Time from a pod's creation until it is Ready; the pod's annotation
            ``agentscaler.dev/start-up-seconds`` comes first.
        service_account_admission: Whether pods need a ServiceAccount and get its token mounted, as in a real cluster.
    """

    def __init__(
        self,
        directory: Path | None = None,
        nodes: int = 1,
        pod_startup_seconds: float = 1.0,
        service_account_admission: bool = False,
    ) -> None:
        self._binaries = tools.ensure(
            "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"
        )
        self._nodes = nodes
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}  # by version and kind: plural, whether namespaced
        self._workspace = Workspace(directory, "cluster")
        port = free_port()
        pki = self._workspace.path / "pki"  # the API server makes its own certificate there
        super().__init__(
            f"https://127.0.0.1:{port}", secrets.token_hex(16), pki / "apiserver.crt", self._workspace.path
        )
        self._tokens = {name: secrets.token_hex(16) for name in ("controller-manager", "scheduler", "kwok")}

        etcd_url, peer_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.etcd = self._process(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        # The key that the API server makes for its own certificate signs the tokens of ServiceAccounts as well.
        key = pki / "apiserver.key"
        self.apiserver = self._process(
            "kube-apiserver",
            f"--etcd-servers={etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--advertise-address=10.99.0.1",  # loopback is refused here; nothing ever connects to it
            "--endpoint-reconciler-type=none",
            f"--cert-dir={pki}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            *([] if service_account_admission else ["--disable-admission-plugins=ServiceAccount"]),
        )
        self.controller_manager = self._process(
            "kube-controller-manager",
            f"--kubeconfig={self._kubeconfig_of('controller-manager')}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={self.ca}",
            f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}",
            "--kube-api-qps=300",  # a thousand pods come and go in seconds, not in minutes
            "--kube-api-burst=600",
        )
        self.scheduler = self._process(
            "kube-scheduler",
            f"--kubeconfig={self._kubeconfig_of('scheduler')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        )
        self.kwok = self._process(
            "kwok",
            f"--kubeconfig={self._kubeconfig_of('kwok')}",
            f"--config={self.directory / 'stages.yaml'}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=0",
            "--cidr=10.64.0.0/14",
        )
        stages = (HARNESS / "kwok" / "stages.yaml").read_text()
        (self.directory / "stages.yaml").write_text(stages.replace("@START_UP_SECONDS@", f"{pod_startup_seconds:g}"))

    def _process(self, name: str, *arguments: str) -> Process:
        return Process([self._binaries[name], *arguments], self.directory / "logs" / f"{name}.log")

    @property
    def processes(self) -> tuple[Process, ...]:
        """All parts in the order in which they start."""
        return (self.etcd, self.apiserver, self.controller_manager, self.scheduler, self.kwok)

    def start(self) -> None:
        """Start all parts; returns when the API answers and all nodes are Ready."""
        users = {"admin": self.token, **self._tokens}
        (self.directory / "tokens.csv").write_text(
            "".join(f'{token},{user},{user},"system:masters"\n' for user, token in users.items())
        )
        self.etcd.start()
        self.apiserver.start()
        self.wait_ready()
        self._write_kubeconfig(self.kubeconfig, "admin", self.token)
        for user, token in self._tokens.items():
            self._write_kubeconfig(self._kubeconfig_of(user), user, token)
        for process in (self.controller_manager, self.scheduler, self.kwok):
            process.start()
        for number in range(self._nodes):
            self._add_node(f"node-{number}")
        self.kwok.wait_for(self._nodes_ready, START_SECONDS, "Ready nodes")

    def stop(self) -> None:
        """End all parts and remove a temporary directory."""
        for process in reversed(self.processes):
            process.kill()  # nothing here is kept that a graceful end would save
        self._http.close()
        self._workspace.close()

    def wait_ready(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until the API server answers, for one after ``apiserver.start()``."""
        self.apiserver.wait_for(self._answers, timeout_seconds, "the API server")

    def apply(self, manifest: Manifest) -> None:
        """As ``kubectl apply``; objects by one request each, for a kubectl costs fifty times the CPU time of that."""
        if isinstance(manifest, str | Path):
            super().apply(manifest)
            return
        how = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"}
        for each in manifest if isinstance(manifest, list) else [manifest]:
            checked(self.request("PATCH", self._path_of(each), each, "application/apply-patch+yaml", how))

    def _path_of(self, manifest: dict[str, Any]) -> str:
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._resources:
            found = [each for each in self.get(root)["resources"] if "/" not in each["name"]]
            self._resources |= {(version, each["kind"]): (each["name"], each["namespaced"]) for each in found}
        plural, namespaced = self._resources[version, kind]
        metadata = manifest["metadata"]
        namespace = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{root}{namespace}/{plural}/{metadata['name']}"

    def _answers(self) -> bool:
        self.etcd.check()
        if not self.ca.exists():
            return False
        return self.request("GET", "/readyz").ok and self.request("GET", "/api/v1/namespaces/default").ok

    def _add_node(self, name: str) -> None:
        node = {"metadata": {"name": name}, "status": {"allocatable": NODE, "capacity": NODE}}
        answer = self.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **node})
        if answer.status_code != requests.codes.conflict:  # a kept directory has its nodes already
            checked(answer)

    def _nodes_ready(self) -> bool:
        nodes = self.get("/api/v1/nodes")["items"]
        return all(is_true(node, "Ready") and not node["spec"].get("taints") for node in nodes)
