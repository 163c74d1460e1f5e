"""`python -m e2e.agents.aiecs --port N --settings-dir DIR --upstream URL`."""

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path

from aiohttp import web

from e2e.agents.aiecs.agent import Agent
from e2e.agents.aiecs.framework import ExecutorMetrics
from e2e.agents.aiecs.metrics import Metrics
from e2e.agents.aiecs.server import Server
from e2e.agents.aiecs.settings import load
from e2e.agents.aiecs.upstream import Upstream
from e2e.agents.aiecs.workers import Workers
from e2e.agents.reference.shape import Shape

CALL_TIMEOUT_SECONDS = 120.0  # before the time scale; above the longest call of a healthy upstream
METRICS_PORT = 8001  # as in AIECS's own settings


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.agents.aiecs", description="An agent on AIECS")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--settings-dir", default=os.environ.get("AGENTSCALER_SETTINGS_DIR") or "/etc/agentscaler")
    parser.add_argument("--upstream", required=True, help="URL of the model provider")
    parser.add_argument("--time-scale", type=float, default=0.05)
    parser.add_argument(
        "--call-timeout-seconds",
        type=float,
        help="of one upstream call, unscaled (default: 120 times the time scale)",
    )
    parser.add_argument("--memory-scale", type=float, default=0.05)
    parser.add_argument("--memory-tail-quantile", type=float, default=0.9, help="rarer peaks of memory are cut to it")
    parser.add_argument("--run-seconds", type=float, help="of every run, before the time scale (default: as measured)")
    parser.add_argument("--queue-size", type=int, default=500)
    parser.add_argument("--drain-delay-seconds", type=float, default=1.0)
    parser.add_argument("--drain-linger-seconds", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


async def serve(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("TOOL_EXECUTOR_LOG_LEVEL", "WARNING")  # else a line for each run and one for its end
    settings = load(Path(arguments.settings_dir))
    metrics = Metrics(settings)
    framework_metrics = ExecutorMetrics(
        enable_metrics=os.environ.get("ENABLE_METRICS", "true").lower() != "false",
        metrics_port=int(os.environ.get("METRICS_PORT") or METRICS_PORT),
    )
    call_timeout_seconds = arguments.call_timeout_seconds or CALL_TIMEOUT_SECONDS * arguments.time_scale
    upstream = Upstream(arguments.upstream, call_timeout_seconds, metrics.call_ended)
    agent = Agent(Workers(settings.executor.max_workers, arguments.queue_size), upstream, metrics, framework_metrics)
    shape = Shape(
        time_scale=arguments.time_scale,
        memory_scale=arguments.memory_scale,
        tail_quantile=arguments.memory_tail_quantile,
        run_seconds=arguments.run_seconds,
        seed=arguments.seed,
    )
    server = Server(agent, shape)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # A run whose caller is gone goes on: nothing ends a thread, and its worker is busy until then.
    runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=False, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port, backlog=1024).start()
    await stop.wait()
    await server.drain(arguments.drain_delay_seconds, arguments.drain_linger_seconds)
    await runner.cleanup()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(parse_arguments()))


if __name__ == "__main__":
    main()
