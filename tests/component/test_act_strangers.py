"""Pods of another framework than the one that is named: told with what was expected and what is there."""

from __future__ import annotations

from agentscaler.core.observation import Health, SignalName
from tests.component.act_stage import RATES, Stage


def silence(stage: Stage) -> None:
    """The pods answer their scrape, and nothing of the framework's metrics is there."""
    for name in (SignalName.IN_FLIGHT, SignalName.QUEUE_DEPTH, SignalName.SERVICE_TIME, *RATES):
        stage.agents.values[name] = Health.EMPTY


async def test_a_wrong_framework_is_told_with_the_likely_one(stage: Stage) -> None:
    silence(stage)
    stage.agents.names = frozenset({"execute_latency_seconds_count", "execute_success_total", "some_other_total"})
    stage.apply(framework="agentflow")
    await stage.until(lambda: stage.condition("MetricsAvailable").get("reason") == "WrongFramework", "the condition")
    message = stage.condition("MetricsAvailable")["message"]
    assert stage.condition("MetricsAvailable")["status"] == "False"
    assert "none exports a metric of framework agentflow (agent_requests_total, " in message
    assert "they export execute_latency_seconds_count, execute_success_total, some_other_total" in message
    assert "set spec.framework: aiecs" in message
    asked = stage.agents.names_asked
    await stage.tick(6)
    assert stage.agents.names_asked == asked == 1, "one query, not one in each tick"
    stage.apply(framework="aiecs")
    stage.agents.values |= {SignalName.IN_FLIGHT: 1.0} | dict.fromkeys(RATES, 1.0)
    await stage.until(lambda: stage.condition("MetricsAvailable")["status"] == "True", "the metrics")


async def test_pods_that_export_nothing_like_an_agent_point_at_the_scrape_configuration(stage: Stage) -> None:
    silence(stage)
    stage.apply(framework="aiecs")
    await stage.until(lambda: stage.condition("MetricsAvailable").get("reason") == "WrongFramework", "the condition")
    message = stage.condition("MetricsAvailable")["message"]
    assert "execute_latency_seconds" in message
    assert "check the port and the path that Prometheus scrapes" in message


async def test_pods_without_work_yet_are_no_strangers(stage: Stage) -> None:
    for name in (SignalName.SERVICE_TIME, *RATES):
        stage.agents.values[name] = Health.EMPTY
    stage.apply(framework="aiecs")
    await stage.until(lambda: stage.status().get("readyReplicas") == 1, "a ready pod")
    await stage.tick(20)
    assert stage.agents.names_asked == 0
    assert stage.condition("MetricsAvailable").get("reason") != "WrongFramework"
