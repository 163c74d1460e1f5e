"""`python -m e2e.demo`, which is `make demo`. KEEP=1 leaves it up, OPERATOR=off plays it without the operator,
TRACE=file replays a recorded load, JSON=file and REPORT=file.html write what came out. The exit code is 0 when the
objectives of the manifest held, 1 when they did not, 2 when the demo could not be played to its end."""

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

from agentscaler.cli.cluster import CliError
from agentscaler.cli.extra import extra
from e2e.demo.judge import Span
from e2e.demo.options import options
from e2e.demo.plan import QUIET_RATE, Act, Phase, manifest
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
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        asked = options(os.environ)
    except CliError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return error.exit_code
    phases, operator_on = asked.script.phases, asked.operator_on
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored by default where a shell started us with &
        signal.signal(number, _end)
    tools.ensure()
    for note in asked.script.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
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
                        _play(number, phases, parts, world, view, late_seconds=late_seconds)
                        for number in range(len(phases))
                    ]
                    _last_answers(parts, view, spans[-1].ended)
                records = parts.load.records(spans[0].began)
                report = judged(
                    wanted.policy,
                    wanted.memory_limit_bytes,
                    world,
                    spans,
                    records,
                    operator_on=operator_on,
                    seconds=time.time() - began,
                    script=asked.script,
                )
                show(report, console)
                keep(report, asked.json)
                if asked.report:
                    asked.report.write_text(extra("e2e.demo.page").html(report, wanted, world, records), "utf-8")
                    console.print(f"The report is in {asked.report}.", markup=False, highlight=False, soft_wrap=True)
                if asked.kept:
                    _stay(parts, console)
            finally:
                follower.stop()
    except KeyboardInterrupt:
        console.print("interrupted: everything was ended")
        return 130
    except (RuntimeError, OSError, CalledProcessError) as error:  # OSError: also what requests raises, and time-outs
        notes = "\n".join(getattr(error, "__notes__", ()))
        console.print(f"the demo cannot go on: {error}\n{notes}", markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0 if report.held else 1


def _play(
    number: int, phases: tuple[Phase, ...], parts: Stage, world: World, view: View, *, late_seconds: float
) -> Span:
    """One of the phases, its acts at their times. A run that waits longer than `late_seconds` is late."""
    phase, began = phases[number], time.time()
    parts.load.set_rate(rate := phase.runs_per_second(0.0))
    view.say(f"--- {phase.name}: {phase.load} for {phase.seconds:g} s")
    acts = sorted(phase.acts)
    whole, left = (sum(each.seconds for each in some) for some in (phases, phases[number:]))
    while (elapsed := time.time() - began) < phase.seconds or acts:
        if (wanted := phase.runs_per_second(elapsed)) != rate:  # else an act of the phase may have set another one
            parts.load.set_rate(rate := wanted)
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
        progress.left_seconds = left - min(elapsed, phase.seconds)
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
