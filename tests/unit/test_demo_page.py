"""The demo's HTML report, built from timelines made by hand."""

from __future__ import annotations

import json
import re
from html import unescape
from io import StringIO
from typing import Any

import plotly.graph_objects  # type: ignore[import-untyped]  # it has no types
import pytest
from rich.console import Console

from e2e.demo import timelines
from e2e.demo.judge import Span
from e2e.demo.page import html
from e2e.demo.plan import PHASES, Script, manifest
from e2e.demo.report import Report, judged, show
from e2e.demo.timelines import Clock
from e2e.demo.world import AgentSample, Delivered, Json, PodsSample, Size, UpstreamSample, World
from e2e.harness.load_generator import Record

BEGAN = 1_000.0
WANTED = manifest()
WORDS = "replicas 2 -> 6: <b>all</b> workers are busy </script> & queueing"


def spans() -> list[Span]:
    made, at = [], BEGAN
    for phase in PHASES:
        made.append(Span(phase, at, at + phase.seconds))
        at += phase.seconds
    return made


def settings(workers: int, cache_mi: int, threshold: int) -> Json:
    return {
        "workers": {"maxConcurrent": workers},
        "cache": {"maxBytes": cache_mi * 2**20, "ttlSeconds": 600},
        "circuitBreaker": {"failureRateThresholdPercent": threshold, "waitDurationInOpenStateSeconds": 10},
    }


def decision(diagnosis: str, replicas: int, summary: str) -> Json:
    before = {"replicas": 2, "workers": 6, "cache": {}, "breaker": {}}
    after = before | {"replicas": replicas}
    words = {"diagnosis": diagnosis, "reason": "DemandRising", "summary": summary, "hpa_replicas": replicas}
    return {"decision": {"current": before, "settings": after, **words}}


def a_world() -> World:
    """Two pods, six from the spike on; the provider fails in the outage; one pod stands high under pressure."""
    world = World(blind_since=BEGAN + 290)
    world.sizes += [Size(BEGAN - 5, 2, 2), Size(BEGAN + 25, 6, 2), Size(BEGAN + 34, 6, 6), Size(BEGAN + 400, 3, 3)]
    world.deliveries += [Delivered(BEGAN - 5, 1, settings(6, 32, 50)), Delivered(BEGAN + 25, 2, settings(15, 20, 50))]
    world.deliveries += [Delivered(BEGAN + 160, 3, settings(15, 20, 30))]
    for second in range(445):
        at = BEGAN + second
        ill = 130 <= second < 180
        pods = 6 if 34 <= second < 400 else 2
        workers, generation = (15, 2) if second >= 26 else (6, 1)
        world.agents += [AgentSample(at, f"pod-{n}", workers, generation, 2 * ill) for n in range(pods)]
        world.upstream.append(UpstreamSample(at, 5 * second, 3 * max(0, min(second, 180) - 130)))
        worst = 280 if 230 <= second < 240 else 90
        world.pods.append(PodsSample(at, pods, worst * 2**20, 0, 0))
        if second % 5 == 0:
            moved = second == 25
            words = WORDS if moved else "no change: all is well"
            world.records[at] = decision("WorkerBound" if moved else "Healthy", 6 if moved else 2, words)
    return world


def some_records() -> list[Record]:
    """Five runs a second of 0.9 s, 25 in the spike with its first ones late; those of the outage fail."""
    made = []
    for second in range(445):
        spike, ill = 20 <= second < 65, 130 <= second < 180
        for n in range(25 if spike else 5):
            at = BEGAN + second + n / 25
            wait = 4.0 if 20 <= second < 22 else 0.05
            made.append(Record(at, at + 0.9 + wait, "error" if ill else "ok", 0.9 + wait, "pod-0", wait))
    return made


def a_report(world: World, records: list[Record], **values: Any) -> Report:
    given: dict[str, Any] = {"operator_on": True, "seconds": 470.0, "script": Script()} | values
    return judged(WANTED.policy, WANTED.memory_limit_bytes, world, spans(), records, **given)


def figures_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in re.findall(r'class="figure">(.*?)</script>', text)]


def lines_of(text: str) -> dict[str, Any]:
    return {line["name"]: line for shown in figures_of(text) for line in shown["data"]}


@pytest.fixture(scope="module")
def text() -> str:
    world, records = a_world(), some_records()
    return html(a_report(world, records), WANTED, world, records)


def test_the_file_loads_nothing_and_every_figure_is_one_that_plotly_knows(text: str) -> None:
    assert text.count("plotly.js v") == 1
    head = text.split("<script>", maxsplit=1)[0]
    assert "src=" not in head
    assert "http" not in head
    found = figures_of(text)
    assert len(found) == 6
    for each in found:
        plotly.graph_objects.Figure(each)  # it refuses what plotly does not know


