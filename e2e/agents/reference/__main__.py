"""`python -m e2e.agents.reference --port N --settings-dir DIR --upstream URL`."""

import argparse
import asyncio
import logging
import signal

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from agentscaler_runtime import CacheSettings, Runtime, Settings, WorkerSettings
from e2e.agents.reference.agent import Agent
from e2e.agents.reference.server import Server
from e2e.agents.reference.shape import Shape

# Before the time scale; above the longest call of a healthy upstream.
CALL_TIMEOUT_SECONDS = 120.0
CACHE_BYTES = 256 * 2**20  # before the memory scale


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.agents.reference", description="The reference agent")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--settings-dir", help="directory with tuning.json (default: AGENTSCALER_SETTINGS_DIR)")
    parser.add_argument("--upstream", required=True, help="URL of the model provider")
    parser.add_argument("--time-scale", type=float, default=0.05)
    parser.add_argument(
        "--call-timeout-seconds",
        type=float,
        help="of one upstream call, unscaled (default: 120 times the time scale)",
    )
    parser.add_argument("--memory-scale", type=float, default=0.05)
    parser.add_argument("--memory-limit-bytes", type=int, help="default: the container's limit")
    parser.add_argument("--memory-tail-quantile", type=float, default=0.9, help="rarer peaks of memory are cut to it")
    parser.add_argument("--run-seconds", type=float, help="of every run, before the time scale (default: as measured)")
    parser.add_argument("--workers", type=int, default=8, help="used where tuning.json says nothing")
    parser.add_argument("--queue-size", type=int, default=500)
    parser.add_argument("--drain-delay-seconds", type=float, default=1.0)
    parser.add_argument("--drain-linger-seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


async def serve(arguments: argparse.Namespace) -> None:
    call_timeout_seconds = arguments.call_timeout_seconds or CALL_TIMEOUT_SECONDS * arguments.time_scale
    runtime = Runtime(
        settings_directory=arguments.settings_dir,
        defaults=Settings(
            workers=WorkerSettings(max_concurrent=arguments.workers),
            cache=CacheSettings(max_bytes=int(CACHE_BYTES * arguments.memory_scale)),
        ),
        queue_size=arguments.queue_size,
        memory_limit_bytes=arguments.memory_limit_bytes,
        drain_on_sigterm=True,
        drain_delay_seconds=arguments.drain_delay_seconds,
    )
    shape = Shape(
        time_scale=arguments.time_scale,
        memory_scale=arguments.memory_scale,
        tail_quantile=arguments.memory_tail_quantile,
        run_seconds=arguments.run_seconds,
        seed=arguments.seed,
    )
    session = ClientSession(
        base_url=arguments.upstream,
        timeout=ClientTimeout(total=call_timeout_seconds),
        connector=TCPConnector(limit=0),  # workers are the limit
    )
    async with runtime, session:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, runtime.drain)
        server = Server(runtime, Agent(runtime, session), shape)
        # handler_cancellation: a run whose caller is gone must give its worker back.
        runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, arguments.host, arguments.port, backlog=1024).start()
        await runtime.wait_drained(linger_seconds=arguments.drain_linger_seconds)
        await runner.cleanup()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(parse_arguments()))


if __name__ == "__main__":
    main()
