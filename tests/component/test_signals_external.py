"""Demand templates on a real Prometheus: many objects in one query, each with its own number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.signals.collector import Collector
from agentscaler.signals.plan import MOST_QUERIES
from agentscaler.signals.request import SignalRequest
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import NOW, Stage, collector, request

TEMPLATES = (
    ("queue", 'sum(rabbitmq_queue_messages{namespace="${namespace}", queue="${queue}"})  # of RabbitMQ'),
    ("prefix", 'rabbitmq_queue_messages{namespace="${namespace}", queue=~"${prefix}.*"}'),
    ("broken", "sum(rabbitmq_queue_messages"),
    ("negative", "vector(-1)"),
)


async def broker(prometheus: Prometheus) -> Collector:
    stage = Stage()
    stage.agent("reader-5d9c7b-abcde")
    for namespace, queue, messages in (
        ("agents", "in", 120),
        ("agents", "in-late", 7),
        ("agents", 'odd"} or vector(9) #', 3),
        ("secret", "in", 9000),
    ):
        label = queue.replace("\\", "\\\\").replace('"', '\\"')
        stage.gauge("rabbitmq_queue_messages", messages, {"namespace": namespace, "queue": label})
    await asyncio.to_thread(prometheus.backfill, stage.text)
    return collector(prometheus.url, demand_templates=TEMPLATES)


def backlog(seen: Mapping[str, Observation], workload: str) -> Signal:
    return seen[f"agents/{workload}"].signal(SignalName.EXTERNAL_DEMAND)


async def test_each_object_gets_the_number_of_its_own_parameters(prometheus: Prometheus) -> None:
    signals = await broker(prometheus)

    def asks(workload: str, template: str, **parameters: str) -> SignalRequest:
        return request(workload, external_template=template, external_parameters=tuple(parameters.items()))

    seen = await signals.collect(
        [
            asks("reader", "queue", queue="in"),
            asks("late", "queue", queue="in-late"),
            asks("odd", "queue", queue='odd"} or vector(9) #'),
            asks("all", "prefix", prefix="in"),
            asks("literal", "prefix", prefix=".*"),
            asks("nothing", "queue", queue="other"),
            request("without"),
        ],
        NOW,
    )
    await signals.close()
    values = {name: backlog(seen, name).value for name in ("reader", "late", "odd", "all")}
    assert values == {"reader": 120, "late": 7, "odd": 3, "all": 127}
    assert {backlog(seen, name).health for name in values} == {Health.FRESH}
    for name in ("literal", "nothing"):
        assert backlog(seen, name).health is Health.EMPTY
        assert Reason.SIGNALS_EMPTY in dict(seen[f"agents/{name}"].problems)
    assert SignalName.EXTERNAL_DEMAND not in seen["agents/without"].signals
    assert seen["agents/reader"].problems == ()


async def test_a_template_that_fails_blinds_its_own_users_only(prometheus: Prometheus) -> None:
    signals = await broker(prometheus)
    seen = await signals.collect(
        [
            request("reader", external_template="queue", external_parameters=(("queue", "in"),)),
            request("broken", external_template="broken"),
            request("negative", external_template="negative"),
            request("unknown", external_template="kafka"),
            request("short", external_template="queue"),
        ],
        NOW,
    )
    await signals.close()
    assert backlog(seen, "reader").value == 120
    assert seen["agents/reader"].value(SignalName.IN_FLIGHT) is not None
    healths = {name: backlog(seen, name).health for name in ("broken", "negative", "unknown", "short")}
    assert healths == {
        "broken": Health.ERROR,
        "negative": Health.INVALID,
        "unknown": Health.ERROR,
        "short": Health.ERROR,
    }
    told = dict(seen["agents/unknown"].problems)
    assert "choose one of: broken, negative, prefix, queue" in told[Reason.QUERY_REFUSED]
    assert "needs the parameter queue" in dict(seen["agents/short"].problems)[Reason.QUERY_REFUSED]
    assert Reason.QUERY_REFUSED in dict(seen["agents/broken"].problems)


async def test_a_thousand_backlogs_cost_one_query_more(prometheus: Prometheus) -> None:
    signals = await broker(prometheus)
    everyone = [
        request(f"w{n}", external_template="queue", external_parameters=(("queue", "in" if n else "in-late"),))
        for n in range(1000)
    ]
    await signals.collect([request("w0")], NOW)
    plain = signals.queries
    seen = await signals.collect(everyone, NOW)
    sent = signals.queries - plain
    await signals.close()
    assert sent <= min(plain + 1, MOST_QUERIES)
    assert signals.failures == 0
    assert (backlog(seen, "w0").value, backlog(seen, "w999").value) == (7, 120)
