"""Metrics that users name: read where right, refused where wrong, and never more than a selector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, SignalName
from agentscaler.frameworks.preset import Metric, MetricKind
from agentscaler.signals.errors import InvalidOverride
from agentscaler.signals.promql import Dialect
from agentscaler.signals.request import Override
from e2e.harness.process import REQUEST_SECONDS
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request, server

LABELS = {"namespace": "agents", "pod": "own-5d9c7b-abcde", "job": "agents", "instance": "a"}
IN_FLIGHT = Override("in_flight", Metric("my_busy", MetricKind.GAUGE, (("pool", 'a "quoted" \\ one'),)))
LATENCY = Override("successful_duration", Metric("my_milliseconds", MetricKind.HISTOGRAM, (), 0.001))
REFUSED = Override("in_flight", Metric("my_busy", MetricKind.GAUGE, (("pool", "~(?=x)y"),)))


@pytest.fixture(scope="module")
def prometheus_with_own_metrics() -> Iterator[Prometheus]:
    stage = Stage()
    stage.agent("usual-5d9c7b-abcde")
    stage.agent("old-5d9c7b-abcde")
    stage.agent(LABELS["pod"])
    stage.gauge("my_busy", 3, {**LABELS, "pool": 'a \\"quoted\\" \\\\ one'})
    stage.gauge("my_busy", 40, {**LABELS, "pool": "another"})
    stage.histogram("my_milliseconds", 2.0, {100.0: 0.5, 1000.0: 1.0}, 300.0, LABELS)
    stage.counter("my_ended_total", 5.0, LABELS)
    stage.histogram(
        "old_milliseconds", 2.0, {100.0: 0.5, 1000.0: 1.0}, 300.0, {**LABELS, "pod": "old-5d9c7b-abcde"}, last=60
    )
    prometheus = Prometheus()
    prometheus.backfill(stage.text)
    with prometheus:
        yield prometheus


async def test_overrides_replace_single_metrics(prometheus_with_own_metrics: Prometheus) -> None:
    signals = collector(prometheus_with_own_metrics.url)
    asked = [request("own", overrides=(IN_FLIGHT, LATENCY)), request("usual")]
    seen = await signals.collect(asked, NOW)
    await signals.close()
    own = seen["agents/own"]
    assert own.value(SignalName.IN_FLIGHT) == 3
    assert own.value(SignalName.LATENCY) == pytest.approx(0.1 + 0.9 * 0.9)
    assert own.value(SignalName.QUEUE_DEPTH) == 3
    assert own.value(SignalName.QUEUE_WAIT) == pytest.approx(35)
    assert own.problems == ()
    assert seen["agents/usual"].value(SignalName.IN_FLIGHT) == 6


async def test_the_distribution_of_an_override_is_in_seconds_whatever_its_unit(
    prometheus_with_own_metrics: Prometheus,
) -> None:
    signals = collector(prometheus_with_own_metrics.url)
    overrides = (Override("duration", LATENCY.metric), LATENCY)
    asked = request("own", overrides=overrides, latency_target_seconds=0.5)
    own = (await signals.collect([asked], NOW))[asked.uid]
    await signals.close()
    assert [bound for bound, _ in own.service_buckets] == pytest.approx([0.1, 1.0])
    assert "from 0.1 to 1 s" in dict(own.problems)[Reason.HISTOGRAM_COARSE]


async def test_ended_runs_from_elsewhere_say_nothing_of_errors(prometheus_with_own_metrics: Prometheus) -> None:
    signals = collector(prometheus_with_own_metrics.url)
    overrides = (Override("requests", Metric("my_ended_total", MetricKind.COUNTER)),)
    own = (await signals.collect([request("own", overrides=overrides)], NOW))["agents/own"]
    await signals.close()
    assert own.value(SignalName.REQUEST_RATE_60) == pytest.approx(5)
    assert own.signal(SignalName.ERROR_RATIO).health is Health.EMPTY


async def test_a_stale_override_is_stale_although_the_pod_is_fresh(prometheus_with_own_metrics: Prometheus) -> None:
    signals = collector(prometheus_with_own_metrics.url)
    metric = Metric("old_milliseconds", MetricKind.HISTOGRAM, (), 0.001)
    asked = request("old", overrides=(Override("successful_duration", metric),))
    seen = (await signals.collect([asked], NOW))["agents/old"]
    await signals.close()
    latency = seen.signal(SignalName.LATENCY)
    assert (latency.health, latency.observed_at) == (Health.STALE, NOW - 60)
    assert seen.value(SignalName.IN_FLIGHT) == 6


async def test_an_override_that_prometheus_refuses_only_hits_its_object(
    prometheus_with_own_metrics: Prometheus,
) -> None:
    signals = collector(prometheus_with_own_metrics.url)
    asked = [request("own", overrides=(REFUSED,)), request("usual"), request("old", overrides=(LATENCY,))]
    for _ in range(2):
        seen = await signals.collect(asked, NOW)
        own = seen["agents/own"]
        assert own.signal(SignalName.IN_FLIGHT).health is Health.ERROR
        assert own.value(SignalName.QUEUE_DEPTH) == 3
        problems = dict(own.problems)
        assert "invalid or unsupported Perl syntax" in problems[Reason.QUERY_REFUSED]
        assert "correct spec.signals.overrides." in problems[Reason.QUERY_REFUSED]
        assert seen["agents/usual"].value(SignalName.IN_FLIGHT) == 6
        assert seen["agents/usual"].problems == ()
        assert seen["agents/old"].value(SignalName.IN_FLIGHT) == 6
    await signals.close()


@pytest.mark.parametrize(
    "override",
    [
        Override("in_flight", Metric("up} or vector(1", MetricKind.GAUGE)),
        Override("in_flight", Metric("up", MetricKind.GAUGE, (('a="b"} or up{c', "d"),))),
        Override("in_flight", Metric("up", MetricKind.GAUGE, (("__name__", "other"),))),
        Override("in_flight", Metric("up", MetricKind.COUNTER)),
        Override("queue_wait", Metric("up", MetricKind.GAUGE)),
        Override("no_such_signal", Metric("up", MetricKind.GAUGE)),
        Override("in_flight", Metric("up", MetricKind.GAUGE, (("a", "\ud800"),))),
    ],
)
async def test_an_override_that_is_no_selector_is_never_sent(
    prometheus_with_own_metrics: Prometheus, override: Override
) -> None:
    signals = collector(prometheus_with_own_metrics.url)
    seen = await signals.collect([request("own", overrides=(override,)), request("usual")], NOW)
    assert signals.failures == 0
    await signals.close()
    assert Reason.QUERY_REFUSED in dict(seen["agents/own"].problems)
    hit = {"in_flight": SignalName.IN_FLIGHT, "queue_wait": SignalName.QUEUE_WAIT}.get(override.field)
    assert hit is None or seen["agents/own"].signal(hit).health is Health.ERROR
    assert seen["agents/usual"].problems == ()


@settings(max_examples=150, deadline=None)
@given(
    value=st.text(max_size=40).filter(lambda text: not text.startswith("~")),
    label=st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: not name.startswith("__")),
)
def test_whatever_a_user_writes_is_one_selector_with_exactly_that_value(
    prometheus_with_own_metrics: Prometheus, value: str, label: str
) -> None:
    dialect = Dialect(server("http://localhost", matchers=(("cluster", "here"),)), ("agents",))
    try:
        selector = dialect.select(Metric("up", MetricKind.GAUGE, ((label, value),)))
    except InvalidOverride:
        assert any(0xD800 <= ord(character) < 0xE000 for character in value)
        return
    parsed = parse(prometheus_with_own_metrics, selector)
    assert parsed["type"] == "vectorSelector"
    assert [(m["name"], m["type"], m["value"]) for m in parsed["matchers"]] == [
        (label, "=", value),
        ("cluster", "=", "here"),
        ("namespace", "=~", "agents"),
        ("__name__", "=", "up"),
    ]


@settings(max_examples=50, deadline=None)
@given(names=st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4, unique=True))
def test_namespaces_are_matched_literally(prometheus_with_own_metrics: Prometheus, names: list[str]) -> None:
    dialect = Dialect(server("http://localhost"), tuple(names))
    try:
        selector = dialect.select(Metric("up", MetricKind.GAUGE))
    except InvalidOverride:
        return
    assert parse(prometheus_with_own_metrics, selector)["matchers"][0]["type"] == "=~"


def parse(prometheus: Prometheus, selector: str) -> dict[str, Any]:
    answer = requests.post(f"{prometheus.url}/api/v1/parse_query", data={"query": selector}, timeout=REQUEST_SECONDS)
    assert answer.ok, answer.text
    parsed: dict[str, Any] = answer.json()["data"]
    return parsed
