"""Quantiles of classic, converted and exponential histograms, and of saturated ones."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.frameworks.preset import Metric, MetricKind
from agentscaler.signals.request import Override, SignalRequest
from e2e.harness.process import PATIENCE_SECONDS
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request

LABELS = {"namespace": "agents", "pod": "researcher-5d9c7b-abcde", "job": "agents", "instance": "a"}
GUIDE_BUCKETS = {1.0: 0.1, 10.0: 0.5}

Condition = Callable[[Observation], bool]


async def observed(signals_url: str, asked: SignalRequest, condition: Condition, interval: int = 1) -> Observation:
    """Collect once a second until the condition holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        signals = collector(signals_url, scrape_interval_seconds=interval)  # a new one each time: nothing is cached
        observation = (await signals.collect([asked], time.time()))[asked.uid]
        await signals.close()
        if condition(observation):
            return observation
        assert time.monotonic() < end, observation
        await asyncio.sleep(0.5)


def saturated(labels: dict[str, str]) -> Stage:
    stage = Stage()
    stage.gauge("agent_inflight_requests", 1, labels)
    stage.counter("agent_requests_total", 1.0, {**labels, "status": "success"})
    stage.histogram("agent_request_duration_seconds", 1.0, GUIDE_BUCKETS, 47.0, {**labels, "status": "success"})
    return stage


@pytest.mark.parametrize(("target", "health"), [(5.0, Health.FRESH), (10.0, Health.FRESH), (30.0, Health.INVALID)])
async def test_above_the_highest_bucket_a_latency_is_only_a_lower_bound(
    prometheus: Prometheus, target: float, health: Health
) -> None:
    prometheus.backfill(saturated(LABELS).text)
    signals = collector(prometheus.url)
    observation = (await signals.collect([request(latency_target_seconds=target)], NOW))["agents/researcher"]
    await signals.close()
    latency = observation.signal(SignalName.LATENCY)
    assert latency.health is health
    assert latency.value == (10.0 if health is Health.FRESH else None)
    assert Reason.HISTOGRAM_SATURATED in dict(observation.problems)
    assert "10 s" in dict(observation.problems)[Reason.HISTOGRAM_SATURATED]


async def test_a_quantile_inside_the_buckets_is_not_saturated(prometheus: Prometheus) -> None:
    prometheus.backfill(saturated(LABELS).text)
    signals = collector(prometheus.url)
    observation = (await signals.collect([request(latency_quantile=0.3)], NOW))["agents/researcher"]
    await signals.close()
    assert observation.value(SignalName.LATENCY) == pytest.approx(1 + 9 * (0.3 - 0.1) / 0.4)
    assert Reason.HISTOGRAM_SATURATED not in dict(observation.problems)


async def latency_of(prometheus: Prometheus, shares: dict[float, float], target_seconds: float) -> Observation:
    stage = Stage()
    stage.gauge("agent_inflight_requests", 1, LABELS)
    stage.counter("agent_requests_total", 1.0, {**LABELS, "status": "success"})
    stage.histogram("agent_request_duration_seconds", 1.0, shares, 2.0, {**LABELS, "status": "success"})
    prometheus.backfill(stage.text)
    signals = collector(prometheus.url)
    asked = request(latency_target_seconds=target_seconds, queue_wait_quantile=None, required=frozenset())
    observation = (await signals.collect([asked], NOW))["agents/researcher"]
    await signals.close()
    return observation


@pytest.mark.parametrize(("share", "kept"), [(0.94, False), (0.95, True), (0.96, True)])
async def test_an_objective_on_the_bound_of_a_bucket_is_judged_by_the_share_below_it(
    prometheus: Prometheus, share: float, kept: bool
) -> None:
    observation = await latency_of(prometheus, {1.0: 0.2, 10.0: share, 60.0: 1.0}, 10.0)
    latency = observation.value(SignalName.LATENCY)
    assert latency is not None
    assert (latency <= 10.0 + 1e-6) is kept
    assert not observation.problems


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (5.0, None),  # all runs may have taken 2 s, or 9 s
        (0.5, 1 + 9 * (0.95 - 0.1) / 0.9),  # above it for sure
        (30.0, 1 + 9 * (0.95 - 0.1) / 0.9),  # below it for sure
    ],
)
async def test_a_quantile_in_a_wide_bucket_is_interpolated_and_judges_no_objective_inside_it(
    prometheus: Prometheus, target: float, value: float | None
) -> None:
    observation = await latency_of(prometheus, {0.25: 0.05, 0.5: 0.06, 1.0: 0.1, 10.0: 1.0, 60.0: 1.0}, target)
    latency = observation.signal(SignalName.LATENCY)
    assert latency.health is (Health.INVALID if value is None else Health.FRESH)
    assert latency.value == (value if value is None else pytest.approx(value))
    advice = dict(observation.problems).get(Reason.HISTOGRAM_COARSE, "")
    assert ("from 1 to 10 s" in advice) is (target == 5.0)
    assert ("from 10 to 60 s" in advice) is (target == 30.0)