def test_every_phase_is_a_band_of_every_figure(text: str) -> None:
    for each in figures_of(text):
        bands = each["layout"]["shapes"]
        assert [unescape(band["label"]["text"]) for band in bands] == [phase.name for phase in PHASES]
        assert (bands[1]["x0"], bands[1]["x1"]) == (20, 65)


def test_both_tables_are_there(text: str) -> None:
    for phase in PHASES:
        assert f"<td>{phase.name}</td>" in text
    assert "<td>5.0 s</td>" in text  # replicas patched
    assert "replicas 2 -&gt; 6" in text


def test_the_terminal_shows_the_same_tables() -> None:
    console = Console(width=300, record=True, file=StringIO())
    show(a_report(a_world(), some_records()), console)
    printed = console.export_text()
    for shown in ("spike x5", "replicas 2 -> 6", "spike: replicas patched", "held in every phase"):
        assert shown in printed


def test_words_of_a_decision_are_shown_as_they_are_and_cannot_end_the_script(text: str) -> None:
    assert "</script> &" not in text
    moved, held = (lines_of(text)[f"decision: {what}"] for what in ("moved", "nothing moved"))
    (words,) = moved["text"]
    # Plotly takes tags for styles; only its line ends are meant.
    assert unescape(words.replace("<br>", " ")) == f"WorkerBound, DemandRising: {WORDS}"
    assert "<b>" not in words
    assert (moved["x"], moved["y"]) == ([25], [6])
    assert len(held["x"]) == 88


def test_lines_show_what_was_measured(text: str) -> None:
    lines = lines_of(text)
    asked, inside = lines["asked for"], lines["runs in the system"]
    assert (asked["y"][0], asked["y"][15]) == (5, 25)
    assert max(inside["y"]) > 50
    assert (lines["replicas"]["x"], lines["replicas"]["y"]) == ([0, 25, 34, 400, 445], [2, 6, 6, 3, 3])
    assert lines["workers per pod"]["y"] == [6, 15, 15, 15]
    assert max(lines["workers of all pods"]["y"]) == 90
    assert max(lines["late runs"]["y"]) == pytest.approx(40)
    assert lines["objective"]["y"][0] == pytest.approx(0.7 * 320)
    assert lines["limit"]["y"][0] == 320
    assert max(lines["worst pod"]["y"]) == 280
    assert (max(lines["in vain"]["y"]), lines["in vain"]["y"][0]) == (3, 0)
    assert max(lines["pods with a breaker that is not closed"]["y"]) == 6
    assert lines["cache per pod"]["y"] == [32, 20, 20, 20]
    assert lines["breaker: failures that open it, %"]["y"] == [50, 50, 30, 30]


def test_a_run_without_the_operator_has_no_decisions_and_no_numbers() -> None:
    world, records = a_world(), some_records()
    world.records.clear()
    made = html(a_report(world, records, operator_on=False), WANTED, world, records)
    assert "without the operator" in made
    assert "HPA's rule" not in lines_of(made)
    assert not any(name.startswith("decision") for name in lines_of(made))
    assert "<h2>Numbers</h2>" not in made


def test_how_a_trace_was_fitted_is_said_and_escaped() -> None:
    world, records = a_world(), some_records()
    report = a_report(world, records, script=Script(trace="<i>", notes=("trace <i>: played",)))
    assert "<p class=note>trace &lt;i&gt;: played</p>" in html(report, WANTED, world, records)


def test_nothing_seen_is_drawn_as_nothing() -> None:
    world = World()
    made = html(a_report(world, [], operator_on=False), WANTED, world, [])
    assert len(figures_of(made)) == 6
    assert set(lines_of(made)["asked for"]["y"]) == {0}


def test_runs_in_the_system_are_those_asked_for_and_not_answered() -> None:
    clock = Clock(100, 106)
    runs = [Record(99, 103, "ok", 4, "p", 0), Record(101, 104, "ok", 3, "p", 0), Record(105, 130, "ok", 25, "p", 0)]
    assert timelines.in_system(clock, runs).y == (1, 2, 0)


def test_waits_have_gaps_where_nobody_asked() -> None:
    runs = [Record(101, 102, "ok", 1, "p", wait) for wait in (0.1, 0.2, 4.0, None)]
    high, late = timelines.waits(Clock(100, 110), runs, 0.95, 3.0, ())
    assert high.y == (4.0, None)
    assert late.y == (25.0, None)
