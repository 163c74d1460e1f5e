"""The load on a fleet: `Load` is the harness' handle, `python -m e2e.harness.load` the process behind it.

Open loop: requests come at random times (Poisson, seeded) whether or not earlier ones were answered, as those of
many independent users do. Bounded: 200 requests a second, 2,000 outstanding, a duration that must be given.
"""

import argparse
import asyncio
import json
import math
import signal
import sys
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from e2e.harness.load_generator import Body, Generator, Record, summarize
from e2e.harness.part import Part
from e2e.harness.process import REQUEST_SECONDS, Process, free_port

_ROOT = Path(__file__).parents[2]


class LoadHandle(ABC):
    """What a test asks of a load generator, wherever that one runs."""

    def set_rate(self, rate_per_second: float) -> None:
        """Changes the mean arrivals at once; ValueError outside 0..200."""
        self._put({"rate": rate_per_second})

    def set_body(self, memory_factor: float | None, keys: int) -> None:
        """What requests ask for from now on.

        Args:
            memory_factor: How many times the usual memory each run holds; None leaves it to the agent.
            keys: Size of the key space (Zipf); 0 leaves the key to the agent.
        """
        self._put({"memory_factor": memory_factor, "keys": keys})

    def stats(
        self,
        since: float = 0.0,
        until: float = math.inf,
        late_seconds: float = 5.0,
        latency_target_seconds: float = 30.0,
    ) -> dict[str, Any]:
        """The requests due in [since, until) (Unix seconds): `load_generator.Stats`, and `rate`, `in_flight` now."""
        found: dict[str, Any] = self._get(
            "stats", since=since, until=until, late_seconds=late_seconds, latency_target_seconds=latency_target_seconds
        )
        return found

    def records(self, since: float = 0.0, until: float = math.inf) -> list[Record]:
        """The answered requests that were due in [since, until), in the order of their ends."""
        return [Record(*entry) for entry in self._get("records", since=since, until=until)]

    @abstractmethod
    def _put(self, change: dict[str, Any]) -> None:
        """Send `PUT /load`; ValueError with the generator's words when it refuses."""

    @abstractmethod
    def _get(self, path: str, **params: float) -> Any:
        """The JSON of a path."""


class Load(LoadHandle, Part):
    """A load process with its HTTP face; sending starts with the context and ends with it or with the duration.

    Args:
        fleet_url: The fleet whose ready pods take the requests.
        namespace: Of the Deployment.
        name: Of the Deployment.
        rate_per_second: Mean arrivals at the start, 0..200; 0 is silence until `set_rate`.
        max_duration_seconds: After that nothing more is sent; the numbers stay readable.
        timeout_seconds: Of one request.
        seed: The same seed, rates and bodies draw the same arrivals.
        memory_factor: See `set_body`.
        keys: See `set_body`.
        directory: For the log; None makes a temporary one.
    """

    def __init__(
        self,
        fleet_url: str,
        namespace: str,
        name: str,
        *,
        rate_per_second: float,
        max_duration_seconds: float,
        timeout_seconds: float = 120.0,
        seed: int = 0,
        memory_factor: float | None = None,
        keys: int = 0,
        directory: Path | None = None,
    ) -> None:
        super().__init__("load", directory)
        argv = [
            *(sys.executable, "-m", "e2e.harness.load", "--fleet", fleet_url, "--namespace", namespace),
            *("--name", name, "--rate", str(rate_per_second), "--duration-seconds", str(max_duration_seconds)),
            *("--timeout-seconds", str(timeout_seconds), "--seed", str(seed), "--keys", str(keys)),
            *("--port", str(self.port), "--stay"),
            *(() if memory_factor is None else ("--memory-factor", str(memory_factor))),
        ]
        self.process = Process(argv, self.directory / "load.log", cwd=_ROOT)

    def _put(self, change: dict[str, Any]) -> None:
        answer = self._http.put(f"{self.url}/load", json=change, timeout=REQUEST_SECONDS)
        if answer.status_code == 400:
            raise ValueError(answer.text)
        answer.raise_for_status()

    def _get(self, path: str, **params: float) -> Any:
        return self.ask(path, params)