async def test_a_bucket_that_only_doubles_its_bound_judges_an_objective_inside_it(prometheus: Prometheus) -> None:
    observation = await latency_of(prometheus, {2.5: 0.1, 5.0: 0.5, 10.0: 1.0, 20.0: 1.0}, 8.0)
    assert observation.value(SignalName.LATENCY) == pytest.approx(5 + 5 * (0.95 - 0.5) / 0.5)
    assert not observation.problems


@pytest.mark.parametrize(
    ("target", "late"),
    [
        (5.0, 0.2),
        (0.25, 0.9),
        (60.0, 0.0),
        (7.0, None),  # no bucket ends there
    ],
)
async def test_the_share_of_late_runs_is_exact_where_a_bucket_ends_at_the_objective(
    prometheus: Prometheus, target: float, late: float | None
) -> None:
    stage = Stage()
    for pod, rate in (("abcde", 1.0), ("fghij", 3.0)):
        labels = {**LABELS, "pod": f"researcher-5d9c7b-{pod}", "instance": pod}
        stage.gauge("agent_inflight_requests", 1, labels)
        stage.histogram("agent_queue_wait_seconds", rate, {0.25: 0.1, 5.0: 0.8, 60.0: 1.0}, 2.0, labels)
    prometheus.backfill(stage.text)
    signals = collector(prometheus.url)
    asked = request(queue_wait_target_seconds=target, latency_quantile=None)
    observation = (await signals.collect([asked], NOW))["agents/researcher"]
    await signals.close()
    assert observation.value(SignalName.LATE_RATIO) == (late if late is None else pytest.approx(late, abs=1e-9))
    assert observation.value(SignalName.QUEUE_WAIT) is not None


SHARES = {0.5: 0.25, 2.0: 0.75, 8.0: 0.95}


@pytest_asyncio.fixture
async def exporter() -> AsyncIterator[str]:
    """An agent whose histograms grow by the same shares with every scrape."""
    scrapes = itertools.count(1)

    async def metrics(_: web.Request) -> web.Response:
        count = next(scrapes) * 100
        lines = ["# TYPE agent_inflight_requests gauge", "agent_inflight_requests 5"]
        lines += ["# TYPE agent_requests_total counter", f'agent_requests_total{{status="success"}} {count}']
        histograms = (("agent_request_duration_seconds", 'status="success",'), ("agent_queue_wait_seconds", ""))
        for name, labels in histograms:
            lines.append(f"# TYPE {name} histogram")
            lines += [f'{name}_bucket{{{labels}le="{bound}"}} {count * share:g}' for bound, share in SHARES.items()]
            lines.append(f'{name}_bucket{{{labels}le="+Inf"}} {count}')
            scale = 3 if labels else 1
            lines += [f"{name}_sum{{{labels}}} {count * scale}", f"{name}_count{{{labels}}} {count}"]
        return web.Response(text="\n".join(lines) + "\n")

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("always_classic", [False, True], ids=["native only", "both"])
async def test_classic_histograms_stored_as_native_ones_give_the_same_quantiles(
    exporter: str, always_classic: bool
) -> None:
    labels = {"namespace": "agents", "pod": LABELS["pod"], "job": "agents"}
    prometheus = Prometheus(scrape_interval_seconds=1, static_targets=[(exporter, labels)], native_histograms=True)
    configuration = yaml.safe_load(prometheus.config.read_text())
    configuration["global"]["always_scrape_classic_histograms"] = always_classic
    prometheus.config.write_text(yaml.safe_dump(configuration))
    asked = request(queue_wait_quantile=0.9, queue_wait_target_seconds=2.0, latency_quantile=0.5, window_seconds=60)

    def measured(observation: Observation) -> bool:
        names = (SignalName.QUEUE_WAIT, SignalName.LATENCY, SignalName.SERVICE_TIME)
        return all(observation.signal(name).health is Health.FRESH for name in names) and bool(
            observation.service_buckets
        )

    await asyncio.to_thread(prometheus.start)
    try:
        observation = await observed(prometheus.url, asked, measured)
        bucket_series = prometheus.query("agent_queue_wait_seconds_bucket")
    finally:
        await asyncio.to_thread(prometheus.stop)
    assert bool(bucket_series) is always_classic
    assert observation.value(SignalName.QUEUE_WAIT) == pytest.approx(2 + 6 * (0.9 - 0.75) / 0.2)
    assert observation.value(SignalName.LATE_RATIO) == pytest.approx(0.25)
    assert observation.value(SignalName.LATENCY) == pytest.approx(0.5 + 1.5 * (0.5 - 0.25) / 0.5)
    assert observation.value(SignalName.SERVICE_TIME) == pytest.approx(2)
    assert [bound for bound, _ in observation.service_buckets] == [0.5, 2, 8]
    assert [share for _, share in observation.service_buckets] == pytest.approx([0.25, 0.75, 0.95])


