"""What `agentscaler backtest` does; apart from its options, since this needs the optional extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Final

from agentscaler.cli.cluster import CliError
from agentscaler.cli.compared import bar, screen, table, writable, write_report, write_rows
from agentscaler.cli.manifest import policy_of, read_manifest
from agentscaler.cli.past import Archive, Period, period
from agentscaler.cli.service import Service
from agentscaler.cli.words import clock
from agentscaler.core.policy import Mode, Policy
from agentscaler.frameworks import choices
from agentscaler.signals.request import SignalRequest, overrides_of
from agentscaler.signals.servers import Server
from agentscaler.simulate.backtest import History, Span, judged, laws, most_requests, together, trace
from agentscaler.simulate.compare import Contestant, compare, product
from agentscaler.simulate.hpa import Hpa
from agentscaler.simulate.model import ServiceModel, Variant, Workers
from agentscaler.simulate.report import Course, Report
from agentscaler.simulate.score import Row
from agentscaler.simulate.steps import Steps, joined

NO_LIMIT_BYTES: Final = 2**50
MOST_REQUESTS: Final = 20_000_000
"""In one piece: some 150 bytes each."""


def run(
    of: Service,
    where: Server,
    *,
    seconds: float,
    end: float,
    changed: Path | None,
    seeds: int,
    json_file: str | None,
    report: Path | None,
) -> None:
    """Read the history, simulate what is known of it, print the table, write the files.

    Args:
        of: The service.
        where: The server with its history.
        seconds: How far back from `end`.
        end: Unix seconds.
        changed: A manifest to compare with.
        seeds: How many draws.
        json_file: For the rows; `-` is standard output.
        report: For the HTML file.

    Raises:
        CliError: Something cannot be read, or nothing is known.
    """
    writable(json_file, report)
    policies = _policies(of, changed)
    archive, when = Archive(where, _request(of)), period(where, end, seconds)
    with bar(archive.parts(when)) as shown:
        shown.tell("history")
        history = archive.read(when, shown.advance)
    spans = judged(history)
    if not spans:
        raise CliError(_nothing(history, when, of))
    if (requests := most_requests(history, spans)) > MOST_REQUESTS:
        raise CliError(
            f"{requests / 1e6:.0f} million requests without a hole are too many to simulate one by one: take a --since "
            f"that is {requests / MOST_REQUESTS:.1f} times shorter",
            exit_code=2,
        )
    variant, learned = _variant(of, history, where)
    rows, courses = _simulate(of, history, spans, policies, variant=variant, seeds=seeds, plots=report is not None)
    notes = [
        *_notes(history, spans, when, seeds),
        *_as_it_was(of, history),
        *_left_out(policies),
        *learned,
        *(f"Prometheus says: {each}." for each in archive.remarks),
    ]
    people = screen(json_file)
    for note in notes:
        people.print(note, style="dim")
    people.print()
    people.print(table(rows))
    if json_file is not None:
        write_rows(json_file, rows)
    if report is not None:
        write_report(report, Report(f"Backtest of {of.label}", rows, courses, notes))


def _policies(of: Service, changed: Path | None) -> dict[str, Policy | None]:
    """What is compared, by name; None stands for the HPA."""
    found: dict[str, Policy | None] = {"agentscaler": _driving(of.policy), "hpa-inflight": None}
    if changed is not None:
        found[changed.name] = _driving(policy_of(read_manifest(changed, of.name)))
    return found


def _contestants(of: Service, policies: Mapping[str, Policy | None], started_at: float) -> list[Contestant]:
    """All of them for a load that begins at that time."""
    low, high = max(of.policy.replicas.min, 1), of.policy.replicas.max
    return [
        Contestant(name, lambda _: Hpa(minimum=low, maximum=high))
        if policy is None
        else product(name, policy, started_at)
        for name, policy in policies.items()
    ]


def _driving(policy: Policy) -> Policy:
    """The policy as if it were in force: what only recommends today acts here."""
    return replace(
        policy,
        replicas=replace(policy.replicas, mode=Mode.AUTO, manual=max(policy.replicas.manual, 1)),
        paused_scale_in=False,
        paused_scale_out=False,
    )


def _request(of: Service) -> SignalRequest:
    wait = of.policy.objectives.queue_wait
    return SignalRequest(
        uid=of.label,
        namespace=of.namespace,
        workload=of.workload,
        server="",
        preset=choices.framework(of.spec),
        window_seconds=of.policy.window_seconds,
        queue_wait_quantile=wait.quantile if wait is not None else None,
        overrides=overrides_of(of.spec.signals),
    )


def _variant(of: Service, history: History, where: Server) -> tuple[Variant, list[str]]:
    """The laws of this very service, as far as they are known."""
    wait = of.policy.objectives.queue_wait
    base = replace(
        ServiceModel(),
        workers=of.policy.workers.initial or ServiceModel().workers,
        late_after_seconds=wait.target_seconds if wait is not None else ServiceModel().late_after_seconds,
        grace_seconds=of.grace_seconds,
        cpu_limit_cores=inf,
    )
    law = laws(history, base)
    free = of.policy.workers.mode is Mode.AUTO and law.memory_known
    variant = Variant(
        workers=Workers.FREE if free else Workers.FROZEN,
        scrape_seconds=float(where.scrape_interval_seconds),
        memory_limit_bytes=of.memory_limit_bytes or NO_LIMIT_BYTES,
        start_up_seconds=of.start_up_seconds,
        model=law.model,
    )
    limit = of.memory_limit_bytes
    pods = (
        f"Pods become ready after {of.start_up_seconds:.0f} s and have {of.grace_seconds:.0f} s to finish their runs; "
        + (f"their memory limit is {limit / 2**20:.0f} MiB." if limit else "they have no memory limit.")
    )
    return variant, [*law.notes, pods]


def _simulate(
    of: Service,
    history: History,
    spans: Sequence[Span],
    policies: Mapping[str, Policy | None],
    *,
    variant: Variant,
    seeds: int,
    plots: bool,
) -> tuple[list[dict[str, Any]], list[Course]]:
    step = history.step_seconds
    rows: list[dict[str, Any]] = []
    courses: list[Course] = []
    with bar(seeds * len(spans) * len(policies)) as shown:
        for seed in range(seeds):
            found: dict[str, list[Row]] = {name: [] for name in policies}
            pieces: dict[str, list[tuple[float, Steps]]] = {name: [] for name in policies}
            for span in spans:
                load = trace(history, span, seed)
                contestants = _contestants(of, policies, history.started_at + span.first * step)
                for done in compare(
                    load, contestants, variant, seed, with_steps=plots and seed == 0, started=shown.tell
                ):
                    found[done.row.policy].append(done.row)
                    if done.steps is not None:
                        pieces[done.row.policy].append((span.first * step, done.steps))
                    shown.advance()
            hours = [span.steps * step / 3600.0 for span in spans]
            rows += [together(each, hours) for each in found.values()]
            if plots and seed == 0:
                total = len(history) * step
                runs = {name: joined(parts, total) for name, parts in pieces.items()}
                courses.append(Course(history.name, runs, _holes(history, spans), history.started_at))
    return rows, courses


def _holes(history: History, spans: Sequence[Span]) -> list[tuple[float, float]]:
    """What lies between the judged spans, in seconds since the start."""
    edges = [0, *(edge for span in spans for edge in (span.first, span.last)), len(history)]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(first * history.step_seconds, last * history.step_seconds) for first, last in pairs if last > first]


def _notes(history: History, spans: Sequence[Span], when: Period, seeds: int) -> list[str]:
    """What was judged, and what was not."""
    step = history.step_seconds
    hours, whole = sum(span.steps for span in spans) * step / 3600.0, len(history) * step / 3600.0
    judged_part = (
        f"{clock(when.start)} to {clock(when.end)}: {hours:.1f} of {whole:.1f} hours are known well enough to be "
        f"judged, and only these count; {seeds} draws of the moment and duration of each run."
    )
    notes = [judged_part]
    holes = _holes(history, spans)
    for first, last in holes[:10]:
        notes.append(f"Not judged: {clock(when.start + first)} to {clock(when.start + last)}.")
    if len(holes) > 10:
        notes.append(f"Not judged: {len(holes) - 10} more parts.")
    refusing = float((history.refused_by_breaker > 0).sum()) * step / 60.0
    if refusing:
        notes.append(
            f"In {refusing:.0f} minutes open breakers refused runs: how much came then is not known, and taken as what "
            "was let through."
        )
    if not history.durations:
        notes.append("No histogram of durations: they are drawn from those of measured model calls, around the mean.")
    return notes


def _as_it_was(of: Service, history: History) -> list[str]:
    """What really happened, to compare with."""
    wait = of.policy.objectives.queue_wait
    target = wait.target_seconds if wait is not None else ServiceModel().late_after_seconds
    late = history.waited_longer_percent(target)
    waited = "how long runs waited is not known" if late is None else f"{late:.2f} % of runs waited over {target:g} s"
    return [f"As it was: {history.replica_hours:.1f} replica-hours in the known time, and {waited}."]


def _left_out(policies: Mapping[str, Policy | None]) -> list[str]:
    if any(policy is not None and policy.replicas.external_target is not None for policy in policies.values()):
        return ["External demand is not in this history: what it asked for is left out."]
    return []


def _nothing(history: History, when: Period, of: Service) -> str:
    where = f"{of.label} between {clock(when.start)} and {clock(when.end)}"
    if not history.known.any():
        return (
            f"Prometheus knows nothing of {where}: is it the right server, did it scrape the pods of Deployment "
            f"{of.workload} then, and does it keep data for so long?"
        )
    return f"no quarter of an hour of {where} is known without a hole and with a run in it: take a longer --since"
