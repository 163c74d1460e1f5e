"""`agentscaler run` as a process, and the rights that it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from agentscaler.kube.permissions import RULES
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, REQUEST_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
SLOW_SECONDS = PATIENCE_SECONDS
TEMPLATE = {"spec": {"containers": [{"name": "agent", "image": "agent:1"}]}}


class Running:
    """One `agentscaler run`."""

    def __init__(
        self,
        directory: Path,
        kubeconfig: Path,
        *arguments: str,
        program: str = "",
        environ: Mapping[str, str] | None = None,
        prometheus: str = "http://127.0.0.1:9",
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.log = directory / "operator.log"
        start = ["-c", program] if program else ["-m", "agentscaler"]
        argv = [sys.executable, *start, "run", "--kubeconfig", str(kubeconfig), "--port", "0"]
        servers = ["--prometheus", f"default={prometheus}"] if prometheus else []
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, *servers, "--tick-seconds", "1", *arguments],
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT / "operator"),
                    "AGENTSCALER_HEALTH_ADDRESS": "127.0.0.1",
                    **(environ or {}),
                },
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; half a line is not read yet."""
        text = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def said(self, message: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            return next((line for line in self.lines if line["message"] == message), None)

        return wait_until(find, SLOW_SECONDS, f"the log line {message!r}")

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.said('serving')['port']}{path}", timeout=REQUEST_SECONDS)

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def exit_code(self) -> int:
        return self.process.wait(SLOW_SECONDS)


@contextmanager
def running(directory: Path, kubeconfig: Path, *arguments: str, **options: Any) -> Iterator[Running]:
    operator = Running(directory, kubeconfig, *arguments, **options)
    try:
        yield operator
    finally:
        operator.process.kill()
        operator.process.wait()


def agent(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": TEMPLATE},
    }


def allow(cluster: ControlPlane, namespace: str, rules: list[dict[str, Any]]) -> Path:
    """A kubeconfig of a ServiceAccount that may do just this in the namespace."""
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": namespace}
    metadata = {"name": "operator", "namespace": namespace}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
            {
                "apiVersion": f"{api}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": api, "kind": "Role", "name": "operator"},
                "subjects": [subject],
            },
        ]
    )
    until_in_force(cluster, namespace, rules)
    return cluster.user_kubeconfig(namespace, "operator")


def until_in_force(
    cluster: ControlPlane, namespace: str, rules: list[dict[str, Any]], account: str = "operator"
) -> None:
    """Wait until the authorizer, which learns of roles late, allows these of the operator's rights and no others."""
    given = {(rule["apiGroups"][0], rule["resources"][0], verb) for rule in rules for verb in rule["verbs"]}

    def is_allowed(group: str, resource: str, verb: str) -> bool:
        kind, _, subresource = resource.partition("/")
        attributes = {
            "namespace": namespace,
            "verb": verb,
            "group": group,
            "resource": kind,
            "subresource": subresource,
        }
        spec = {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": attributes}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        answer.raise_for_status()
        return bool(answer.json()["status"]["allowed"])

    for rule in RULES:
        for verb in rule.verbs:
            right = (rule.group, rule.resource, verb)
            wait_until(lambda right=right: is_allowed(*right) is (right in given), SLOW_SECONDS, f"the rule on {right}")  # type: ignore[misc]  # a loop's own value


def as_rbac(without: str = "") -> list[dict[str, Any]]:
    return [
        {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
        for rule in RULES
        if rule.resource != without
    ]


def exists(cluster: ControlPlane, path: str) -> bool:
    return cluster.request("GET", path).ok
