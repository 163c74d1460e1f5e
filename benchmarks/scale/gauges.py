"""What is measured: the operator's own metrics, its process, and what the API server has counted."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scale.stage import Stage
from e2e.harness.process import Process

WRITES = {"create", "patch", "update", "delete"}
_SEEN = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<count>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

# What nobody but the operator writes here once all objects are posted: (verb, resource, subresource) of the API
# server's own counter. Controllers write pods, bindings, events and the status of Deployments themselves.
_ITS_OWN = {
    ("PATCH", "agentdeployments", "status"),
    ("APPLY", "agentdeployments", "status"),
    ("POST", "configmaps", ""),
    ("PATCH", "configmaps", ""),
    ("APPLY", "configmaps", ""),
    ("POST", "deployments", ""),
    ("PATCH", "deployments", ""),
    ("APPLY", "deployments", ""),
    ("PATCH", "deployments", "scale"),
    ("PATCH", "pods", ""),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """The operator's counters at one moment."""

    ticks: int
    tick_seconds: float
    """Summed over all ticks."""
    queries: int
    requests: int
    """To the API server; kopf's watches are not among them."""
    writes: Counter[str]
    """By `resource` or `resource/subresource`."""

    @property
    def leases(self) -> int:
        """Writes of Leases."""
        return self.writes["leases"]


def read(stage: Stage) -> Reading:
    """What the operator says of itself now."""
    values: defaultdict[str, float] = defaultdict(float)
    writes: Counter[str] = Counter()
    for family in text_string_to_metric_families(stage.operator_metrics()):
        for sample in family.samples:
            if sample.name == "agentscaler_kube_requests_total" and sample.labels["verb"] in WRITES:
                writes[sample.labels["resource"].partition(".")[0]] += int(sample.value)
            values[sample.name] += sample.value
    return Reading(
        ticks=int(values["agentscaler_tick_duration_seconds_count"]),
        tick_seconds=values["agentscaler_tick_duration_seconds_sum"],
        queries=int(values["agentscaler_prometheus_queries_total"]),
        requests=int(values["agentscaler_kube_requests_total"]),
        writes=writes,
    )


def seen_writes(stage: Stage) -> Counter[str]:
    """What the API server has counted of writes that only the operator makes."""
    seen: Counter[str] = Counter()
    for match in _SEEN.finditer(stage.cluster.request("GET", "/metrics").text):
        labels = dict(_LABEL.findall(match["labels"]))
        name = (labels["verb"], labels["resource"], labels["subresource"])
        if name in _ITS_OWN and labels.get("dry_run", "") == "":
            seen["/".join(filter(None, name[1:]))] += int(float(match["count"]))
    return seen


def cpu_seconds(process: Process) -> float:
    """User and system time of a process since its start."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(process: Process) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def machine_seconds() -> float:
    """CPU time that all processes of this machine have used."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))
