"""An administrator's access to a cluster: raw requests, kubectl, kubeconfigs."""

from __future__ import annotations

import base64
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import requests
import yaml

from e2e.harness import tools
from e2e.harness.process import REQUEST_SECONDS, wait_until

CRDS = Path(__file__).parents[2] / "crds"
CONTEXT = "agentscaler"
CRD_SECONDS = 30.0

Manifest = str | dict[str, Any] | list[dict[str, Any]] | Path


class Administrator:
    """What a test asks of an API server; no model classes, dicts as they come.

    Attributes:
        url: Of the API server.
        token: Bearer token of the administrator.
        ca: Certificate that the API server's own is checked with.
        directory: Where kubeconfigs and kubectl's cache are kept.
        kubeconfig: Of the administrator; its only context is called ``agentscaler``.
    """

    def __init__(self, url: str, token: str, ca: Path, directory: Path) -> None:
        self.url = url
        self.token = token
        self.ca = ca
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self._http = requests.Session()
        self._http.trust_env = False  # neither proxies nor foreign certificates for 127.0.0.1

    def request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | list[Any] | None = None,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
    ) -> requests.Response:
        """One request to the API as administrator; the answer is returned whatever its status.

        Raises:
            requests.ConnectionError: The API server is away.
        """
        return self._http.request(
            method,
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": content_type},
            params=params,
            verify=str(self.ca),
            timeout=REQUEST_SECONDS,
        )

    def get(self, path: str) -> dict[str, Any]:
        """The JSON behind an API path; requests.HTTPError on any status but success."""
        return checked(self.request("GET", path))

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - as in subprocess.run
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator.

        Raises:
            subprocess.CalledProcessError: It failed and ``check`` is set; a note holds its standard error.
        """
        finished = subprocess.run(
            [
                tools.ensure("kubectl")["kubectl"],
                f"--kubeconfig={self.kubeconfig}",
                f"--cache-dir={self.directory / 'kubectl-cache'}",
                *args,
            ],
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and finished.returncode != 0:
            error = subprocess.CalledProcessError(finished.returncode, finished.args, finished.stdout, finished.stderr)
            error.add_note(finished.stderr)
            raise error
        return finished

    def apply(self, manifest: Manifest) -> None:
        """``kubectl apply`` of YAML text, an object, a list of objects, or a file or directory."""
        if isinstance(manifest, Path):
            self.kubectl("apply", "-f", str(manifest))
            return
        if isinstance(manifest, list):
            manifest = {"apiVersion": "v1", "kind": "List", "items": manifest}
        self.kubectl("apply", "-f", "-", input=manifest if isinstance(manifest, str) else json.dumps(manifest))

    def install_crds(self) -> None:
        """Apply ``crds/*.yaml`` of this repository and wait until the API serves them."""
        files = sorted(CRDS.glob("*.yaml"))
        for file in files:
            self.apply(file)
        for file in files:
            for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
                if document and document["kind"] == "CustomResourceDefinition":
                    name = document["metadata"]["name"]
                    wait_until(partial(self._serves_all, document["spec"]), CRD_SECONDS, f"the kind of CRD {name}")

    def user_kubeconfig(self, namespace: str, service_account: str) -> Path:
        """A kubeconfig under a token of a ServiceAccount that exists, valid for an hour."""
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
        )
        path = self._kubeconfig_of(f"{namespace}-{service_account}")
        self._write_kubeconfig(path, service_account, checked(answer)["status"]["token"], namespace)
        return path

    def _kubeconfig_of(self, user: str) -> Path:
        return self.directory / "users" / user

    def _write_kubeconfig(self, path: Path, user: str, token: str, namespace: str = "default") -> None:
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": {"server": self.url, "certificate-authority-data": ca}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user, "namespace": namespace}}],
            "current-context": CONTEXT,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))

    def _serves_all(self, crd: dict[str, Any]) -> bool:
        """Whether objects of each version can be listed: "Established" comes before that."""
        versions = [each["name"] for each in crd["versions"] if each["served"]]
        paths = [f"/apis/{crd['group']}/{version}/{crd['names']['plural']}" for version in versions]
        return all(self.request("GET", path).ok for path in paths)


def checked(answer: requests.Response) -> dict[str, Any]:
    """The JSON of an answer; requests.HTTPError with the API's message on any status but success."""
    if not answer.ok:
        raise requests.HTTPError(f"{answer.status_code} {answer.request.path_url}: {answer.text}", response=answer)
    body: dict[str, Any] = answer.json()
    return body


def is_true(item: dict[str, Any], condition: str) -> bool:
    """Whether a condition of an object is True."""
    conditions = item.get("status", {}).get("conditions") or []  # a new CRD has null there
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)
