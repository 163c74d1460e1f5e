"""docs/contract.md against what the runtime really exports."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from agentscaler_runtime import RejectReason, Runtime, UpstreamErrorKind

CONTRACT = (Path(__file__).parents[3] / "docs" / "contract.md").read_text()


def exported() -> dict[str, Metric]:
    text = Runtime().render_metrics().decode()
    families = {}
    for family in text_string_to_metric_families(text):
        families[family.name + ("_total" if family.type == "counter" else "")] = family
    return families


def rows() -> dict[str, list[str]]:
    pattern = re.compile(r"^\| `((?:agent|process)_\w+)` \|(.+)\|$", re.MULTILINE)
    return {match[1]: [cell.strip() for cell in match[2].split("|")] for match in pattern.finditer(CONTRACT)}


def label_values(cell: str) -> tuple[str | None, set[str]]:
    name, _, values = cell.partition(":")
    return (name.strip("` ") or None), set(re.findall(r"`([^`]+)`", values))


def test_the_table_and_the_scrape_name_the_same_metrics() -> None:
    table = rows()
    assert len(table) >= 20
    agent_metrics = {name for name in exported() if name.startswith("agent_")}
    assert agent_metrics == {name for name in table if name.startswith("agent_")}
    assert {name for name in table if name.startswith("process_")} <= set(exported())


def test_every_series_of_the_table_is_there_from_the_start() -> None:
    families = exported()
    for name, (kind, _, labels, at_start, _) in rows().items():
        family = families[name]
        assert family.type == kind, name
        label, allowed = label_values(labels)
        seen: dict[str | None, set[str]] = {}
        for each in family.samples:
            for key, value in each.labels.items():
                if key != "le":
                    seen.setdefault(key, set()).add(value)
        assert seen == ({label: allowed} if label else {}), name
        if at_start == "0":
            assert {each.value for each in family.samples} == {0.0}, name
        elif at_start == "default":
            assert all(each.value > 0 for each in family.samples), name
        else:
            assert at_start == "measured", name


def test_the_reasons_and_kinds_in_code_are_those_of_the_table() -> None:
    assert label_values(rows()["agent_rejected_total"][2])[1] == {each.value for each in RejectReason}
    assert label_values(rows()["agent_upstream_errors_total"][2])[1] == {each.value for each in UpstreamErrorKind}


def test_the_buckets_are_those_of_the_contract() -> None:
    listed = re.search(r"buckets are, in seconds: ([\d., ]+)\.\n", CONTRACT)
    assert listed is not None
    expected = [float(each) for each in listed[1].split(",")]
    for name in ("agent_request_duration_seconds", "agent_queue_wait_seconds"):
        bounds = [float(each.labels["le"]) for each in exported()[name].samples if each.name.endswith("_bucket")]
        assert sorted(set(bounds)) == [*expected, float("inf")], name


def test_the_agents_own_metrics_in_the_same_registry_are_served_whole() -> None:
    registry = CollectorRegistry()
    Gauge("tickets_created", "Tickets that exist.", registry=registry).set(3)
    Counter("files_created", "Files ever made.", registry=registry).inc(4)
    lines = Runtime(registry=registry).render_metrics().decode().splitlines()
    assert {"tickets_created 3.0", "files_created_total 4.0"} <= set(lines)
    assert not [line for line in lines if "files_created_created" in line or "agent_requests_created" in line]
