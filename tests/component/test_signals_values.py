"""Every signal's value, to the digit, on staged series in a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_asyncio

from agentscaler.core.observation import Health, Observation, SignalName
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request

PODS = ("researcher-5d9c7b-abcde", "researcher-5d9c7b-fghij")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    stage = Stage()
    stage.agent(PODS[0], rate=2.0, errors=0.1, in_flight=6)
    stage.agent(PODS[1], rate=1.0, errors=0.4, in_flight=4)
    for pod, size in zip(PODS, (4e8, 2e8), strict=True):
        at = {"namespace": "agents", "pod": pod, "job": "kubelet", "instance": "node"}
        stage.gauge("container_memory_working_set_bytes", size, {**at, "container": "agent"})
        stage.gauge("container_memory_working_set_bytes", 1e6, {**at, "container": "POD"})
        stage.gauge("container_memory_working_set_bytes", 2 * size, {**at, "container": ""})
        stage.counter("container_cpu_usage_seconds_total", 0.5, {**at, "container": "agent"})
        stage.counter("container_cpu_usage_seconds_total", 0.9, {**at, "container": ""})
    prometheus = Prometheus()
    prometheus.backfill(stage.text)
    with prometheus:
        yield prometheus.url


@pytest_asyncio.fixture
async def seen(url: str) -> Observation:
    signals = collector(url)
    observation = (await signals.collect([request()], NOW))["agents/researcher"]
    await signals.close()
    return observation


EXPECTED = {
    # 3/s in all: rank 0.99 lies in (10, 60], half-way between 0.98 and 1
    SignalName.QUEUE_WAIT: 10 + 50 * (0.99 - 0.98) / 0.02,
    SignalName.LATE_RATIO: 1 - 0.98,
    SignalName.LATENCY: 30 + 30 * (0.95 - 0.9) / 0.1,
    SignalName.ERROR_RATIO: (2.0 * 0.1 + 1.0 * 0.4) / 3.0,
    SignalName.REQUEST_RATE_60: 3.0,
    SignalName.REQUEST_RATE_120: 3.0,
    SignalName.REQUEST_RATE_300: 3.0,
    SignalName.REQUEST_RATE_600: 3.0,
    SignalName.REJECTED_BREAKER_RATE: 0.8,
    SignalName.REJECTED_RATE: 0.6,
    SignalName.SERVICE_TIME: 10.0,
    SignalName.IN_FLIGHT: 10.0,
    SignalName.IN_FLIGHT_MAX: 6.0,
    SignalName.QUEUE_DEPTH: 6.0,
    SignalName.WORKER_LIMIT: 8.0,
    SignalName.CACHE_BYTES: 1000.0,
    SignalName.CACHE_HIT_RATIO: 0.75,
    SignalName.CACHE_EVICTION_RATE: 1.0,
    SignalName.CACHE_EXPIRED_RATE: 0.5,
    SignalName.CACHE_MISS_RATE: 2.0,
    SignalName.BREAKER_STATE: 0.0,
    SignalName.UPSTREAM_429_RATE: 0.02,
    SignalName.UPSTREAM_5XX_RATE: 0.04,
    SignalName.UPSTREAM_TIMEOUT_RATE: 0.06,
    SignalName.UPSTREAM_CALL_RATE: 8.0,
    SignalName.MEMORY_MAX_BYTES: 4e8,
    SignalName.MEMORY_MEAN_BYTES: 3e8,
    SignalName.CPU_CORES: 1.0,
    SignalName.APPLIED_GENERATION: 7.0,
    SignalName.PODS_REPORTING: 2.0,
    SignalName.TARGETS: 2.0,
    SignalName.TARGETS_UP: 2.0,
}


def test_every_signal_has_an_expected_value() -> None:
    # External demand is asked for by a template of the administrator's: test_signals_external. Entries are counted by
    # frameworks only: test_signals_frameworks.
    assert set(EXPECTED) == set(SignalName) - {SignalName.EXTERNAL_DEMAND, SignalName.CACHE_ENTRIES}


@pytest.mark.parametrize("name", EXPECTED, ids=str)
def test_a_signal_is_right_to_the_digit(seen: Observation, name: SignalName) -> None:
    signal = seen.signal(name)
    assert signal.health is Health.FRESH, signal
    assert signal.value == pytest.approx(EXPECTED[name], rel=1e-9)
    assert signal.observed_at == NOW


def test_a_healthy_object_has_no_problems(seen: Observation) -> None:
    assert seen.problems == ()
    assert seen.evaluated_at == NOW


def test_the_distribution_of_run_durations_is_read(seen: Observation) -> None:
    assert [bound for bound, _ in seen.service_buckets] == [1, 10, 30, 60]
    assert [share for _, share in seen.service_buckets] == pytest.approx([0.2, 0.6, 0.9, 1.0])
