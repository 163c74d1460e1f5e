"""What can be trusted: each pitfall of metrics, staged in a real Prometheus, and the health that it gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
import pytest_asyncio

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from e2e.harness.prometheus import Prometheus
from tests.component.signals_pitfalls import ROLLED_SECONDS_AGO, pitfalls, pod
from tests.component.signals_stage import NOW, collector, request

WORKLOADS: Final = (
    "healthy",
    "idle",
    "unknown",
    "dead",
    "stale",
    "recent",
    "lost",
    "starting",
    "doubled",
    "overlaid",
    "web",
    "web-api",
    "reset",
    "nan",
    "negative",
    "rare",
    "failing",
    "hanging",
    "faultless",
    "longgone",
    "resident",
    "rolled",
    "rolling",
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    prometheus = Prometheus()
    prometheus.backfill(pitfalls().text)
    with prometheus:
        yield prometheus.url


@pytest_asyncio.fixture
async def seen(url: str) -> dict[str, Observation]:
    signals = collector(url)
    observations = await signals.collect([request(workload) for workload in WORKLOADS], NOW)
    await signals.close()
    return {uid.removeprefix("agents/"): observation for uid, observation in observations.items()}


def reasons(observation: Observation) -> set[str]:
    return {reason for reason, _ in observation.problems}


def test_an_idle_service_is_idle_and_no_problem(seen: dict[str, Observation]) -> None:
    idle = seen["idle"]
    assert idle.signal(SignalName.IN_FLIGHT) == Signal(0.0, Health.FRESH, NOW)
    assert idle.signal(SignalName.REQUEST_RATE_60).value == 0
    for name in (SignalName.QUEUE_WAIT, SignalName.LATENCY, SignalName.ERROR_RATIO, SignalName.SERVICE_TIME):
        assert idle.signal(name).health is Health.IDLE, name
        assert idle.value(name) == 0
    assert idle.problems == ()


def test_no_series_are_unknown_and_not_zero(seen: dict[str, Observation]) -> None:
    unknown = seen["unknown"]
    assert {signal.health for signal in unknown.signals.values()} == {Health.EMPTY}
    assert all(unknown.value(name) is None for name in SignalName)
    assert reasons(unknown) == {Reason.SIGNALS_EMPTY}


def test_all_targets_down_are_dead_and_neither_idle_nor_unknown(seen: dict[str, Observation]) -> None:
    dead = seen["dead"]
    assert (dead.value(SignalName.TARGETS), dead.value(SignalName.TARGETS_UP)) == (1, 0)
    assert dead.signal(SignalName.IN_FLIGHT).health is Health.EMPTY
    assert Reason.TARGETS_DOWN in reasons(dead)


def test_series_that_stopped_a_minute_ago_are_stale(seen: dict[str, Observation]) -> None:
    stale = seen["stale"]
    for name in (SignalName.IN_FLIGHT, SignalName.REQUEST_RATE_120, SignalName.QUEUE_WAIT, SignalName.ERROR_RATIO):
        signal = stale.signal(name)
        assert (signal.health, signal.observed_at) == (Health.STALE, NOW - 60), name
        assert signal.value is not None
        assert stale.value(name) is None
    assert stale.signal(SignalName.TARGETS_UP).health is Health.EMPTY
    assert reasons(stale) == {Reason.SIGNALS_STALE}


def test_samples_of_two_lost_scrapes_are_still_fresh(seen: dict[str, Observation]) -> None:
    signal = seen["recent"].signal(SignalName.IN_FLIGHT)
    assert (signal.health, signal.observed_at) == (Health.FRESH, NOW - 10)


def test_a_pod_that_stopped_answering_makes_sums_partial(seen: dict[str, Observation]) -> None:
    lost = seen["lost"]
    assert (lost.value(SignalName.TARGETS), lost.value(SignalName.TARGETS_UP)) == (2, 1)
    assert lost.signal(SignalName.IN_FLIGHT).health is Health.PARTIAL
    assert lost.signal(SignalName.IN_FLIGHT).value == 6
    assert lost.value(SignalName.IN_FLIGHT) is None
    assert reasons(lost) == {Reason.SIGNALS_PARTIAL}


def test_a_pod_that_never_answered_yet_is_starting_and_hides_nothing(seen: dict[str, Observation]) -> None:
    starting = seen["starting"]
    assert (starting.value(SignalName.TARGETS), starting.value(SignalName.TARGETS_UP)) == (2, 1)
    assert starting.value(SignalName.IN_FLIGHT) == 6
    assert starting.problems == ()


def test_two_jobs_that_scrape_one_pod_do_not_double_the_demand(seen: dict[str, Observation]) -> None:
    doubled = seen["doubled"]
    assert doubled.value(SignalName.IN_FLIGHT) == 4
    assert doubled.value(SignalName.PODS_REPORTING) == 1
    assert doubled.value(SignalName.TARGETS) == 1
    assert doubled.value(SignalName.REQUEST_RATE_60) == pytest.approx(2)
    assert doubled.value(SignalName.SERVICE_TIME) == pytest.approx(10)
    assert doubled.value(SignalName.LATENCY) == pytest.approx(45)
    assert reasons(doubled) == {Reason.DUPLICATE_SCRAPE}


def test_the_label_agent_deployment_comes_before_the_name_of_the_pod(seen: dict[str, Observation]) -> None:
    assert seen["overlaid"].value(SignalName.IN_FLIGHT) == 5


def test_deployments_with_a_common_prefix_are_told_apart(seen: dict[str, Observation]) -> None:
    assert seen["web"].value(SignalName.IN_FLIGHT) == 1
    assert seen["web-api"].value(SignalName.IN_FLIGHT) == 2


def test_the_same_name_in_another_namespace_is_another_object(seen: dict[str, Observation]) -> None:
    assert seen["healthy"].value(SignalName.IN_FLIGHT) == 6


def test_a_restarted_process_gives_no_negative_and_no_huge_rate(seen: dict[str, Observation]) -> None:
    # 2/s without a break but for the scrape in which the counter fell
    rate = seen["reset"].value(SignalName.REQUEST_RATE_300)
    assert rate is not None
    assert 1.9 <= rate <= 2.0


def test_a_window_that_spans_a_rollout_has_the_rate_of_old_and_new_pods(seen: dict[str, Observation]) -> None:
    rolled = seen["rolled"]
    for name in (SignalName.REQUEST_RATE_60, SignalName.REQUEST_RATE_300):
        assert rolled.value(name) == pytest.approx(2.0)
    # half a scrape more at the end of each old series
    assert rolled.value(SignalName.REQUEST_RATE_600) == pytest.approx(2.0, rel=0.01)
    assert rolled.value(SignalName.SERVICE_TIME) == pytest.approx(10.0, rel=0.01)
    assert rolled.signal(SignalName.REQUEST_RATE_600).health is Health.FRESH
    assert rolled.value(SignalName.IN_FLIGHT) == 6
    assert rolled.value(SignalName.PODS_REPORTING) == 1


async def test_errors_of_the_old_version_are_gone_with_the_window(url: str) -> None:
    signals = collector(url)
    asked = [request("rolled", uid=str(window), window_seconds=window) for window in (120, 300, 600)]
    ratios = [(await signals.collect([each], NOW))[each.uid].value(SignalName.ERROR_RATIO) for each in asked]
    await signals.close()
    assert ratios[:2] == [0.0, 0.0]
    assert ratios[2] == pytest.approx(0.5 * (600 - ROLLED_SECONDS_AGO) / 600, rel=0.02)


def test_old_pods_that_left_no_mark_are_not_taken_for_fresh_ones(seen: dict[str, Observation]) -> None:
    rolling = seen["rolling"]
    assert rolling.signal(SignalName.REQUEST_RATE_300).value == pytest.approx(2.0, rel=0.02)
    for name in (SignalName.IN_FLIGHT, SignalName.REQUEST_RATE_300, SignalName.ERROR_RATIO):
        assert rolling.signal(name).health is Health.PARTIAL


@pytest.mark.parametrize("workload", ["nan", "negative"])
def test_an_impossible_value_is_invalid(seen: dict[str, Observation], workload: str) -> None:
    assert seen[workload].signal(SignalName.IN_FLIGHT).health is Health.INVALID
    assert seen[workload].signal(SignalName.IN_FLIGHT).value is None
    assert Reason.SIGNALS_INVALID in reasons(seen[workload])


def test_few_observations_are_told(seen: dict[str, Observation]) -> None:
    assert seen["rare"].signal(SignalName.QUEUE_WAIT).detail == "n = 12"
    assert not seen["healthy"].signal(SignalName.QUEUE_WAIT).detail


def test_a_service_of_failures_only_has_no_latency_and_is_not_idle(seen: dict[str, Observation]) -> None:
    latency = seen["failing"].signal(SignalName.LATENCY)
    assert (latency.health, latency.detail) == (Health.EMPTY, "runs ended, but none with success")
    assert seen["failing"].value(SignalName.ERROR_RATIO) == 1


def test_runs_that_never_end_are_unknown_and_not_idle(seen: dict[str, Observation]) -> None:
    for name in (SignalName.LATENCY, SignalName.ERROR_RATIO, SignalName.SERVICE_TIME, SignalName.QUEUE_WAIT):
        assert seen["hanging"].signal(name).health is Health.EMPTY, name


def test_no_error_series_is_an_error_ratio_of_zero(seen: dict[str, Observation]) -> None:
    ratio = seen["faultless"].signal(SignalName.ERROR_RATIO)
    assert (ratio.health, ratio.value) == (Health.FRESH, 0)


def test_the_memory_of_a_dead_pod_does_not_count(seen: dict[str, Observation]) -> None:
    memory = seen["longgone"].signal(SignalName.MEMORY_MAX_BYTES)
    assert (memory.value, memory.health, memory.observed_at) == (3e8, Health.FRESH, NOW - 20)


def test_without_container_metrics_the_process_tells_its_memory(seen: dict[str, Observation]) -> None:
    assert seen["resident"].value(SignalName.MEMORY_MAX_BYTES) == 5e8
    assert seen["resident"].value(SignalName.CPU_CORES) == 0.25


async def test_a_window_too_small_for_the_scrape_interval_is_widened_and_said(url: str) -> None:
    signals = collector(url, scrape_interval_seconds=30)
    observation = (await signals.collect([request("healthy", window_seconds=60)], NOW))["agents/healthy"]
    await signals.close()
    rate = observation.signal(SignalName.REQUEST_RATE_60)
    assert rate.value == pytest.approx(2)
    assert rate.detail == "over 120 s: 60 s hold fewer than 4 scrapes"
    assert observation.signal(SignalName.QUEUE_WAIT).detail == "over 120 s: 60 s hold fewer than 4 scrapes"
    assert observation.signal(SignalName.REQUEST_RATE_300).detail == ""


async def test_mandatory_matchers_hold_for_every_series(url: str) -> None:
    signals = collector(url, matchers=(("job", "agents-again"),))
    observations = await signals.collect([request("healthy"), request("doubled")], NOW)
    await signals.close()
    assert observations["agents/healthy"].signal(SignalName.IN_FLIGHT).health is Health.EMPTY
    assert observations["agents/doubled"].value(SignalName.IN_FLIGHT) == 4
    assert observations["agents/doubled"].problems == ()


async def test_runs_in_flight_of_single_pods(url: str) -> None:
    signals = collector(url)
    assert await signals.pods_in_flight("main", "generic", "agents", "doubled", NOW) == {pod("doubled"): 4}
    assert await signals.pods_in_flight("main", "generic", "agents", "stale", NOW) == {}
    assert await signals.pods_in_flight("nowhere", "generic", "agents", "healthy", NOW) == {}
    await signals.close()
