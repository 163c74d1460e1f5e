"""The operator sees nothing: the agents' series are gone, then Prometheus itself."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import requests
import yaml

from e2e.harness.administrator import checked
from e2e.harness.process import wait_until
from e2e.kind import workload
from e2e.kind.cluster import PROMETHEUS
from e2e.kind.load import PodLoad
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import READY_SECONDS, other_than_ok, wait_pods, wait_ready
from e2e.scenarios.targets import wait
from e2e.scenarios.together import FRAGILE, slow_side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.kind.cluster import KindCluster

PEAK, QUIET = 10.0, 0.5
"""Runs a second: more than three pods are made for, and what one can do. Chance does not bridge that."""
WINDOW_SECONDS = 60
BLIND_SECONDS = 25.0
AWAY_SECONDS = 120.0
BACK_SECONDS = 600.0
"""Longer than any window, also when the operator begins anew meanwhile."""
TUNING = {
    "replicas": {"min": 1, "max": 3, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}},
    "workers": {"min": 2, "max": 4, "initial": 3},
}


class FragilePrometheus:
    """A Prometheus of one namespace alone, so that nobody else is blind when it is.

    Args:
        cluster: Where.
        watched: The namespace that it scrapes.
    """

    def __init__(self, cluster: KindCluster, watched: str) -> None:
        self._cluster = cluster
        self._watched = watched
        text = PROMETHEUS.read_text().replace("@IMAGE@", cluster.images.prometheus)
        self._manifests = list(
            yaml.safe_load_all(text.replace("monitoring", FRAGILE).replace("e2e-", f"e2e-{FRAGILE}-"))
        )

    def start(self) -> None:
        """Make it and wait until it is ready."""
        self._configure(self._watched)
        self._cluster.apply(self._manifests)
        wait_pods(self._cluster, FRAGILE, "app=prometheus", 1)

    def remove(self) -> None:
        """Remove all of it."""
        for manifest in self._manifests:
            if "namespace" not in manifest["metadata"]:
                name = f"{manifest['kind']}/{manifest['metadata']['name']}"
                self._cluster.kubectl("delete", "--ignore-not-found", "--wait=false", name)

    def lose_series(self) -> None:
        """Scrape nothing from now on; returns when the series are gone."""
        self._configure("nothing")
        self._cluster.apply(self._manifests)
        (pod,) = self._cluster.pods(FRAGILE, "app=prometheus")
        path = f"/api/v1/namespaces/{FRAGILE}/pods/{pod['metadata']['name']}"

        def gone() -> bool:
            # The kubelet looks at what it has mounted when the pod changes.
            touch = {"metadata": {"annotations": {"touched": str(time.time())}}}
            checked(self._cluster.request("PATCH", path, touch, "application/merge-patch+json"))
            with suppress(requests.RequestException):
                self._http("-/reload", "POST")
                return self._series() == 0
            return False

        wait(gone, "the end of the series")

    def heal(self) -> None:
        """Scrape again, from the next start on."""
        self._configure(self._watched)
        self._cluster.apply(self._manifests)

    def scale(self, replicas: int) -> None:
        """Let it go away, or come back without what it knew."""
        self._cluster.kubectl("scale", f"--namespace={FRAGILE}", "deployment/prometheus", f"--replicas={replicas}")
        wait_pods(self._cluster, FRAGILE, "app=prometheus", replicas)

    def _series(self) -> int:
        answer = self._http("api/v1/query", params={"query": f'{{namespace="{self._watched}"}}'})
        return len(answer["data"]["result"])

    def _http(self, path: str, method: str = "GET", params: dict[str, str] | None = None) -> Any:
        answer = self._cluster.http(FRAGILE, "services/prometheus:http", path, method=method, params=params)
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def _configure(self, scraped: str) -> None:
        keep = {"source_labels": ["__meta_kubernetes_namespace"], "regex": scraped, "action": "keep"}
        mine = {"source_labels": ["namespace"], "regex": scraped, "action": "keep"}
        data = next(each["data"] for each in self._manifests if each["kind"] == "ConfigMap")
        settings = yaml.safe_load(data["prometheus.yml"])
        pods, cadvisor = settings["scrape_configs"]
        pods["relabel_configs"] = [
            keep,
            *(
                each
                for each in pods["relabel_configs"]
                if each.keys() != keep.keys() or each["source_labels"] != keep["source_labels"]
            ),
        ]
        cadvisor["metric_relabel_configs"] = [
            mine,
            *(each for each in cadvisor["metric_relabel_configs"] if each["source_labels"] != mine["source_labels"]),
        ]
        data["prometheus.yml"] = yaml.safe_dump(settings)


@contextmanager
def fragile_prometheus(cluster: KindCluster, watched: str) -> Iterator[FragilePrometheus]:
    prometheus = FragilePrometheus(cluster, watched)
    try:
        prometheus.start()
        yield prometheus
    finally:
        prometheus.remove()


def passed(since: float, seconds: float) -> bool:
    return time.time() - since >= seconds


@slow_side_by_side
def test_nothing_shrinks_while_series_or_prometheus_are_away(cluster: KindCluster, namespace: str) -> None:
    name = "blind"
    objectives = {"queueWait": {"quantile": "0.95", "targetMilliseconds": 3000}}
    template = workload.agent_pod(arguments=("--seed=13",))
    agd = workload.agent_deployment(name, template, tuning=TUNING, prometheus=FRAGILE, objectives=objectives)
    with fragile_prometheus(cluster, namespace) as prometheus:
        cluster.apply(workload.in_namespace(namespace, *workload.upstream(), workload.service(name), agd))
        wait_ready(cluster, namespace, name, 1)
        known = time.time()
        with (
            Timeline(cluster, namespace, name) as seen,
            PodLoad(cluster, namespace, name, rate_per_second=PEAK, max_duration_seconds=3600) as load,
        ):
            wait_until(lambda: seen.replicas > 1, READY_SECONDS, "more replicas")
            wait(lambda: len(cluster.ready_pods_of(namespace, name)) == seen.replicas, "its pods")
            # Nothing but blindness may be what keeps it from shrinking.
            wait_until(lambda: passed(known, WINDOW_SECONDS + 15), 120, "a full window of signals")
            prometheus.lose_series()
            blind, most = time.time(), seen.replicas
            load.set_rate(QUIET)
            wait_until(lambda: passed(blind, BLIND_SECONDS), 60, "a while without series")
            prometheus.heal()
            prometheus.scale(0)
            away = time.time()
            wait_until(lambda: passed(away, AWAY_SECONDS), 180, "two minutes without Prometheus")
            asked = time.time()
            prometheus.scale(1)
            back = time.time()
            for steps in (seen.replicas_between(blind, back), seen.workers_between(blind, back)):
                assert all(after >= before for before, after in pairwise(steps)), steps
            wait_until(lambda: seen.replicas < most, BACK_SECONDS, "fewer replicas, now that it sees again")
            print(f"{most} replicas, fewer {time.time() - back:.1f} s after Prometheus came back")
            # It may have scraped for a while before anybody heard that it was ready.
            assert passed(asked, WINDOW_SECONDS)
            assert other_than_ok(load) == {}
