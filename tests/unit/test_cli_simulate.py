"""`agentscaler simulate` from the command line to its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.core import TyperCommand
from typer.testing import CliRunner, Result

from agentscaler.cli import app
from agentscaler.cli.extra import Many
from tests.api_corpus import owned

FIELDS = [
    "trace",
    "policy",
    "seed",
    "workers",
    "memory",
    "startup",
    "outages",
    "scrape_seconds",
    "late_percent",
    "violation_percent",
    "cost_ratio",
    "cost_ratio_hindsight",
    "replica_hours",
    "actions_per_hour",
    "reversals_per_hour",
    "worker_changes_per_hour",
    "oom_kills",
    "lost_percent",
    "wasted_calls_percent",
]


@pytest.fixture
def load(tmp_path: Path) -> Path:
    """Twenty minutes of one request a second."""
    file = tmp_path / "load.csv"
    file.write_text("t_seconds,rps\n" + "".join(f"{60 * minute},1.0\n" for minute in range(20)))
    return file


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def rows_of(file: Path) -> list[dict[str, Any]]:
    rows = json.loads(file.read_text())
    assert isinstance(rows, list)
    return rows


def test_rows_have_the_published_fields_in_their_order(load: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    arguments = ("--trace", load, "--policy", "agentscaler", "static:replicas=3", "--freeze-workers", "--json", out)
    result = invoke(*arguments, "--seeds", 2)
    assert result.exit_code == 0, result.output
    rows = rows_of(out)
    assert [list(row) for row in rows] == [FIELDS] * 4
    assert [(row["policy"], row["seed"]) for row in rows] == [
        ("agentscaler", 0),
        ("static:replicas=3", 0),
        ("agentscaler", 1),
        ("static:replicas=3", 1),
    ]
    assert {(row["trace"], row["workers"], row["outages"]) for row in rows} == {("load", "frozen", False)}
    static = [row for row in rows if row["policy"] != "agentscaler"]
    assert [row["replica_hours"] for row in static] == pytest.approx([1.0, 1.0], rel=0.01)  # it starts with two
    assert {row["actions_per_hour"] for row in static} == {3.0}  # one in twenty minutes
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["TRACE", "POLICY"],
        ["load", "agentscaler"],
        ["load", "static:replicas=3"],
    ]


def test_rows_on_standard_output_are_nothing_but_json(load: Path) -> None:
    result = invoke("--trace", load, "--policy", "static:replicas=2", "--json", "-")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == 1
    assert "static:replicas=2" in result.stderr


def test_the_report_has_a_plot_for_each_trace(load: Path, tmp_path: Path) -> None:
    report = tmp_path / "out.html"
    result = invoke("--trace", load, "synthetic:recurring", "--policy", "static:replicas=3", "--report", report)
    assert result.exit_code == 0, result.output
    html = report.read_text()
    assert html.count('class="figure">') == 3
    assert "Where static:replicas=3 lost" in html  # bursts of 16 requests a second on 24 workers


def test_variants_stand_in_the_rows(load: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    flags = ("--memory", "heavy", "--startup", "lognormal", "--outages", "--scrape-seconds", 5)
    assert invoke("--trace", load, "--policy", "static:replicas=3", "--json", out, *flags).exit_code == 0
    (row,) = rows_of(out)
    assert (row["workers"], row["memory"], row["startup"], row["outages"], row["scrape_seconds"]) == (
        "free",
        "heavy",
        "lognormal",
        True,
        5.0,
    )


def test_a_manifest_is_a_policy_of_its_own(load: Path, tmp_path: Path) -> None:
    spec = owned() | {"tuning": {"replicas": {"min": 4, "max": 4}}}
    body = {
        "apiVersion": "agentscaler.dev/v1alpha1",
        "kind": "AgentDeployment",
        "metadata": {"name": "x"},
        "spec": spec,
    }
    manifest, out = tmp_path / "four.yaml", tmp_path / "rows.json"
    manifest.write_text(yaml.safe_dump(body))
    result = invoke("--trace", load, "--policy", manifest, "--json", out)
    assert result.exit_code == 0, result.output
    (row,) = rows_of(out)
    assert row["policy"] == "four"
    assert row["replica_hours"] == pytest.approx(4 / 3, rel=0.05)


def test_a_static_policy_without_a_number_takes_the_fewest_that_keep_the_objective(load: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    assert invoke("--trace", load, "--policy", "static", "--json", out, "--freeze-workers").exit_code == 0
    (row,) = rows_of(out)
    assert row["late_percent"] <= 1.5


def test_hindsight_compares_each_row_with_the_best_fixed_pair(tmp_path: Path) -> None:
    load, out = tmp_path / "short.csv", tmp_path / "rows.json"
    load.write_text("t_seconds,rps\n0,2.0\n60,2.0\n120,2.0\n180,2.0\n")
    result = invoke("--trace", load, "--policy", "static:replicas=9", "--hindsight", "--json", out, "--seeds", 2)
    assert result.exit_code == 0, result.output
    assert "OVER PAIR" in result.stdout
    assert all(row["cost_ratio_hindsight"] > 1.5 for row in rows_of(out))


def test_each_run_of_the_same_seed_gives_the_same_rows(load: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(2)]
    for file in files:
        assert invoke("--trace", load, "--policy", "agentscaler", "--json", file).exit_code == 0
    assert files[0].read_text() == files[1].read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trace", "{load}", "--policy", "nobody"], "there are agentscaler"),
        (["--trace", "{load}", "--policy", "static:replicas=x"], "NAME=NUMBER"),
        (["--trace", "{load}", "--policy", "static:pods=3"], "pods"),
        (["--trace", "{load}", "--policy", "/does/not/exist.yaml"], "exist.yaml"),
        (["--trace", "synthetic:nothing"], "there are step, ramp"),
        (["--trace", "{load}", "--memory", "light"], "--memory is typical or heavy"),
        (["--trace", "{load}", "--scale", "0"], "scale above 0"),
        (["--trace", "{load}", "--report", "/does/not/exist/out.html"], "folder does not exist"),
        (["--trace", "/does/not/exist.csv"], "check the path"),
    ],
)
def test_wrong_input_exits_2_and_says_what_to_write(load: Path, arguments: list[str], said: str) -> None:
    result = invoke(*(each.format(load=load) for each in arguments))
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_a_wrong_row_of_a_trace_is_named_with_its_mend(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("t_seconds,rps\n0,1\n60,nan\n120,1\n")
    result = invoke("--trace", file)
    assert result.exit_code == 2
    assert "bad.csv, row 3: rps is 'nan'" in result.stderr


@pytest.mark.parametrize("package", ["numpy", "numba", "plotly"])
def test_a_missing_package_is_named_with_the_extra(load: Path, package: str) -> None:
    words = ["simulate", "--trace", str(load)]
    script = f"import sys; sys.modules[{package!r}] = None; from agentscaler.cli import app; app({words!r})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert done.returncode == 2
    assert f"{package} is not installed" in done.stderr
    assert "pip install 'agentscaler[simulate]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_take_several_values_until_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(TyperCommand, "parse_args", lambda _self, _ctx, args: seen.append(args))
    arguments = ["--trace", "a", "b", "--seeds", "2", "--policy", "x", "y", "z", "--trace", "c", "--json", "-"]
    Many("simulate").parse_args(None, arguments)
    pairs = [seen[0][at : at + 2] for at in range(0, len(seen[0]), 2)]
    assert pairs == [
        ["--trace", "a"],
        ["--trace", "b"],
        ["--seeds", "2"],
        ["--policy", "x"],
        ["--policy", "y"],
        ["--policy", "z"],
        ["--trace", "c"],
        ["--json", "-"],
    ]