async def test_a_native_histogram_above_its_highest_bucket_is_saturated(exporter: str) -> None:
    labels = {"namespace": "agents", "pod": LABELS["pod"], "job": "agents"}
    prometheus = Prometheus(scrape_interval_seconds=1, static_targets=[(exporter, labels)], native_histograms=True)
    configuration = yaml.safe_load(prometheus.config.read_text())
    configuration["global"]["always_scrape_classic_histograms"] = False
    prometheus.config.write_text(yaml.safe_dump(configuration))
    asked = request(queue_wait_quantile=None, latency_quantile=0.99, window_seconds=60, required=frozenset())
    await asyncio.to_thread(prometheus.start)
    try:
        # On a busy machine a scrape may fail, which is another problem for a moment.
        observation = await observed(
            prometheus.url, asked, lambda o: [reason for reason, _ in o.problems] == [Reason.HISTOGRAM_SATURATED]
        )
    finally:
        await asyncio.to_thread(prometheus.stop)
    assert observation.value(SignalName.LATENCY) == 8


async def test_exponential_native_histograms_are_read(prometheus: Prometheus) -> None:
    """Prometheus itself exports some; it is scraped as if it were an agent."""
    address = prometheus.url.removeprefix("http://")
    configuration = yaml.safe_load(prometheus.config.read_text())
    configuration["global"]["scrape_native_histograms"] = True
    configuration["scrape_configs"] = [
        {
            "job_name": "self",
            "static_configs": [{"targets": [address], "labels": {"namespace": "agents", "pod": LABELS["pod"]}}],
        }
    ]
    prometheus.config.write_text(yaml.safe_dump(configuration))
    prometheus.reload()
    metric = Metric("prometheus_http_request_duration_seconds", MetricKind.HISTOGRAM, (("handler", "/api/v1/query"),))
    gauge = Metric("prometheus_engine_queries", MetricKind.GAUGE)
    overrides = (Override("duration", metric), Override("in_flight", gauge), Override("queue_wait", metric))
    asked = request(queue_wait_quantile=0.9, latency_quantile=None, window_seconds=60, overrides=overrides)
    signals = collector(prometheus.url, scrape_interval_seconds=1)
    end = time.monotonic() + PATIENCE_SECONDS
    name, selector = metric.name, '{handler="/api/v1/query",namespace="agents"}'
    while True:
        now = time.time()
        observation = (await signals.collect([asked], now))[asked.uid]
        signal = observation.signal(SignalName.QUEUE_WAIT)
        expected = prometheus.query(f"histogram_quantile(0.9, sum(rate({name}{selector}[60s])))", now)
        # Not the same if a scrape that began before `now` ended between the two questions.
        if signal.health is Health.FRESH and expected and signal.value == pytest.approx(float(expected[0]["value"][1])):
            break
        assert time.monotonic() < end, (observation, expected)
        await asyncio.sleep(0.5)
    await signals.close()
    assert not prometheus.query(f"{name}_bucket{selector}", now), "it must be native only"
