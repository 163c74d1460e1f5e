"""The load generator against real HTTP servers of a few lines."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from e2e.harness.load_generator import Body, Generator, Record, summarize
from e2e.harness.process import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def pods_that(**handlers: Handler) -> AsyncIterator[str]:
    """One server for each handler, and the URL of a list of them in the fleet's form."""
    servers = []

    async def serve(app: web.Application, port: int) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        servers.append(runner)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    endpoints = []
    for name, handler in handlers.items():
        app = web.Application()
        app.router.add_post("/run", handler)
        endpoints.append({"pod": name, "url": await serve(app, free_port())})

    async def listing(_request: web.Request) -> web.Response:
        return web.json_response(endpoints)

    fleet = web.Application()
    fleet.router.add_get("/endpoints", listing)
    try:
        yield await serve(fleet, free_port()) + "/endpoints"
    finally:
        for server in servers:
            await server.cleanup()


async def answer(_request: web.Request) -> web.Response:
    return web.Response(headers={"X-Queue-Wait-Seconds": "0.25"})


async def reject(_request: web.Request) -> web.Response:
    return web.Response(status=503, headers={"Retry-After": "1"})


async def fail(_request: web.Request) -> web.Response:
    return web.Response(status=500)


async def cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(_request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize(
    ("handler", "status"),
    [(answer, "ok"), (reject, "rejected"), (fail, "error"), (cut, "lost"), (hang, "timeout")],
)
async def test_each_end_of_a_request_has_its_own_status(handler: Handler, status: str) -> None:
    async with pods_that(a=handler) as url:
        generator = Generator(url, rate_per_second=50, max_duration_seconds=0.5, timeout_seconds=0.5)
        await generator.run()
    assert generator.records
    assert {record.status for record in generator.records} == {status}
    assert {record.pod for record in generator.records} == {"a"}
    assert generator.in_flight == 0


async def test_the_reported_queue_wait_is_read() -> None:
    async with pods_that(a=answer) as url:
        generator = Generator(url, rate_per_second=100, max_duration_seconds=0.3)
        await generator.run()
    stats = summarize(generator.records, late_seconds=0.2)
    assert stats.queue_wait_seconds.p99 == 0.25
    assert stats.reported_queue_waits == stats.counts["ok"]
    assert stats.late_share == 1.0


async def test_slow_answers_do_not_slow_the_arrivals() -> None:
    async with pods_that(a=hang) as url:
        generator = Generator(url, rate_per_second=200, max_duration_seconds=1, timeout_seconds=1, seed=1)
        await generator.run()
    assert 150 < len(generator.records) < 250  # mean 200, deviation 14
    assert max(record.sent_at for record in generator.records) - generator.records[0].sent_at > 0.7


async def test_the_same_seed_draws_the_same_arrivals() -> None:
    async def gaps() -> list[float]:
        async with pods_that(a=answer) as url:
            generator = Generator(url, rate_per_second=50, max_duration_seconds=0.5, seed=7)
            await generator.run()
        times = sorted(record.sent_at for record in generator.records)
        return [later - times[0] for later in times]

    # Times of the day are floats: their differences agree to a microsecond or so.
    assert await gaps() == pytest.approx(await gaps(), abs=1e-3)


async def test_a_new_rate_takes_effect_at_once() -> None:
    arrived = asyncio.Event()

    async def note(_request: web.Request) -> web.Response:
        arrived.set()
        return web.Response()

    async with pods_that(a=note) as url:
        generator = Generator(url, rate_per_second=0, max_duration_seconds=60)
        running = asyncio.create_task(generator.run())
        await asyncio.sleep(0)
        generator.set_rate(100)
        await asyncio.wait_for(arrived.wait(), 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_pod_with_the_fewest_outstanding_requests_is_taken() -> None:
    async with pods_that(stuck=hang, free=answer) as url:
        generator = Generator(url, rate_per_second=50, max_duration_seconds=0.5, timeout_seconds=1)
        await generator.run()
    by_pod = Counter(record.pod for record in generator.records)
    assert by_pod["free"] > 5 * by_pod["stuck"]


async def test_a_pod_that_refuses_the_connection_is_passed_over() -> None:
    async with pods_that(a=answer) as url:
        generator = Generator(url, rate_per_second=100, max_duration_seconds=0.3)
        real = generator._refresh

        async def with_a_dead_one(session: object) -> None:
            await real(session)  # type: ignore[arg-type]  # the session is only handed on
            generator._endpoints["gone"] = f"http://127.0.0.1:{free_port()}"

        generator._refresh = with_a_dead_one  # type: ignore[method-assign]  # a pod that died since the last listing
        await generator.run()
    assert {(record.status, record.pod) for record in generator.records} == {("ok", "a")}


async def test_without_a_ready_pod_requests_are_errors() -> None:
    async with pods_that() as url:
        generator = Generator(url, rate_per_second=100, max_duration_seconds=0.3)
        await generator.run()
    stats = summarize(generator.records)
    assert stats.counts["error"] == stats.no_endpoint == len(generator.records) > 0


async def test_what_is_above_the_bound_of_outstanding_requests_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("e2e.harness.load_generator.MAX_OUTSTANDING", 3)
    async with pods_that(a=hang) as url:
        generator = Generator(url, rate_per_second=100, max_duration_seconds=0.5, timeout_seconds=1)
        await generator.run()
    assert len(generator.records) == 3
    assert summarize(generator.records, generator.dropped).dropped == len(generator.dropped) > 10


async def test_the_body_carries_the_memory_factor_and_keys_of_which_the_first_is_the_most_frequent() -> None:
    bodies = []

    async def keep(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response()

    async with pods_that(a=keep) as url:
        generator = Generator(url, rate_per_second=200, max_duration_seconds=1, body=Body(memory_factor=3, keys=20))
        await generator.run()
    assert {body["memory_factor"] for body in bodies} == {3}
    keys = Counter(body["key"] for body in bodies)
    assert keys.keys() <= {f"key-{number}" for number in range(20)}
    assert keys.most_common(1)[0][0] == "key-0"


@pytest.mark.parametrize("rate", [-1, 201, float("nan")])
async def test_a_rate_out_of_bounds_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Generator("http://127.0.0.1:1", rate_per_second=rate, max_duration_seconds=1)


def test_a_phase_counts_what_was_due_within_it() -> None:
    def at(due: float, latency: float, status: str = "ok") -> Record:
        return Record(due, due + latency, status, latency, "a", None)  # type: ignore[arg-type]  # one of the statuses

    records = [at(1, 99), *(at(10 + n / 100, n) for n in range(1, 101)), at(10.5, 120, "timeout"), at(20, 99)]
    stats = summarize(records, since=10, until=20, latency_target_seconds=90)
    assert stats.finished == 101
    assert stats.counts == {"ok": 100, "error": 0, "rejected": 0, "lost": 0, "timeout": 1}
    assert (stats.latency_seconds.p50, stats.latency_seconds.p99) == (51, 100)
    assert stats.over_latency_share == 11 / 101
    assert stats.late_share is None


async def test_a_service_gets_the_requests_itself_and_again_what_it_refused() -> None:
    port = free_port()
    generator = Generator(
        None, service_url=f"http://127.0.0.1:{port}", rate_per_second=100.0, max_duration_seconds=1.0, seed=1
    )
    run = asyncio.create_task(generator.run())
    await asyncio.sleep(0.1)  # nothing listens yet: the first requests are refused
    app = web.Application()
    app.router.add_post("/run", answer)
    server = web.AppRunner(app, access_log=None)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", port).start()
    await run
    await server.cleanup()

    assert len(generator.records) > 10
    assert {(record.status, record.pod) for record in generator.records} == {("ok", "service")}
    assert max(record.latency_seconds for record in generator.records) >= 0.2
