"""Presets of frameworks on a real Prometheus: each trap of their metrics, and the contract's names beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.frameworks.preset import Metric, MetricKind
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.plan import MOST_QUERIES, plan
from agentscaler.signals.request import Override
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request, server

AIECS_SHARES = {0.5: 0.2, 1.0: 0.5, 2.5: 0.9, 10.0: 1.0}


def labels(workload: str, **more: str) -> dict[str, str]:
    return {"namespace": "agents", "pod": f"{workload}-5d9c7b-abcde", "job": "agents", "instance": workload, **more}


def own_metrics(stage: Stage, at: Mapping[str, str]) -> None:
    """What agents with a client of the contract export beside their framework's metrics."""
    stage.gauge("up", 1, at)
    stage.gauge("agent_inflight_requests", 5, at)
    stage.gauge("agent_tuning_applied_generation", 3, at)


def aiecs(stage: Stage, workload: str, *, client: bool = True) -> None:
    at = labels(workload)
    if client:
        own_metrics(stage, at)
    else:
        stage.gauge("up", 1, at)
    for task, rate in (("chat", 3.0), ("search", 1.0)):
        stage.histogram("execute_latency_seconds", rate, AIECS_SHARES, 1.5, {**at, "task_type": task})
    stage.counter("execute_success_total", 2.4, {**at, "task_type": "chat"})
    stage.counter("execute_success_total", 0.8, {**at, "task_type": "search"})


def agentflow(stage: Stage, workload: str) -> None:
    at = labels(workload)
    own_metrics(stage, at)
    for status, rate in (("success", 1.98), ("error", 0.02)):
        named = {**at, "agent_name": "planner", "status": status}
        stage.counter("agent_requests_total", rate, named)
        stage.histogram("agent_request_duration_seconds", rate, {0.1: 0.5, 0.5: 0.9, 2.0: 1.0}, 0.3, named)
    for tool in ("a", "b"):
        stage.counter("mcp_cache_hits_total", 1.5, {**at, "cache_type": "memory", "tool_name": tool})
        stage.counter("mcp_cache_misses_total", 0.5, {**at, "cache_type": "memory", "tool_name": tool})
        stage.gauge("mcp_cache_size_items", 100, {**at, "tool_name": tool})
        stage.gauge("mcp_cache_memory_usage_bytes", 5e6, {**at, "tool_name": tool})
        stage.gauge("mcp_circuit_breaker_state", 1 if tool == "b" else 0, {**at, "server_id": "s", "tool_name": tool})


@pytest.fixture(scope="module")
def prometheus_of_frameworks() -> Iterator[Prometheus]:
    stage = Stage()
    aiecs(stage, "librarian")
    aiecs(stage, "bare", client=False)
    aiecs(stage, "failing")
    aiecs(stage, "both", client=False)
    stage.agent(labels("both")["pod"])
    agentflow(stage, "planner")
    at = labels("graph")
    own_metrics(stage, at)
    stage.histogram("agent_response_time_ms", 2.0, {500.0: 0.5, 2000.0: 0.9, 8000.0: 1.0}, 900.0, {**at, "agent": "x"})
    at = labels("dotnet")
    own_metrics(stage, at)
    stage.counter("agent_execution_duration_count", 2.0, at)
    stage.counter("agent_execution_duration_sum", 2.0 * 1500, at)
    stage.counter("agent_execution_success", 1.5, at)
    stage.counter("agent_execution_failure", 0.5, at)
    at = labels("sharp")
    stage.gauge("up", 1, at)
    for name, value in (
        ("RequestsPerSecond", 4),
        ("ResponseTime", 1200),
        ("SuccessRate", 0.9),
        ("ConcurrentRequests", 6),
    ):
        stage.gauge(name, value, at)
    prometheus = Prometheus()
    prometheus.backfill(stage.text)
    with prometheus:
        yield prometheus


async def seen(prometheus: Prometheus, workload: str, preset: str, **fields: object) -> Observation:
    signals = collector(prometheus.url)
    asked = request(workload, preset=preset, **fields)  # type: ignore[arg-type]  # fields of the test's choice
    observation = (await signals.collect([asked], NOW))[asked.uid]
    assert sum(signals.last_tick_queries.values()) <= MOST_QUERIES
    await signals.close()
    return observation


async def test_aiecs_has_no_error_counter_so_what_did_not_succeed_has_failed(
    prometheus_of_frameworks: Prometheus,
) -> None:
    made = await seen(prometheus_of_frameworks, "librarian", "aiecs")
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(4)
    assert made.value(SignalName.ERROR_RATIO) == pytest.approx(0.2)
    assert made.value(SignalName.SERVICE_TIME) == pytest.approx(1.5)
    assert made.value(SignalName.LATENCY) == pytest.approx(6.25)
    assert made.value(SignalName.IN_FLIGHT) == 5, "the contract's name, from the client"
    assert made.value(SignalName.APPLIED_GENERATION) == 3
    bound, share = made.service_buckets[0]
    assert (bound, round(share, 6)) == (0.5, 0.2)


