"""Writes the chart's Grafana dashboard: `python charts/dashboard.py`; with `--check` it fails when the file differs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from agentscaler.api.crd import repository, write

FILE: Final = repository() / "charts" / "agentscaler" / "files" / "dashboard.json"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
HEIGHT: Final = 7

OPERATOR: Final = '{job="$job"}'
AGENTS: Final = '{namespace="$namespace", pod=~"$name-[a-z0-9]+-[a-z0-9]{5}"}'
"""Pods of a Deployment, as the operator tells them by their names."""

Json = dict[str, Any]


class Panel(NamedTuple):
    """One panel.

    Attributes:
        title: Above it.
        queries: PromQL by legend.
        unit: Of Grafana: `s`, `bytes`, `short`, `percentunit`, `ops`.
        kind: `timeseries` or `stat`.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"


def rate(metric: str, by: str = "", select: str = OPERATOR) -> str:
    """The rate of a counter, summed by a label."""
    grouped = f"sum by ({by}) " if by else "sum "
    return f"{grouped}(rate({metric}{select}[$__rate_interval]))"


def quantile(share: float, metric: str, select: str = OPERATOR) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'le', select)})"


def knob(name: str) -> str:
    """A value in force of the object that is looked at."""
    return f'agentscaler_object_knob{{job="$job", namespace="$namespace", name="$name", knob="{name}"}}'


OPERATOR_ROW: Final = (
    Panel("Operators that act", {"": f"sum (agentscaler_leader{OPERATOR})"}, kind="stat"),
    Panel("AgentDeployments", {"{{state}}": f"sum by (state) (agentscaler_objects{OPERATOR})"}, kind="stat"),
    Panel(
        "Since the last tick",
        {"": f"time() - max (agentscaler_last_tick_timestamp_seconds{OPERATOR})"},
        unit="s",
        kind="stat",
    ),
    Panel("Version", {"{{version}}": f"count by (version) (agentscaler_build_info{OPERATOR})"}, kind="stat"),
    Panel(
        "Ticks",
        {
            "tick, median": quantile(0.5, "agentscaler_tick_duration_seconds"),
            "tick, 99 %": quantile(0.99, "agentscaler_tick_duration_seconds"),
            "collecting signals, 99 %": quantile(0.99, "agentscaler_prometheus_collect_duration_seconds"),
        },
        unit="s",
    ),
    Panel(
        "Queries to Prometheus",
        {
            "sent": rate("agentscaler_prometheus_queries_total"),
            "failed": rate("agentscaler_prometheus_query_failures_total"),
        },
        unit="ops",
    ),
    Panel("Writes", {"{{kind}} {{outcome}}": rate("agentscaler_writes_total", "kind, outcome")}, unit="ops"),
    Panel(
        "Requests to the API server",
        {"{{verb}} {{resource}}": rate("agentscaler_kube_requests_total", "verb, resource")},
        unit="ops",
    ),
    Panel("Requests that failed", {"{{error}}": rate("agentscaler_kube_request_failures_total", "error")}, unit="ops"),
    Panel("CPU", {"cores": rate("process_cpu_seconds_total")}),
    Panel("Memory", {"{{instance}}": f"process_resident_memory_bytes{OPERATOR}"}, unit="bytes"),
    Panel(
        "Ticks left out, failures",
        {
            "ticks left out": rate("agentscaler_ticks_skipped_total"),
            "objects that failed": rate("agentscaler_object_failures_total"),
        },
        unit="ops",
    ),
)
DECISIONS_ROW: Final = (
    Panel("Decisions, by reason", {"{{reason}}": rate("agentscaler_decisions_total", "reason")}, unit="ops"),
    Panel("Signals, by health", {"{{health}}": f"sum by (health) (agentscaler_signals{OPERATOR})"}),
    Panel(
        "Signals that are not known",
        {
            "{{signal}} {{health}}": 'sum by (signal, health) (agentscaler_signals{job="$job", health!~"Fresh|Idle"})',
        },
    ),
    Panel(
        "Objects whose target somebody else drives",
        {"{{reason}}": f"sum by (reason) (agentscaler_conflicts{OPERATOR})"},
    ),
)
KNOBS_ROW: Final = (
    Panel("Replicas and workers", {"replicas": knob("replicas"), "workers in a pod": knob("workers")}),
    Panel("Cache", {"size": knob("cacheBytes")}, unit="bytes"),
    Panel("Lifetime in the cache", {"TTL": knob("cacheTtlSeconds")}, unit="s"),
    Panel(
        "Circuit breaker",
        {
            "failure rate threshold, %": knob("failureRateThresholdPercent"),
            "wait while open, s": knob("waitDurationInOpenStateSeconds"),
        },
    ),
)
AGENTS_ROW: Final = (
    Panel(
        "Work",
        {
            "running": f"sum (agent_inflight_requests{AGENTS})",
            "waiting": f"sum (agent_queue_depth{AGENTS})",
            "workers": f"sum (agent_worker_limit{AGENTS})",
        },
    ),
    Panel(
        "Wait in the queue",
        {
            "median": quantile(0.5, "agent_queue_wait_seconds", AGENTS),
            "99 %": quantile(0.99, "agent_queue_wait_seconds", AGENTS),
        },
        unit="s",
    ),
    Panel(
        "Duration of runs",
        {
            "median": quantile(0.5, "agent_request_duration_seconds", AGENTS),
            "95 %": quantile(0.95, "agent_request_duration_seconds", AGENTS),
        },
        unit="s",
    ),
    Panel("Runs", {"{{status}}": rate("agent_requests_total", "status", AGENTS)}, unit="ops"),
    Panel("Refused", {"{{reason}}": rate("agent_rejected_total", "reason", AGENTS)}, unit="ops"),
    Panel(
        "The provider",
        {
            "calls: {{outcome}}": rate("agent_upstream_calls_total", "outcome", AGENTS),
            "errors: {{kind}}": rate("agent_upstream_errors_total", "kind", AGENTS),
        },
        unit="ops",
    ),
    Panel("Breaker: 0 closed, 1 half-open, 2 open", {"{{pod}}": f"max by (pod) (agent_breaker_state{AGENTS})"}),
    Panel(
        "Cache",
        {
            "hits": rate("agent_cache_hits_total", select=AGENTS),
            "misses": rate("agent_cache_misses_total", select=AGENTS),
            "evicted": rate("agent_cache_evictions_total", select=AGENTS),
        },
        unit="ops",
    ),
    Panel(
        "Memory",
        {
            "{{pod}}": f"max by (pod) (process_resident_memory_bytes{AGENTS})",
            "cache {{pod}}": f"max by (pod) (agent_cache_bytes{AGENTS})",
        },
        unit="bytes",
    ),
)
ROWS: Final = (
    ("The operator", OPERATOR_ROW),
    ("Decisions", DECISIONS_ROW),
    ("Knobs of $namespace/$name (needs settings.objectMetrics)", KNOBS_ROW),
    ("Agents of $namespace/$name", AGENTS_ROW),
)


