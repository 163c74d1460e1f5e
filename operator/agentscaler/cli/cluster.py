"""AgentDeployments as the command line reads them, with errors that say what to do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

from kubernetes import config

from agentscaler.kube.connection import Body, Connection, Request, load_configuration
from agentscaler.kube.errors import Forbidden, KubeError, NotFound, Throttled, Unauthorized, Unavailable
from agentscaler.kube.paths import AGENT_DEPLOYMENTS

TIMEOUT_SECONDS = (3.0, 15.0)
PATIENCE = 3
LONGEST_WAIT_SECONDS = 2.0
NO_CRD = "the CRD is not installed in this cluster: run `agentscaler crds | kubectl apply -f -`"
_SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class CliError(Exception):
    """Something that a person has to mend; the text says how.

    Attributes:
        exit_code: Of the command: 2 for wrong input, 1 for anything else.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Cluster:
    """The API server that the kubeconfig names; a context manager.

    Raises:
        CliError: No kubeconfig, or a broken one.
    """

    def __init__(self, kubeconfig: str | None = None) -> None:
        try:
            configuration = load_configuration(kubeconfig)
        except (config.ConfigException, OSError) as error:
            raise CliError(
                f"no access to a cluster: {error}; set KUBECONFIG or give --kubeconfig FILE", exit_code=2
            ) from error
        self._connection = Connection(configuration, connections=1, timeout_seconds=TIMEOUT_SECONDS)
        self.namespace = _namespace(kubeconfig)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def list(self, namespace: str) -> list[Body]:
        """All objects of a namespace, of all namespaces for an empty one, in the order of their names."""
        try:
            found = self.raw(AGENT_DEPLOYMENTS.path(namespace))["items"]
        except NotFound as error:
            raise CliError(NO_CRD) from error
        except KubeError as error:
            raise _explained(error) from error
        return sorted(found, key=lambda body: (body["metadata"]["namespace"], body["metadata"]["name"]))

    def get(self, namespace: str, name: str) -> Body:
        """One object."""
        try:
            return self.raw(AGENT_DEPLOYMENTS.path(namespace, name))
        except NotFound:
            others = [body["metadata"]["name"] for body in self.list(namespace)]
        except KubeError as error:
            raise _explained(error) from error
        known = f"there are: {', '.join(others)}" if others else "there are none; is it in another one (-n)?"
        raise CliError(f"AgentDeployment {name} not found in namespace {namespace}; {known}")

    def raw(self, path: str, params: dict[str, str | int] | None = None) -> Body:
        """A GET whose failure the caller explains. One that the server puts off is tried again.

        Raises:
            KubeError: It failed.
        """
        for _ in range(PATIENCE):
            try:
                return self._connection.call(Request("GET", path, params or {}))
            except Throttled as error:  # also for a moment after the CRD was installed
                time.sleep(min(error.retry_after_seconds, LONGEST_WAIT_SECONDS))
        return self._connection.call(Request("GET", path, params or {}))


def _explained(error: KubeError) -> CliError:
    if isinstance(error, Forbidden):
        return CliError(f"you may not {error.access}: ask the cluster's administrator for that right")
    if isinstance(error, Unauthorized):
        return CliError("the API server does not accept these credentials: log in again, or check the kubeconfig")
    if isinstance(error, Unavailable):
        return CliError(f"the API server does not answer ({error}): is it up, and is the right context chosen?")
    return CliError(str(error))


def _namespace(kubeconfig: str | None) -> str:
    """The namespace of the current context, as kubectl takes it."""
    try:
        context: dict[str, Any] = config.list_kube_config_contexts(kubeconfig)[1]  # type: ignore[no-untyped-call]  # theirs
        return str(context["context"].get("namespace") or "default")
    except config.ConfigException:
        pass
    try:
        return _SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "default"
