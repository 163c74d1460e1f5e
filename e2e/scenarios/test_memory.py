"""Memory near the limit that the kernel enforces, with the operator and without it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import requests

from e2e.harness.process import wait_until
from e2e.kind import operator, workload
from e2e.kind.load import PodLoad
from e2e.kind.timeline import Timeline
from e2e.scenarios.steps import READY_SECONDS, restarts, wait_pods
from e2e.scenarios.targets import wait
from e2e.scenarios.together import long_side_by_side

if TYPE_CHECKING:
    from e2e.kind.cluster import KindCluster

MEBIBYTE = 2**20
LIMIT_BYTES = 256 * MEBIBYTE
OBJECTIVE_PERCENT = 65
NEAR_PERCENT = 75
"""So much of the limit was really in use at some moment."""
WORKERS, CACHE_BYTES = 8, 64 * MEBIBYTE
RATE = 5.0  # more than the workers can do: as many runs at a time as there are workers
FACTORS = tuple(0.1 * 1.15**step for step in range(13))
"""Runs hold more and more: 6 MB each at first, 34 MB in the end."""
STEP_SECONDS = 8.0
TOO_MUCH = 0.6
"""A run holds 38 MB."""
SAMPLE_SECONDS = 0.1
SETTINGS = {"generation": 1, "workers": {"maxConcurrent": WORKERS}, "cache": {"maxBytes": CACHE_BYTES}}


def template(*more: str) -> dict[str, Any]:
    arguments = ("--seed=3", "--memory-tail-quantile=0.5", *more)
    return workload.agent_pod(time_scale=0.2, memory_scale=0.3, memory_limit=f"{LIMIT_BYTES}", arguments=arguments)


def control(name: str) -> list[dict[str, Any]]:
    """The same pod with the same settings, which nobody changes."""
    pod = template()
    labels = {"app": name}
    pod["metadata"] = {"labels": labels, "annotations": {"prometheus.io/scrape": "true"}}
    pod["spec"]["volumes"] = [{"name": "settings", "configMap": {"name": name}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "settings", "mountPath": "/etc/agentscaler"}]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"tuning.json": json.dumps(SETTINGS)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
        },
        workload.service(name, labels),
    ]


def kills(cluster: KindCluster, namespace: str, selector: str) -> int:
    """How often the kernel ended a container for its memory, as the kubelet tells."""
    found = 0
    for pod in cluster.pods(namespace, selector):
        for status in pod["status"].get("containerStatuses") or ():
            states = (status.get("state") or {}, status.get("lastState") or {})
            found += any((state.get("terminated") or {}).get("reason") == "OOMKilled" for state in states)
    return found


def resident_bytes(cluster: KindCluster, namespace: str, name: str) -> float:
    """What the only pod of an AgentDeployment holds; 0 where it was too busy to tell."""
    (pod,) = cluster.pods_of(namespace, name)
    try:
        return cluster.metric(namespace, pod["metadata"]["name"], "process_resident_memory_bytes")
    except requests.RequestException:
        return 0.0


@long_side_by_side
def test_cache_and_workers_give_way_before_the_kernel_kills_and_without_the_operator_it_does(
    cluster: KindCluster, namespace: str
) -> None:
    name, other = "careful", "careless"
    agd = workload.agent_deployment(
        name,
        template(),
        objectives={"memory": {"targetPercent": OBJECTIVE_PERCENT}},
        tuning={
            "replicas": {"min": 1, "max": 1},
            "workers": {"min": 1, "max": WORKERS, "initial": WORKERS},
            "cache": {"min": "1Mi", "max": f"{CACHE_BYTES}", "initial": f"{CACHE_BYTES}"},
        },
    )
    manifests = [*workload.upstream(), workload.service(name), agd, *control(other)]
    cluster.apply(workload.in_namespace(namespace, *manifests))
    selectors = {name: f"agentscaler.dev/name={name}", other: f"app={other}"}
    length = STEP_SECONDS * (len(FACTORS) + 3)
    loads = [
        PodLoad(
            cluster,
            namespace,
            each,
            rate_per_second=RATE,
            max_duration_seconds=length + 600,
            timeout_seconds=30,
            memory_factor=FACTORS[0],
            name=f"load-{each}",
        )
        for each in selectors
    ]
    with ExitStack() as stack:
        seen = stack.enter_context(Timeline(cluster, namespace, name))  # what was written first as well
        for selector in selectors.values():
            wait_pods(cluster, namespace, selector, 1)
        wait_until(lambda: seen.written, READY_SECONDS, "the first settings")
        for load in loads:
            stack.enter_context(load)
        began, used, asked, pause = time.monotonic(), [0.0], FACTORS[0], threading.Event()
        while (passed := time.monotonic() - began) < length:
            factor = FACTORS[min(int(passed / STEP_SECONDS), len(FACTORS) - 1)]
            if factor != asked:
                asked = factor
                for load in loads:
                    load.set_body(factor, 0)
            used.append(resident_bytes(cluster, namespace, name))
            assert kills(cluster, namespace, selectors[name]) == 0
            pause.wait(SAMPLE_SECONDS)  # what asks as fast as it can takes the CPU that it measures with
        wait(lambda: kills(cluster, namespace, selectors[other]), "the end of the careless pod")
        print(f"at most {max(used) / LIMIT_BYTES:.0%} of the limit; workers {seen.workers_between(0, time.time())}")
    assert restarts(cluster, namespace, name) == 0
    caches = [each.settings["cache"]["maxBytes"] for each in seen.written]
    fewer = next(each for each in seen.written if each.workers < WORKERS)
    assert caches[0] == CACHE_BYTES
    assert fewer.settings["cache"]["maxBytes"] < CACHE_BYTES / 2  # the cache went first
    assert max(used) >= NEAR_PERCENT / 100 * LIMIT_BYTES


@long_side_by_side
def test_a_pod_that_the_kernel_kills_gets_fewer_workers_until_it_lives(cluster: KindCluster, namespace: str) -> None:
    """Its own gate knows of no limit, and nobody tells the operator what it holds. Eight runs are too many."""
    name = "killed"
    agd = workload.agent_deployment(
        name,
        template(f"--memory-limit-bytes={2**40}"),
        signals={"overrides": {"memory": {"metric": "untold", "kind": "Gauge"}}},
        tuning={
            "replicas": {"min": 1, "max": 1},
            "workers": {"min": 1, "max": WORKERS, "initial": WORKERS},
            "cache": {"min": "1Mi", "max": "1Mi"},
        },
    )
    manifests = [*workload.upstream(), workload.service(name), agd]
    cluster.apply(workload.in_namespace(namespace, *manifests))
    selector = f"agentscaler.dev/name={name}"
    load = PodLoad(
        cluster,
        namespace,
        name,
        rate_per_second=RATE,
        max_duration_seconds=600,
        timeout_seconds=30,
        memory_factor=TOO_MUCH,
    )
    with ExitStack() as stack:
        seen = stack.enter_context(Timeline(cluster, namespace, name))
        wait_pods(cluster, namespace, selector, 1)
        wait_until(lambda: seen.written, READY_SECONDS, "the first settings")
        stack.enter_context(load)
        wait(lambda: kills(cluster, namespace, selector), "the end of the pod")
        wait(lambda: seen.written[-1].workers < WORKERS, "fewer workers")

        def lives() -> bool:
            (pod,) = cluster.pods_of(namespace, name)
            try:
                return cluster.metric(namespace, pod["metadata"]["name"], "agent_queue_wait_seconds_count") >= 50
            except requests.RequestException:
                return False  # between two kills

        wait(lives, "a process that has done fifty runs")
        killed = restarts(cluster, namespace, name)
        print(f"{killed} kills; workers {[each.workers for each in seen.written]}")
    rules = [
        step["rule"] for record in operator.records(cluster, namespace, name) for step in record["decision"]["steps"]
    ]
    assert "survive-kills" in rules