def application(generator: Generator) -> web.Application:
    """The HTTP face: `PUT /load`, `GET /stats`, `GET /records`."""

    def moment(request: web.Request, name: str, default: float) -> float:
        try:
            return float(request.query.get(name, default))
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{name} is not a number") from error

    async def change(request: web.Request) -> web.Response:
        wanted = await request.json()
        unknown = wanted.keys() - {"rate", "memory_factor", "keys"}
        if unknown:
            raise web.HTTPBadRequest(text=f"unknown: {', '.join(sorted(unknown))}")
        try:
            body = replace(generator.body, **{k: v for k, v in wanted.items() if k != "rate"})
            generator.set_rate(wanted.get("rate", generator.rate_per_second))
            generator.set_body(body)
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.Response(status=204)

    async def stats(request: web.Request) -> web.Response:
        found = summarize(
            generator.records,
            generator.dropped,
            since=moment(request, "since", 0.0),
            until=moment(request, "until", math.inf),
            late_seconds=moment(request, "late_seconds", 5.0),
            latency_target_seconds=moment(request, "latency_target_seconds", 30.0),
        )
        now = {"rate": generator.rate_per_second, "in_flight": generator.in_flight, "body": asdict(generator.body)}
        return web.json_response(found.as_dict() | now)

    async def records(request: web.Request) -> web.Response:
        since, until = moment(request, "since", 0.0), moment(request, "until", math.inf)
        return web.json_response([record for record in generator.records if since <= record.sent_at < until])

    app = web.Application()
    app.add_routes([web.put("/load", change), web.get("/stats", stats), web.get("/records", records)])
    return app


async def serve(generator: Generator, host: str, port: int, *, stay: bool) -> None:
    """Sends and serves the numbers until SIGTERM or SIGINT, or, unless it is to stay, until all is answered."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = web.AppRunner(application(generator), access_log=None)
    await server.setup()
    await web.TCPSite(server, host, port).start()
    sending, stopped = asyncio.create_task(generator.run()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            if stay:
                await stopped
    finally:
        sending.cancel()
        stopped.cancel()
        await server.cleanup()


def main() -> None:
    """Command line of the load process; prints the numbers of the whole run at its end."""
    parser = argparse.ArgumentParser(
        prog="python -m e2e.harness.load", description="Sends requests to a fleet or a Service."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fleet", help="URL of the fleet that knows the pods")
    where.add_argument("--service", help="URL of what spreads the requests itself, a Kubernetes Service for one")
    parser.add_argument("--namespace", default="", help="with --fleet: of the Deployment")
    parser.add_argument("--name", default="", help="with --fleet: of the Deployment")
    parser.add_argument("--host", default="127.0.0.1", help="address of the numbers")
    parser.add_argument("--rate", type=float, required=True, help="requests per second, 0..200")
    parser.add_argument("--duration-seconds", type=float, required=True)
    parser.add_argument("--timeout-seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory-factor", type=float)
    parser.add_argument("--keys", type=int, default=0, help="size of the key space; 0: the agent's own")
    parser.add_argument("--port", type=int, help="for PUT /load, GET /stats, GET /records; default: a free one")
    parser.add_argument("--stay", action="store_true", help="serve the numbers after the end, until SIGTERM")
    args = parser.parse_args()
    query = urlencode({"namespace": args.namespace, "name": args.name})

    async def run() -> Generator:
        generator = Generator(
            None if args.service else f"{args.fleet}/endpoints?{query}",
            service_url=args.service,
            rate_per_second=args.rate,
            max_duration_seconds=args.duration_seconds,
            timeout_seconds=args.timeout_seconds,
            seed=args.seed,
            body=Body(args.memory_factor, args.keys),
        )
        await serve(generator, args.host, args.port or free_port(), stay=args.stay)
        return generator

    generator = asyncio.run(run())
    print(json.dumps(summarize(generator.records, generator.dropped).as_dict()), flush=True)


if __name__ == "__main__":
    main()
