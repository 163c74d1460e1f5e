"""The baselines give the numbers that upstream's own tests expect (`fixtures_baselines`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agentscaler.core.hpa import (
    Group,
    PodFacts,
    Tolerance,
    Usage,
    average_value_replicas,
    combined,
    group,
    per_pod_replicas,
    value_replicas,
)
from agentscaler.core.memory import Change, Sample
from agentscaler.core.policy import PolicyType, ScalingPolicy, ScalingRules, SelectPolicy
from agentscaler.core.shape import HPA_SCALE_DOWN, HPA_SCALE_UP, stabilized
from agentscaler.simulate.hpa import Controller, limited, rate_limit
from agentscaler.simulate.keda import FallbackBehavior, fallback_replicas, fallback_value, falls_back, trigger_value
from agentscaler.simulate.kpa import TICK_SECONDS, Decider, Highest

NOW = 1_000_000.0
LONG_AGO = 0.0
Row = dict[str, Any]


def facts(name: str) -> Row:
    text = (Path(__file__).parent / "fixtures_baselines" / name).read_text()
    loaded: Row = yaml.safe_load(text)
    return loaded


CALCULATOR = facts("hpa_replica_calculator.yaml")
HORIZONTAL = facts("hpa_horizontal.yaml")
KPA = facts("kpa_autoscaler.yaml")
KEDA = facts("keda.yaml")


def rows(table: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[str(row.get("test", row)) for row in table])


def pods(row: Row) -> list[PodFacts]:
    count = max(row["current"], len(row.get("phase", ())))
    starts = {"hot": NOW, "cool": NOW - 180.0}
    levels = row["levels"] + [None] * count

    def given(name: str, index: int, default: Any) -> Any:
        values = row.get(name, ())
        return values[index] if index < len(values) else default

    return [
        PodFacts(
            gone=given("phase", i, "Running") == "Failed" or given("deleting", i, default=False),
            pending=given("phase", i, "Running") == "Pending",
            started_at=starts.get(given("started", i, ""), LONG_AGO),
            ready=given("ready", i, default=True),
            ready_changed_at=LONG_AGO,
            sampled_at=None if levels[i] is None else LONG_AGO,
        )
        for i in range(count)
    ]


def usage(row: Row) -> Usage:
    constants = CALCULATOR["constants"]
    by_group: dict[Group, list[int]] = {name: [] for name in Group}
    resource = row["kind"] == "resource"
    for i, pod in enumerate(pods(row)):
        by_group[group(pod, NOW, cpu=resource, **constants)].append(i)
    requests = row.get("requests", []) + [1000] * (len(pods(row)) if "requests" not in row else 0)

    def of(name: Group) -> list[int]:
        return [requests[i] if resource else 0 for i in by_group[name]]

    ready = [row["levels"][i] for i in by_group[Group.READY]]
    return Usage(ready, of(Group.READY) if resource else (), None, of(Group.UNREADY), of(Group.MISSING))


@rows(CALCULATOR["rows"])
def test_the_hpa_computes_what_upstream_expects(row: Row) -> None:
    tolerance = Tolerance(*row.get("tolerance", (0.1, 0.1)))
    current, target = row["current"], row["target"]
    if row["expect"] == "error":
        with pytest.raises(ValueError, match=r"no sample|requests are zero"):
            per_pod_replicas(current, usage(row), target, tolerance=tolerance)
        return
    if row["kind"] == "value":
        ready = sum(bool(pod.ready) for pod in pods(row))
        got = value_replicas(current, ready, row["levels"][0], target, tolerance=tolerance)
    elif row["kind"] == "average":
        got = average_value_replicas(current, row["levels"][0], target, tolerance=tolerance)
    else:
        got = per_pod_replicas(current, usage(row), target, tolerance=tolerance)
    assert got == (row["expect"], row["compared"])


@rows(CALCULATOR["groups"])
def test_the_hpa_counts_a_pod_where_upstream_does(row: Row) -> None:
    sampled = row["sampled"]
    pod = PodFacts(
        pending=row.get("pending", False),
        started_at=NOW + row["started"] if "started" in row else None,
        ready=row.get("ready"),
        ready_changed_at=NOW + row["changed"] if "changed" in row else LONG_AGO,
        sampled_at={"never": None, "epoch": LONG_AGO}[sampled] if isinstance(sampled, str) else NOW + sampled,
        sample_window_seconds=row.get("window", 0),
    )
    assert group(pod, NOW, cpu=row["cpu"], **CALCULATOR["constants"]) == row["expect"]


def rules(given: list[int] | None, default: ScalingRules, select: SelectPolicy = SelectPolicy.MAX) -> ScalingRules:
    if given is None:
        return default
    count, count_period, percent, percent_period, window = given
    policies = []
    if count:
        policies.append(ScalingPolicy(PolicyType.PODS, count, count_period))
    if percent:
        policies.append(ScalingPolicy(PolicyType.PERCENT, percent, percent_period))
    return ScalingRules(window, select, tuple(policies))


def events(row: Row) -> list[Change]:
    ups = [Change(NOW - age, amount) for amount, age in row.get("ups", ())]
    return ups + [Change(NOW - age, -amount) for amount, age in row.get("downs", ())]


@rows(HORIZONTAL["limits"])
def test_the_hpas_policies_let_through_what_upstream_expects(row: Row) -> None:
    got = limited(
        row["current"],
        row["desired"],
        events(row),
        NOW,
        minimum=row.get("min", 1),
        maximum=row.get("max", 1000),
        up=rules(row.get("up"), HPA_SCALE_UP),
        down=rules(row.get("down"), HPA_SCALE_DOWN),
    )
    assert got == row["expect"]


@rows(HORIZONTAL["rates"])
def test_the_narrowest_policy_counts_where_it_is_selected(row: Row) -> None:
    up = "up" in row
    rule = rules(row["up" if up else "down"], HPA_SCALE_UP, SelectPolicy.MIN)
    assert rate_limit(row["current"], rule, (), NOW, up=up) == row["expect"]


@rows(HORIZONTAL["changes"])
def test_the_hpa_counts_the_changes_within_a_period_as_upstream_does(row: Row) -> None:
    rule = ScalingRules(policies=(ScalingPolicy(PolicyType.PODS, 1000, 60),))
    for sign, up in ((1, True), (-1, False)):
        past = [Change(NOW - age, sign * amount) for amount, age in row["events"]]
        start = rate_limit(5000, rule, past, NOW, up=up) - sign * 1000
        assert 5000 - start == sign * row["expect"]


@pytest.mark.parametrize(
    ("current", "percent", "up", "limit"), [(100, 10, True, 111), (100, 90, False, 9), (10, 90, False, 0)]
)
def test_percentages_are_computed_in_the_hpas_own_floating_point(
    current: int, percent: int, limit: int, *, up: bool
) -> None:
    rule = ScalingRules(policies=(ScalingPolicy(PolicyType.PERCENT, percent, 60),))
    assert rate_limit(current, rule, (), NOW, up=up) == limit


@rows(HORIZONTAL["stabilized"])
def test_the_hpa_stabilizes_as_upstream_expects(row: Row) -> None:
    log = [Sample(NOW - age, value) for value, age in row["recommendations"]]
    got = stabilized(
        row["current"],
        row["desired"],
        ups=log,
        downs=log,
        up_window_seconds=row.get("up", 0),
        down_window_seconds=row.get("down", 0),
        now=NOW,
    )
    assert got == row["expect"]


@rows(HORIZONTAL["passes"])
def test_a_pass_of_the_hpas_controller_ends_where_upstream_expects(row: Row) -> None:
    controller = Controller(row["min"], row["max"], up=rules(row.get("up"), HPA_SCALE_UP))
    if row.get("log") == "empty":
        controller.recommendations.append(Sample(LONG_AGO, 0.0))
    seen = row["levels"]
    try:
        proposal, _ = per_pod_replicas(
            row["current"],
            Usage(seen, row["requests"][: len(seen)], None, (), row["requests"][len(seen) :]),
            row["target"],
        )
    except ValueError:
        assert not seen or not sum(row["requests"])
        proposal = None
    assert controller.step(row["current"], proposal, NOW) == row["expect"]


@rows(HORIZONTAL["combined"])
def test_a_metric_that_failed_blocks_shrinking_only(row: Row) -> None:
    assert combined(row["current"], row["proposals"]) == row["expect"]


@rows(KPA["rows"])
def test_the_kpa_wants_what_upstream_expects(row: Row) -> None:
    decider = Decider(
        row["target"],
        panic_threshold=row.get("panic_threshold", 2.0),
        max_up_rate=row.get("max_up_rate", 10.0),
        max_down_rate=row.get("max_down_rate", 10.0),
        delay_seconds=row.get("delay", 0.0),
        activation_scale=row.get("activation_scale", 1),
        reachable=row.get("reachable", True),
    )
    decider.begin(row["begin"], 0.0)
    if panicking := row.get("panicking"):
        decider.panic_since, decider.panic_pods = panicking["since"], panicking["pods"]
    got, since = [], []
    for at, ready, stable, panic, _ in row["steps"]:
        got.append(decider.step(ready, stable, panic, at))
        since.append(decider.panic_since)
    assert got == [expected for *_, expected in row["steps"]]
    if "panic_since" in row:
        assert since == row["panic_since"]


@rows(KPA["starts"])
def test_the_kpa_starts_in_panic_with_more_than_one_pod(row: Row) -> None:
    decider = Decider(100.0)
    decider.begin(row["ready"], NOW)
    assert (decider.panic_since is not None, decider.panic_pods) == (row["panics"], row["pods"])


@rows(KPA["delays"]["rows"])
def test_the_kpas_delay_holds_the_highest_value_as_upstream_does(row: Row) -> None:
    ticks = row.get("ticks", range(len(row["values"])))
    held = Highest()
    assert [held.record(tick, value, 5) for tick, value in zip(ticks, row["values"], strict=True)] == row["expect"]
    assert TICK_SECONDS == 2.0


@rows(KEDA["answers"])
def test_keda_makes_of_an_answer_what_upstream_expects(row: Row) -> None:
    if row["expect"] == "error":
        with pytest.raises(ValueError, match="the query gives"):
            trigger_value(row["samples"], ignore_null=row["ignore_null"])
    else:
        assert trigger_value(row["samples"], ignore_null=row["ignore_null"]) == row["expect"]


@rows(KEDA["fallbacks"])
def test_keda_falls_back_as_upstream_expects(row: Row) -> None:
    replicas = fallback_replicas(FallbackBehavior.STATIC, row["replicas"], current=1)
    fails = falls_back(row["failures"] + 1, row["threshold"])
    assert (fallback_value(replicas, row["target"]) if fails else None) == row["expect"]


def test_there_are_as_many_facts_as_promised() -> None:
    hpa = sum(len(CALCULATOR[name]) for name in ("rows", "groups"))
    hpa += sum(len(HORIZONTAL[name]) for name in ("limits", "rates", "changes", "stabilized", "passes", "combined"))
    kpa = sum(len(row["steps"]) for row in KPA["rows"])
    assert hpa >= 140
    assert kpa >= 45
