"""Load from a pod in the cluster: the generator of the harness, sent to a Service, its numbers read from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from e2e.harness.administrator import checked, is_true
from e2e.harness.load import LoadHandle
from e2e.harness.process import wait_until
from e2e.kind.images import AGENT
from e2e.kind.workload import HARDENED, PORT, UPSTREAM

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

START_SECONDS = 180.0


class PodLoad(LoadHandle):
    """A load pod; sending starts with the context and ends with it or with the duration.

    Args:
        cluster: Where.
        namespace: Of the pod and of the Service.
        service: Name of the Service that takes the requests.
        rate_per_second: Mean arrivals at the start, 0..200; stay at tens, the cluster has one core.
        max_duration_seconds: After that nothing more is sent; the numbers stay readable.
        timeout_seconds: Of one request.
        seed: The same seed, rates and bodies draw the same arrivals.
        memory_factor: See ``set_body``.
        keys: See ``set_body``.
        name: Of the pod, where a namespace has several loads.
    """

    def __init__(
        self,
        cluster: KindCluster,
        namespace: str,
        service: str,
        *,
        rate_per_second: float,
        max_duration_seconds: float,
        timeout_seconds: float = 120.0,
        seed: int = 0,
        memory_factor: float | None = None,
        keys: int = 0,
        name: str = "load",
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        arguments = [
            *(f"--service=http://{service}", "--host=0.0.0.0", f"--port={PORT}", "--stay"),
            *(f"--rate={rate_per_second:g}", f"--duration-seconds={max_duration_seconds:g}"),
            *(f"--timeout-seconds={timeout_seconds:g}", f"--seed={seed}", f"--keys={keys}"),
            *([] if memory_factor is None else [f"--memory-factor={memory_factor:g}"]),
        ]
        container = {
            "name": "load",
            "image": AGENT,
            "command": ["python", "-m", "e2e.harness.load"],
            "args": arguments,
            "readinessProbe": {"httpGet": {"path": "/stats", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 5},
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": HARDENED,
        }
        self._pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
        }

    def __enter__(self) -> Self:
        # An agent is ready without its provider, and its first runs would fail.
        wait_until(self._has_provider, START_SECONDS, "the model provider")
        checked(self._cluster.request("POST", f"/api/v1/namespaces/{self._namespace}/pods", self._pod))
        try:
            wait_until(self._ready, START_SECONDS, "the load pod")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.request("DELETE", self._path)
        wait_until(self._gone, START_SECONDS, "the end of the load pod")

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods/{self._name}"

    def _has_provider(self) -> bool:
        answer = self._cluster.request("GET", f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{UPSTREAM}")
        return answer.status_code == 404 or bool(checked(answer)["status"].get("readyReplicas"))

    def _ready(self) -> bool:
        pod = self._cluster.get(self._path)
        if pod["status"].get("phase") in ("Failed", "Succeeded"):
            log = self._cluster.kubectl("logs", f"--namespace={self._namespace}", self._name, check=False).stdout
            raise RuntimeError(f"the load pod ended:\n{log[-2000:]}")
        return is_true(pod, "Ready")

    def _gone(self) -> bool:
        return self._cluster.request("GET", self._path).status_code == 404

    def _put(self, change: dict[str, Any]) -> None:
        answer = self._cluster.http(self._namespace, self._target, "load", method="PUT", body=change)
        if answer.status_code == 400:
            raise ValueError(answer.text)
        answer.raise_for_status()

    def _get(self, path: str, **params: float) -> Any:
        query = {name: str(value) for name, value in params.items()}
        return checked(self._cluster.http(self._namespace, self._target, path, params=query))

    @property
    def _target(self) -> str:
        return f"pods/{self._name}:{PORT}"