async def test_aiecs_alone_does_not_tell_its_demand_and_the_message_says_what_would(
    prometheus_of_frameworks: Prometheus,
) -> None:
    made = await seen(prometheus_of_frameworks, "bare", "aiecs", required=frozenset({SignalName.IN_FLIGHT}))
    assert made.signal(SignalName.IN_FLIGHT).health is Health.EMPTY
    (problem,) = made.problems
    assert problem[0] == Reason.SIGNALS_EMPTY
    assert "inFlight" in problem[1]
    assert "export agent_inflight_requests" in problem[1]


async def test_the_contracts_metrics_come_before_the_frameworks_own(prometheus_of_frameworks: Prometheus) -> None:
    made = await seen(prometheus_of_frameworks, "both", "aiecs")
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(2), "not 4, and not 6"
    assert made.value(SignalName.ERROR_RATIO) == pytest.approx(0.1)
    assert made.value(SignalName.SERVICE_TIME) == pytest.approx(10)
    assert {bound for bound, _ in made.service_buckets} == {1.0, 10.0, 30.0, 60.0}, "one histogram, not two mixed"


async def test_agentflow_is_read_by_its_guides_labels_and_its_tool_cache(prometheus_of_frameworks: Prometheus) -> None:
    made = await seen(prometheus_of_frameworks, "planner", "agentflow")
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(2)
    assert made.value(SignalName.ERROR_RATIO) == pytest.approx(0.01)
    assert made.value(SignalName.CACHE_HIT_RATIO) == pytest.approx(0.75)
    assert made.value(SignalName.CACHE_BYTES) == pytest.approx(1e7)
    assert made.value(SignalName.CACHE_ENTRIES) == 200
    assert made.signal(SignalName.BREAKER_STATE).health is Health.EMPTY, "1 is open there, and half-open here"


async def test_agentgraph_counts_milliseconds(prometheus_of_frameworks: Prometheus) -> None:
    made = await seen(prometheus_of_frameworks, "graph", "agentgraph")
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(2)
    assert made.value(SignalName.SERVICE_TIME) == pytest.approx(0.9)
    assert made.value(SignalName.LATENCY) == pytest.approx(5)
    assert made.signal(SignalName.ERROR_RATIO).health is Health.EMPTY


async def test_genericagents_has_sums_and_counts_and_no_buckets(prometheus_of_frameworks: Prometheus) -> None:
    made = await seen(prometheus_of_frameworks, "dotnet", "genericagents")
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(2)
    assert made.value(SignalName.SERVICE_TIME) == pytest.approx(1.5)
    assert made.value(SignalName.ERROR_RATIO) == pytest.approx(0.25)
    latency = made.signal(SignalName.LATENCY)
    assert latency.health is Health.EMPTY
    assert "has no buckets" in latency.detail


async def test_aiagentsharp_has_means_only(prometheus_of_frameworks: Prometheus) -> None:
    made = await seen(prometheus_of_frameworks, "sharp", "aiagentsharp")
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(4)
    assert made.value(SignalName.IN_FLIGHT) == 6
    assert made.value(SignalName.SERVICE_TIME) == pytest.approx(1.2)
    assert made.value(SignalName.ERROR_RATIO) == pytest.approx(0.1)
    assert made.signal(SignalName.LATENCY).health is Health.EMPTY


async def test_runs_of_single_pods_are_known_by_either_name(prometheus_of_frameworks: Prometheus) -> None:
    signals = collector(prometheus_of_frameworks.url)
    sharp = await signals.pods_in_flight("main", "aiagentsharp", "agents", "sharp", NOW)
    planner = await signals.pods_in_flight("main", "agentflow", "agents", "planner", NOW)
    await signals.close()
    assert sharp == {"sharp-5d9c7b-abcde": 6}
    assert planner == {"planner-5d9c7b-abcde": 5}


async def test_an_override_goes_before_all_names(prometheus_of_frameworks: Prometheus) -> None:
    override = Override("requests", Metric("execute_success_total", MetricKind.COUNTER))
    made = await seen(prometheus_of_frameworks, "both", "aiecs", overrides=(override,))
    assert made.value(SignalName.REQUEST_RATE_60) == pytest.approx(3.2)
    assert made.value(SignalName.ERROR_RATIO) is None, "failures and successes of another source tell nothing"


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_preset_stays_within_the_queries_of_a_tick(preset: str) -> None:
    made = plan(server("http://127.0.0.1"), PRESETS[preset].metrics, [request(preset=preset)])
    assert len(made.quick) + 1 <= MOST_QUERIES
    assert len(made.quick) == len(plan(server("http://127.0.0.1"), PRESETS["generic"].metrics, [request()]).quick)


async def test_names_of_an_agents_series_are_found(prometheus_of_frameworks: Prometheus) -> None:
    signals = collector(prometheus_of_frameworks.url)
    names = await signals.agent_names(request("planner"), NOW)
    nobody = await signals.agent_names(request("nobody"), NOW)
    await signals.close()
    assert names is not None
    assert {"mcp_cache_hits_total", "agent_requests_total"} <= names
    assert "up" not in names
    assert not [name for name in names if name.startswith("execute_")], "of this object only"
    assert nobody == frozenset()
