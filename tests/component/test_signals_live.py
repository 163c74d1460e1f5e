"""Pods that come and go under a Prometheus that scrapes: no state is ever taken for another, and none for zero."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest_asyncio
from aiohttp import web

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.signals.collector import Collector
from e2e.harness.process import PATIENCE_SECONDS
from e2e.harness.prometheus import Prometheus
from tests.component.signals_stage import collector, request

PODS = ("researcher-5d9c7b-aaaaa", "researcher-5d9c7b-bbbbb")
UID = "agents/researcher"
BUSY_RUNS = 3


class Agents:
    """Pods with three runs in flight each; a test takes them down or out of the service discovery."""

    def __init__(self) -> None:
        self.listed = set(PODS)
        self.answering = set(PODS)
        self.address = ""

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            [
                {
                    "targets": [self.address],
                    "labels": {
                        "namespace": "agents",
                        "pod": pod,
                        "instance": pod,
                        "__metrics_path__": f"/metrics/{pod}",
                    },
                }
                for pod in sorted(self.listed)
            ]
        )

    async def metrics(self, asked: web.Request) -> web.Response:
        if asked.match_info["pod"] not in self.answering:
            raise web.HTTPServiceUnavailable
        return web.Response(
            text=f'agent_inflight_requests {BUSY_RUNS}\nagent_requests_total{{status="success"}} {time.time():.0f}\n'
        )


@pytest_asyncio.fixture
async def agents() -> AsyncIterator[Agents]:
    pods = Agents()
    application = web.Application()
    application.router.add_get("/sd", pods.discovery)
    application.router.add_get("/metrics/{pod}", pods.metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pods.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield pods
    await runner.cleanup()


async def reaches(signals: Collector, state: Callable[[Observation], bool]) -> Observation:
    """Tick until the state is reached; whatever is trusted on the way is true of pods that answer."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        observation = (await signals.collect([request(required=frozenset({SignalName.IN_FLIGHT}))], time.time()))[UID]
        assert observation.value(SignalName.IN_FLIGHT) in {None, BUSY_RUNS, 2 * BUSY_RUNS}
        if state(observation):
            return observation
        assert time.monotonic() < end, observation
        await asyncio.sleep(0.25)


def in_flight(observation: Observation) -> tuple[Health, float | None]:
    signal = observation.signal(SignalName.IN_FLIGHT)
    return signal.health, signal.value


def targets(observation: Observation) -> tuple[float | None, float | None]:
    return observation.value(SignalName.TARGETS), observation.value(SignalName.TARGETS_UP)


async def test_pods_that_come_and_go(agents: Agents) -> None:
    prometheus = Prometheus(scrape_interval_seconds=1, http_sd_urls=[f"http://{agents.address}/sd"])
    await asyncio.to_thread(prometheus.start)
    signals = collector(prometheus.url, scrape_interval_seconds=1)
    try:
        whole = (Health.FRESH, 2.0 * BUSY_RUNS)
        await reaches(signals, lambda o: in_flight(o) == whole)

        agents.answering = {PODS[0]}
        # All in one observation: a scrape may end between two of its queries.
        await reaches(signals, lambda o: (in_flight(o), targets(o)) == ((Health.PARTIAL, float(BUSY_RUNS)), (2.0, 1.0)))

        agents.answering = set()
        await reaches(
            signals,
            lambda o: (
                o.value(SignalName.TARGETS_UP) == 0
                and Reason.TARGETS_DOWN in dict(o.problems)
                and o.value(SignalName.IN_FLIGHT) is None
            ),
        )

        agents.answering = set(PODS)
        await reaches(signals, lambda o: in_flight(o) == whole)

        agents.listed = set()
        # the window of a rate still holds samples when the series are gone
        await reaches(
            signals,
            lambda o: (
                in_flight(o) == (Health.EMPTY, None)
                and o.signal(SignalName.REQUEST_RATE_60).health is Health.STALE
                and o.signal(SignalName.TARGETS).health is Health.EMPTY
            ),
        )

        agents.listed = {PODS[0]}
        await reaches(signals, lambda o: in_flight(o) == (Health.FRESH, BUSY_RUNS))

        # Prometheus dies without a mark on the series, and the pod goes meanwhile: for minutes an instant query
        # would still answer with its last value.
        await asyncio.to_thread(prometheus.process.kill)
        agents.listed = set()
        await reaches(signals, lambda o: in_flight(o) == (Health.ERROR, None))
        await asyncio.to_thread(prometheus.start)
        seen = await reaches(signals, lambda o: o.signal(SignalName.IN_FLIGHT).health is Health.STALE)
        assert seen.value(SignalName.IN_FLIGHT) is None
    finally:
        await signals.close()
        await asyncio.to_thread(prometheus.stop)
