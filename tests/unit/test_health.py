from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.core.settings import Cache, Settings
from agentscaler.health import Probes, application
from agentscaler.telemetry import Telemetry


class Kept:
    def of(self, namespace: str, name: str) -> list[dict[str, Any]]:
        return [{"namespace": namespace, "name": name}]


def probes(
    telemetry: Telemetry, *, tried_seconds_ago: float = 0.0, unready: str = "", standing_by: bool = False
) -> Probes:
    return Probes(
        telemetry,
        tick_seconds=1,
        resync_seconds=10,
        tried_at=lambda: time.monotonic() - tried_seconds_ago,
        unready=lambda: unready,
        standing_by=lambda: standing_by,
    )


def samples(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(telemetry.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_it_lives_while_it_waits_for_its_first_tick() -> None:
    assert probes(Telemetry()).dead() == ""


def test_it_is_dead_when_ticks_have_stopped() -> None:
    telemetry = Telemetry()
    telemetry.ticked(0.1)
    assert probes(telemetry).dead() == ""
    telemetry.ticked_at = time.monotonic() - 61
    assert probes(telemetry).dead() == "ticks have stopped"


def test_it_is_dead_when_resyncs_are_no_longer_tried() -> None:
    assert probes(Telemetry(), tried_seconds_ago=89).dead() == ""
    assert probes(Telemetry(), tried_seconds_ago=91).dead() == "resyncs have stopped"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/livez", 200, "ok"),
        ("/readyz", 503, "not synced"),
        ("/records?namespace=a&name=b", 200, '{"records": [{"namespace": "a", "name": "b"}]}'),
        ("/records?name=b", 400, "say which object"),
        ("/other", 404, ""),
    ],
)
async def test_each_question_is_answered(path: str, status: int, text: str) -> None:
    telemetry = Telemetry()
    app = application(telemetry, probes(telemetry, unready="not synced"), Kept())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get(path)
        assert answer.status == status
        assert text in await answer.text()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/livez", 200, "ok"),
        ("/readyz", 200, "ok, standing by"),
        ("/records?namespace=a&name=b", 503, "ask the one that leads"),
    ],
)
async def test_a_standby_is_ready_and_has_no_records(path: str, status: int, text: str) -> None:
    telemetry = Telemetry()
    app = application(telemetry, probes(telemetry, standing_by=True), Kept())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get(path)
        assert answer.status == status
        assert text in await answer.text()


def test_a_standby_says_nothing_of_objects_and_is_owed_no_tick() -> None:
    telemetry = Telemetry(object_metrics=True)
    telemetry.leads(is_leader=True)
    telemetry.ticked(0.1)
    telemetry.counted(valid=3, invalid=1)
    telemetry.conflicting({"ForeignWriter": 2})
    telemetry.in_force("research", "one", Settings(replicas=3))
    assert samples(telemetry)["agentscaler_leader", ()] == 1
    telemetry.leads(is_leader=False)
    seen = samples(telemetry)
    assert seen["agentscaler_leader", ()] == 0
    of_objects = ("agentscaler_objects", "agentscaler_conflicts", "agentscaler_signals", "agentscaler_object_knob")
    assert [name for name, _ in seen if name in of_objects] == []
    telemetry.forget("research", "one")
    assert probes(telemetry).dead() == ""
    assert telemetry.ticked_at is None


async def test_metrics_can_be_scraped() -> None:
    telemetry = Telemetry()
    async with TestClient(TestServer(application(telemetry, probes(telemetry), Kept()))) as client:
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "agentscaler_build_info" in await answer.text()


def test_the_counters_of_the_api_server_are_read_when_asked_for() -> None:
    telemetry = Telemetry()
    requests: dict[tuple[str, str], int] = {}
    failures: dict[str, int] = {}
    telemetry.follow_requests(requests, failures)
    requests["list", "pods"] = 3
    failures["Throttled"] = 2
    seen = samples(telemetry)
    assert seen["agentscaler_kube_requests_total", (("resource", "pods"), ("verb", "list"))] == 3
    assert seen["agentscaler_kube_request_failures_total", (("error", "Throttled"),)] == 2


def test_what_is_no_longer_so_is_no_longer_shown() -> None:
    telemetry = Telemetry()
    telemetry.conflicting({"ForeignWriter": 2})
    telemetry.observed([Observation(0.0, {SignalName.IN_FLIGHT: Signal(1.0, Health.FRESH)})] * 3)
    seen = samples(telemetry)
    assert seen["agentscaler_conflicts", (("reason", "ForeignWriter"),)] == 2
    assert seen["agentscaler_signals", (("health", "Fresh"), ("signal", "inFlight"))] == 3
    telemetry.conflicting({})
    telemetry.observed([])
    assert not any(name in {"agentscaler_conflicts", "agentscaler_signals"} for name, _ in samples(telemetry))


def test_no_object_is_named_unless_the_administrator_asks_for_it() -> None:
    settings = Settings(replicas=3, workers=8, cache=Cache(max_bytes=1024))
    silent, talking = Telemetry(), Telemetry(object_metrics=True)
    for telemetry in (silent, talking):
        telemetry.in_force("research", "one", settings)
    assert "research" not in silent.text().decode()
    knob = (("knob", "replicas"), ("name", "one"), ("namespace", "research"))
    assert samples(talking)["agentscaler_object_knob", knob] == 3
    talking.forget("research", "one")
    assert "research" not in talking.text().decode()


def test_every_metric_has_our_prefix_and_a_help_text() -> None:
    telemetry = Telemetry(object_metrics=True)
    for family in text_string_to_metric_families(telemetry.text().decode()):
        assert family.name.startswith(("agentscaler_", "process_", "python_"))
        assert family.documentation
