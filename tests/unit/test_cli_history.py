"""`agentscaler history`: two sources, one order."""

from __future__ import annotations

from typing import Any

from agentscaler.cli.history import merged, table
from agentscaler.kube.records import to_json
from agentscaler.kube.status import rfc3339
from tests.unit.test_cli_output import printed
from tests.unit.test_cli_replay import record
from tests.worlds import START

HOUR = 3600.0


def body(*records: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "one"}, "status": {"records": list(records)}}


def moved(at: float, reason: str = "Demand", **values: tuple[Any, Any]) -> dict[str, Any]:
    return {
        "at": rfc3339(at),
        "reason": reason,
        "summary": f"moved for {reason}",
        "from": {knob: before for knob, (before, _) in values.items()},
        "to": {knob: after for knob, (_, after) in values.items()},
    }


def test_decisions_stand_in_the_order_of_time_and_none_stands_twice() -> None:
    known = to_json(record(START + 0.7))
    reason = known["decision"]["reason"]
    newest_first = [moved(START + 0.7, reason, replicas=(2, 5)), moved(START - HOUR, replicas=(1, 2))]
    entries = merged(body(*newest_first), (known, to_json(record(START + 5))))
    assert [(each.at, each.source) for each in entries] == [
        (START - HOUR, "status"),
        (START + 0.7, "operator"),
        (START + 5, "operator"),
    ]


def test_a_full_record_tells_the_forecast_the_margin_and_the_hpa() -> None:
    decision = record().decision
    (entry,) = merged(body(), (to_json(record()),))
    assert (entry.forecast_runs, entry.margin_runs) == (decision.demand_runs, decision.margin_runs)
    assert entry.hpa_replicas == decision.hpa_replicas
    assert entry.moved_to["replicas"] == decision.settings.replicas
    assert entry.diagnosis == str(decision.diagnosis)


def test_only_what_moved_is_shown() -> None:
    cache = ({"size": "64Mi", "ttlSeconds": 60}, {"size": "96Mi", "ttlSeconds": 60})
    text = printed(table(merged(body(moved(START, workers=(4, 9), cache=cache)), ()), now=START + 61)).splitlines()
    assert text[1].split()[:10] == ["61s", "ago", "-", "4", "->", "9", "64Mi/60s", "->", "96Mi/60s", "-"]
    assert "moved for Demand" in text[1]


def test_an_object_without_status_has_no_history() -> None:
    assert merged({"metadata": {"namespace": "ns", "name": "new"}}, ()) == []
