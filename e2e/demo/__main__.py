"""`python -m e2e.demo`, which is `make demo`. KEEP=1 leaves it up, OPERATOR=off plays it without the operator,
JSON=file writes the report. The exit code is 0 when the objectives of the manifest held, 1 when they did not, 2 when
the demo could not be played to its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError
from types import FrameType

import requests
from rich.console import Console

from e2e.demo.judge import Span
from e2e.demo.plan import PHASES, QUIET_RATE, Act, Phase, manifest
from e2e.demo.report import judged, keep, show
from e2e.demo.stage import Stage, stage
from e2e.demo.view import View
from e2e.demo.watch import follow, follow_operator
from e2e.demo.world import World
from e2e.harness import tools

STEP_SECONDS = 0.5
LOAD_WINDOW_SECONDS = 15.0
LAST_ANSWERS_SECONDS = 25.0


def main() -> int:
    """Play it; the result is the exit code."""
    operator_on = os.environ.get("OPERATOR", "on") != "off"
    kept = os.environ.get("KEEP", "") not in {"", "0"}
    console = Console(width=None if sys.stdout.isatty() else 200)
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored by default where a shell started us with &
        signal.signal(number, _end)
    tools.ensure()
    began = time.time()
    wanted, world = manifest(), World()
    view = View(world, console, operator_on=operator_on)
    view.say("starting control plane, provider, Prometheus, agents" + (", operator" if operator_on else ""))
    try:
        with stage(wanted, operator_on=operator_on) as parts:
            follower = follow(world, parts.cluster, parts.fleet, parts.upstream.url, wanted.name)
            try:
                if operator_on:
                    follow_operator(follower, world, parts.cluster, parts.operator_url, wanted.name)
                promise = wanted.policy.objectives.queue_wait
                late_seconds = promise.target_seconds if promise else 1.0
                with view.live():
                    spans = [
                        _play(phase, parts, world, view, left=PHASES[number:], late_seconds=late_seconds)
                        for number, phase in enumerate(PHASES)
                    ]
                    _last_answers(parts, view, spans[-1].ended)
                report = judged(
                    wanted.policy,
                    wanted.memory_limit_bytes,
                    world,
                    spans,
                    parts.load.records(spans[0].began),
                    operator_on=operator_on,
                    seconds=time.time() - began,
                )
                show(report, console)
                keep(report, os.environ.get("JSON"))
                if kept:
                    _stay(parts, console)
            finally:
                follower.stop()
    except KeyboardInterrupt:
        console.print("interrupted: everything was ended")
        return 130
    except (RuntimeError, TimeoutError, requests.RequestException, CalledProcessError) as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        console.print(f"the demo cannot go on: {error}\n{notes}", markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0 if report.held else 1


def _play(
    phase: Phase, parts: Stage, world: World, view: View, *, left: tuple[Phase, ...], late_seconds: float
) -> Span:
    """One phase, its acts at their times. A run that waits longer than `late_seconds` is late."""
    began = time.time()
    parts.load.set_rate(phase.rate * QUIET_RATE)
    view.say(f"--- {phase.name}: {phase.rate * QUIET_RATE:g} runs a second for {phase.seconds:g} s")
    acts = sorted(phase.acts)
    whole = sum(each.seconds for each in PHASES)
    while (elapsed := time.time() - began) < phase.seconds or acts:
        while acts and acts[0][0] <= elapsed:
            _, act = acts.pop(0)
            view.say(f"+++ {act}")
            parts.perform(act)
            if act is Act.SERIES_VANISH:
                world.blind_since = time.time()
        parts.check()
        if pressed := parts.pressure.step(time.time(), world.pods):
            view.say(f"+++ {pressed}")
        progress = view.progress
        progress.phase, progress.phase_left_seconds = phase.name, max(0.0, phase.seconds - elapsed)
        progress.left_seconds = sum(each.seconds for each in left) - min(elapsed, phase.seconds)
        progress.done_share = 1 - progress.left_seconds / whole
        with suppress(requests.RequestException):
            progress.load = parts.load.stats(time.time() - LOAD_WINDOW_SECONDS, late_seconds=late_seconds)
        time.sleep(min(STEP_SECONDS, max(0.0, began + phase.seconds - time.time()) + 0.01))
    if any(act is Act.PROMETHEUS_BACK for _, act in phase.acts):
        parts.prometheus.wait_ready()
    return Span(phase, began, time.time())


def _last_answers(parts: Stage, view: View, ended: float) -> None:
    """Wait for the runs of the last phase, which are judged as well."""
    parts.load.set_rate(0)
    deadline = ended + LAST_ANSWERS_SECONDS
    while parts.load.stats()["in_flight"] and time.time() < deadline:
        view.progress.phase, view.progress.phase_left_seconds = "last answers", deadline - time.time()
        time.sleep(STEP_SECONDS)


def _stay(parts: Stage, console: Console) -> None:
    """Leave all of it to a person."""
    parts.load.set_rate(QUIET_RATE)
    console.print(
        f"\nKept until Ctrl-C, under a quiet load of {QUIET_RATE:g} runs a second.\n"
        f"export KUBECONFIG={parts.cluster.kubeconfig}\n"
        f"{f'export AGENTSCALER_URL={parts.operator_url}' if parts.operator else '# no operator runs'}\n"
        f"export PATH={Path(sys.executable).parent}:{tools.ensure('kubectl')['kubectl'].parent}:$PATH\n"
        f"kubectl get agd; kubectl agentscaler explain researcher; kubectl edit agd researcher\n"
        f"Prometheus  {parts.prometheus.url}\n"
        f"Load        curl -X PUT {parts.load.url}/load -d '{{\"rate\": 20}}' -H 'Content-Type: application/json'\n"
        f'Provider    curl -X PUT {parts.upstream.url}/mode -d \'{{"mode": "failing"}}\' '
        f"-H 'Content-Type: application/json'   (healthy, failing, rate_limited, slow, outage)",
        soft_wrap=True,
        highlight=False,
    )
    threading.Event().wait()


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
