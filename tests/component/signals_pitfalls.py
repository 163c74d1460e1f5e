"""Every pitfall of metrics, as series of one Prometheus."""

from __future__ import annotations

from typing import Final

from tests.component.signals_stage import PAST_SECONDS, Stage

NEVER_BACK: Final = PAST_SECONDS
ROLLED_SECONDS_AGO: Final = 360.0
"""Prometheus answers for five minutes with the last value of a series that ended without a mark."""


def pod(workload: str, number: int = 0) -> str:
    return f"{workload}-7f9c6d-{number:05d}"


def at(name: str, job: str = "agents") -> dict[str, str]:
    return {"namespace": "agents", "pod": name, "job": job, "instance": f"{job}-{name}"}


def stage_silent_pod(stage: Stage, name: str, up_until: float | None) -> None:
    """A pod that does not answer its scrape; it did until `up_until` seconds before now, or never."""
    gone = NEVER_BACK if up_until is None else NEVER_BACK - up_until
    stage.series("up", at(name), lambda offset: 1.0 if up_until is not None and offset < gone else 0.0)


def stage_restarted(stage: Stage, name: str) -> None:
    """A process that was killed a minute ago and counts from 0 again."""
    stage.gauge("agent_inflight_requests", 1, at(name))
    reborn = PAST_SECONDS - 60
    stage.series(
        "agent_requests_total",
        {**at(name), "status": "success"},
        lambda offset: 2.0 * offset if offset < reborn else 2.0 * (offset - reborn),
    )


def stage_containers(stage: Stage) -> None:
    """cAdvisor's series carry no staleness marks: those of a dead pod are seen for five minutes more."""
    for number, size, last in ((0, 3e8, 20.0), (1, 9e8, 120.0)):
        labels = {"namespace": "agents", "pod": pod("longgone", number), "job": "kubelet", "container": "agent"}
        stage.gauge("container_memory_working_set_bytes", size, labels, last)


def pitfalls() -> Stage:
    """All workloads, each with what is wrong with it."""
    stage = Stage()
    stage.agent(pod("healthy"))
    stage.agent(pod("idle"), rate=0.0, in_flight=0)
    stage_silent_pod(stage, pod("dead"), up_until=400)
    stage.agent(pod("stale"), last=60)
    stage.agent(pod("recent"), last=10)
    stage.agent(pod("lost"))
    stage_silent_pod(stage, pod("lost", 1), up_until=60)
    stage.agent(pod("starting"))
    stage_silent_pod(stage, pod("starting", 1), up_until=None)
    stage.agent(pod("doubled"), job="agents", in_flight=4, rate=2)
    stage.agent(pod("doubled"), job="agents-again", in_flight=4, rate=2)
    stage.agent("pod-of-some-statefulset-0", extra={"agent_deployment": "overlaid"}, in_flight=5)
    stage.agent(pod("web"), in_flight=1)
    stage.agent(pod("web-api"), in_flight=2)
    stage.agent(pod("healthy"), namespace="elsewhere", in_flight=50)
    stage_restarted(stage, pod("reset"))
    for workload, value in (("nan", float("nan")), ("negative", -1.0)):
        stage.gauge("agent_inflight_requests", value, at(pod(workload)))
        stage.counter("agent_requests_total", 1.0, {**at(pod(workload)), "status": "success"})
    stage.agent(pod("rare"), rate=0.1)
    stage.agent(pod("failing"), errors=1.0)
    stage.agent(pod("hanging"), rate=0.0, in_flight=4)
    stage.gauge("agent_inflight_requests", 1, at(pod("faultless")))
    stage.counter("agent_requests_total", 1.0, {**at(pod("faultless")), "status": "success"})
    stage.agent(pod("longgone"))
    stage_containers(stage)
    stage.agent(pod("resident"))
    for workload, seconds_ago in (("rolled", ROLLED_SECONDS_AGO), ("rolling", 60.0)):
        stage.agent(pod(workload), errors=0.5, last=seconds_ago)
        stage.agent(f"{workload}-5b6d7c-00000", errors=0.0, first=seconds_ago)
    return stage