def variable(name: str, label: str, query: str) -> Json:
    """A choice of the person, filled from the values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }


def panel(number: int, given: Panel, place: Json) -> Json:
    """One panel as Grafana has it."""
    targets = [
        {"datasource": SOURCE, "expr": query, "legendFormat": legend, "refId": chr(ord("A") + at)}
        for at, (legend, query) in enumerate(given.queries.items())
    ]
    made = {
        "id": number,
        "type": given.kind,
        "title": given.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": given.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
    if given.kind == "stat":
        text_mode = "name" if given.title == "Version" else "auto"
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": text_mode}
    return made


def panels(rows: Sequence[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """All rows and panels from the top to the bottom, four stats or three graphs side by side."""
    made: list[Json] = []
    numbers = count(1)
    y = 0
    for title, row in rows:
        made.append({"id": next(numbers), "type": "row", "title": title, "gridPos": _place(0, y, COLUMNS, 1)})
        x, y, height = 0, y + 1, 0
        for given in row:
            wide, high = (COLUMNS // 4, HEIGHT // 2) if given.kind == "stat" else (COLUMNS // 3, HEIGHT)
            if x + wide > COLUMNS:
                x, y = 0, y + height
            made.append(panel(next(numbers), given, _place(x, y, wide, high)))
            x, height = x + wide, high
        y += height
    return made


def _place(x: int, y: int, wide: int, high: int) -> Json:
    return {"x": x, "y": y, "w": wide, "h": high}


def render() -> Json:
    """The dashboard."""
    return {
        "uid": "agentscaler",
        "title": "Agentscaler",
        "tags": ["agentscaler"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                variable("job", "Operator", "label_values(agentscaler_build_info, job)"),
                variable("namespace", "Namespace", "label_values(agentscaler_object_knob, namespace)"),
                variable("name", "Agent", 'label_values(agentscaler_object_knob{namespace="$namespace"}, name)'),
            ]
        },
        "panels": panels(ROWS),
    }


def main() -> int:
    """Write or check the file."""
    return write(FILE, json.dumps(render(), indent=1) + "\n", check="--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
