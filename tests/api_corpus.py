"""Specs that are good or bad, each judged by the models and by a real API server, which have to agree."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "agent", "image": "example.org/agent:1"}]}}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}


@dataclass(frozen=True)
class Case:
    name: str
    spec: dict[str, Any]
    refused: str | None = None
    """What the refusal says: the field and the mend. None: accepted."""
    server_only: str | None = None
    """The API server's own wording where it is not a rule of ours."""


def owned(**fields: Any) -> dict[str, Any]:
    return {"template": copy.deepcopy(TEMPLATE), **fields}


def tuned(**knobs: Any) -> dict[str, Any]:
    return owned(tuning=knobs)


def override(name: str = "latency", **fields: Any) -> dict[str, Any]:
    return owned(signals={"overrides": {name: {"metric": "my_seconds", "kind": "Histogram"} | fields}})


MIN_ABOVE_MAX = "min must not be above max: lower min or raise max"
BELOW_MIN = "initial must not be below min: raise initial or lower min"
ABOVE_MAX = "initial must not be above max: lower initial or raise max"
LABEL = "a name must be a DNS label: use lower case letters, digits and '-'"
ONE_TARGET = "exactly one of template and scaleTargetRef must be set"
SIZE = "a size is at most 1Ti: write it as 256Mi, 1G or plain bytes"
QUANTILE = 'quantile must lie between 0 and 1: write it as a string such as "0.99"'
ERRORS = "targetPercent must be above 0 and below 100"
MEMORY = "targetPercent must be above 9 and below 96"
TOLERANCE = "tolerance must be a ratio"
SCALE = "scale must be a positive factor"
METRIC = "metric must be the bare name of a Prometheus metric"
MATCHERS = "matchers must name Prometheus labels"
SIGNALS = "overrides must name signals: one of latency, duration"
WINDOW = "signals.windowSeconds must not be shorter than tuning.intervalSeconds: widen the window"
RESTART = "delivery.mode Restart needs template: an adopted Deployment is never restarted; use Hot"
TIME = 'a time of day is written with hours and minutes: "08:30", and "24:00" for the end of the day'
ZONE = "timeZone must be a name of the time zone database: write it as Europe/Berlin or UTC"
START_END = 'start must differ from end and come before "24:00": write a whole day as start "00:00", end "24:00"'
NO_BOUND = "a schedule needs min or max: say which bound it sets"
BASED = "delivery.baseConfigMap needs a framework that has a settings file of its own: name it in framework"
DROPS = "delivery.mode Restart needs statefulness none: a restart drops what pods keep in memory; use Hot"
PER_REPLICA = 'targetPerReplica must be above 0: write it as 20 or as a string such as "0.5"'
PARAMETERS = "parameters must have names of letters, digits and '_', not starting with a digit"
OWN_PARAMETERS = "parameters namespace and name are the object's own: leave them out"
CONTAINER = "container must be the name of one of template.spec.containers: correct it or leave it out"


def _ranges(path: str, low: Any, middle: Any, high: Any, *, initial: bool = True) -> list[Case]:
    """min, max and initial of one range, in and out of order."""

    def at(**values: Any) -> dict[str, Any]:
        block: dict[str, Any] = values
        for part in reversed(path.split(".")):
            block = {part: block}
        return tuned(**block)

    cases = [
        Case(f"{path}: min at max", at(min=middle, max=middle)),
        Case(f"{path}: only min", at(min=high)),
        Case(f"{path}: min above max", at(min=high, max=low), f"spec.tuning.{path}.min: {MIN_ABOVE_MAX}"),
    ]
    if initial:
        cases += [
            Case(f"{path}: initial inside", at(min=low, max=high, initial=middle)),
            Case(f"{path}: initial alone", at(initial=middle)),
            Case(f"{path}: initial below", at(min=middle, initial=low), f"spec.tuning.{path}.initial: {BELOW_MIN}"),
            Case(f"{path}: initial above", at(max=middle, initial=high), f"spec.tuning.{path}.initial: {ABOVE_MAX}"),
        ]
    return cases


def _schedules() -> list[Case]:
    path = "spec.tuning.replicas.schedules[0]"

    def schedule(**fields: Any) -> dict[str, Any]:
        given = {"start": "08:00", "end": "18:00", "min": 5} | fields
        return tuned(replicas={"schedules": [{key: value for key, value in given.items() if value is not None}]})

    return [
        Case("schedule", schedule(name="office", days=["Mon", "Fri"], timeZone="Europe/Berlin", max=9)),
        Case("schedule over midnight", schedule(start="22:30", end="06:00", min=0, max=0)),
        Case("schedule of a day", schedule(start="00:00", end="24:00")),
        Case("schedules empty", tuned(replicas={"schedules": []})),
        *(
            Case(f"zone {zone}", schedule(timeZone=zone))
            for zone in ("UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Europe/Atlantis")
        ),
        *(
            Case(f"zone {zone!r}", schedule(timeZone=zone), f"{path}.timeZone: {ZONE}")
            for zone in ("../etc/passwd", "/UTC", "Europe/", "Europe Berlin", "UTC\n", "+01:00")
        ),
        Case("zone empty", schedule(timeZone=""), f"{path}.timeZone", "at least 1 chars long"),
        *(
            Case(f"start {time!r}", schedule(start=time), f"{path}.start: {TIME}")
            for time in ("8:00", "24:01", "25:00", "12:60", "noon", "")
        ),
        Case("end at the start", schedule(end="08:00"), f"{path}.start: {START_END}"),
        Case("start at the end of the day", schedule(start="24:00"), f"{path}.start: {START_END}"),
        Case("no start", schedule(start=None), "start", "Required value"),
        Case("no end", schedule(end=None), "end", "Required value"),
        Case("schedule without bounds", schedule(min=None), f"{path}: {NO_BOUND}"),
        Case("schedule: min above max", schedule(max=4), f"{path}.min: {MIN_ABOVE_MAX}"),
        Case("schedule: only max", schedule(min=None, max=0)),
        Case("schedule: too many pods", schedule(max=1001), f"{path}.max", "less than or equal to 1000"),
        Case("no days", schedule(days=[]), f"{path}.days", "at least 1 items"),
        Case("days in other words", schedule(days=["Monday"]), f"{path}.days[0]", 'supported values: "Mon"'),
        Case("name of a schedule in words", schedule(name="Office hours"), f"{path}.name: {LABEL}"),
    ]


def _demands() -> list[Case]:
    path = "spec.tuning.replicas.externalDemand"

    def demand(**fields: Any) -> dict[str, Any]:
        given = {"template": "rabbitmq", "targetPerReplica": 20} | fields
        return tuned(replicas={"externalDemand": {key: value for key, value in given.items() if value is not None}})

    return [
        Case("external demand", demand(parameters={"queue": 'a b"}', "vhost_2": ""})),
        *(Case(f"target {value!r}", demand(targetPerReplica=value)) for value in (1, "0.5", 1000)),
        *(
            Case(f"target {value!r}", demand(targetPerReplica=value), f"{path}.targetPerReplica: {PER_REPLICA}")
            for value in (0, -1, "0", "1e3", "all")
        ),
        Case("external demand without a target", demand(targetPerReplica=None), "targetPerReplica", "Required value"),
        Case("external demand without a template", demand(template=None), "template", "Required value"),
        Case("template as PromQL", demand(template="sum(x)"), f"{path}.template: {LABEL}"),
        *(
            Case(f"parameters {value!r}", demand(parameters=value), f"{path}.parameters: {PARAMETERS}")
            for value in ({"a-b": "x"}, {"1a": "x"}, {"": "x"}, {"a}": "x"})
        ),
        *(
            Case(f"parameter {name}", demand(parameters={name: "x"}), f"{path}.parameters: {OWN_PARAMETERS}")
            for name in ("namespace", "name")
        ),
        Case("too many parameters", demand(parameters={f"a{i}": "x" for i in range(9)}), "parameters", "at most 8"),
    ]


def _quantile(value: Any) -> dict[str, Any]:
    return owned(objectives={"queueWait": {"quantile": value, "targetMilliseconds": 5000}})


def _behavior(**rules: Any) -> dict[str, Any]:
    return tuned(replicas={"behavior": {"scaleUp": rules}})


CASES: tuple[Case, ...] = (
    Case("minimal", owned()),
    Case("adopt", {"scaleTargetRef": TARGET}),
    Case("neither target", {}, f"spec: {ONE_TARGET}"),
    Case("both targets", owned(scaleTargetRef=TARGET), f"spec: {ONE_TARGET}"),
    Case("container of the template", owned(container="agent")),
    Case("container of an adopted one", {"scaleTargetRef": TARGET, "container": "any"}),
    Case("container not in the template", owned(container="other"), f"spec.container: {CONTAINER}"),
    Case("restart with a template", owned(delivery={"mode": "Restart", "minRestartIntervalSeconds": 60})),
    Case(
        "restart of an adopted one",
        {"scaleTargetRef": TARGET, "delivery": {"mode": "Restart"}},
        f"spec.delivery.mode: {RESTART}",
    ),
    Case(
        "a file to start from", owned(framework="aiecs", delivery={"baseConfigMap": {"name": "mine", "key": "a.env"}})
    ),
    Case(
        "a file to start from without a framework",
        owned(delivery={"baseConfigMap": {"name": "mine"}}),
        f"spec.delivery.baseConfigMap: {BASED}",
    ),
    Case(
        "a file to start from for an agent without one",
        owned(framework="generic", delivery={"baseConfigMap": {"name": "mine"}}),
        f"spec.delivery.baseConfigMap: {BASED}",
    ),
    Case("state in memory", owned(statefulness="inMemory", delivery={"mode": "Hot"})),
    Case(
        "restart of state in memory",
        owned(statefulness="inMemory", delivery={"mode": "Restart"}),
        f"spec.delivery.mode: {DROPS}",
    ),
    Case("restart without state", owned(statefulness="none", delivery={"mode": "Restart"})),
    Case("state elsewhere", owned(statefulness="onDisk"), "spec.statefulness", 'supported values: "none"'),
    Case("window at the interval", owned(signals={"windowSeconds": 300}, tuning={"intervalSeconds": 300})),
    Case(
        "window below the interval",
        owned(signals={"windowSeconds": 60}, tuning={"intervalSeconds": 61}),
        f"spec.signals.windowSeconds: {WINDOW}",
    ),
    *_ranges("replicas", 1, 5, 10, initial=False),
    *_ranges("workers", 1, 5, 10),
    *_ranges("cache", "1G", "1Gi", 2**31),
    *_ranges("cache.ttlSeconds", 1, 5, 10),
    *_ranges("circuitBreaker.failureRateThresholdPercent", 1, 5, 10),
    *_ranges("circuitBreaker.waitDurationInOpenStateSeconds", 1, 5, 10),
    *_schedules(),
    *_demands(),
    Case("fallback", tuned(replicas={"fallback": {"failureThreshold": 3, "replicas": 6}})),
    Case(
        "fallback without a size",
        tuned(replicas={"fallback": {"failureThreshold": 3}}),
        "spec.tuning.replicas.fallback.replicas",
        "Required value",
    ),
    Case(
        "fallback to zero",
        tuned(replicas={"fallback": {"failureThreshold": 3, "replicas": 0}}),
        "spec.tuning.replicas.fallback.replicas",
        "greater than or equal to 1",
    ),
    # forms
    *(Case(f"quantile {value!r}", _quantile(value)) for value in ("0.5", ".95", "0.99", "0.999990", ".01")),
    *(
        Case(f"quantile {value!r}", _quantile(value), f"spec.objectives.queueWait.quantile: {QUANTILE}")
        for value in ("", "0", "0.0", "1", "1.0", "95", "p99", "0.9\n", "-0.9", "0,9", "\u0660.\u0669")
    ),
    Case("quantile as a number", _quantile(0.99), "spec.objectives.queueWait.quantile", "must be of type string"),
    *(
        Case(f"errors {value!r}", owned(objectives={"errorRate": {"targetPercent": value}}))
        for value in (1, 99, "1", "0.5", "0.001", "99.9")
    ),
    *(
        Case(
            f"errors {value!r}",
            owned(objectives={"errorRate": {"targetPercent": value}}),
            f"spec.objectives.errorRate.targetPercent: {ERRORS}",
        )
        for value in (0, -1, 100, "100", "0", "1%", "", ".5", "1e1", "a")
    ),
    *(
        Case(f"memory {value!r}", owned(objectives={"memory": {"targetPercent": value}}))
        for value in (10, "10", 80, "82.5", 95)
    ),
    *(
        Case(
            f"memory {value!r}",
            owned(objectives={"memory": {"targetPercent": value}}),
            f"spec.objectives.memory.targetPercent: {MEMORY}",
        )
        for value in (0, 9, 96, 100, "80%", "0.8")
    ),
    *(
        Case(f"size {value!r}", tuned(cache={"min": value}))
        for value in (0, 1, "0", "64Mi", "1.5Gi", "1k", "1Ti", "1T")
    ),
    *(
        Case(f"size {value!r}", tuned(cache={"min": value}), f"spec.tuning.cache.min: {SIZE}")
        for value in (-1, "-1", "64MB", "1e3", "100m", "2Ti", "1025Gi", "", " 1Mi", "1Mi ", "64mi", "Mi", "1.Mi", 2**41)
    ),
    Case("size as a fraction", tuned(cache={"min": 1.5}), "spec.tuning.cache.min", "must be of type integer"),
    Case("size as a boolean", tuned(cache={"min": True}), "spec.tuning.cache.min", "must be of type integer"),
    *(Case(f"tolerance {value!r}", _behavior(tolerance=value)) for value in (0, 1, "0.05", "50m", "0")),
    *(
        Case(
            f"tolerance {value!r}",
            _behavior(tolerance=value),
            f"spec.tuning.replicas.behavior.scaleUp.tolerance: {TOLERANCE}",
        )
        for value in (-1, "5%", "0.05 ", "", "mm", ".05")
    ),
    *(Case(f"scale {value!r}", override(scale=value)) for value in ("0.001", 1, 1024, "1000000")),
    *(
        Case(f"scale {value!r}", override(scale=value), f"spec.signals.overrides.latency.scale: {SCALE}")
        for value in (0, "0.000", -1, "1/1000", "1e-3", "")
    ),
    *(Case(f"metric {value!r}", override(metric=value)) for value in ("a", "job:a_b:rate5m", "_x9", "A")),
    *(
        Case(f"metric {value!r}", override(metric=value), f"spec.signals.overrides.latency.metric: {METRIC}")
        for value in ("9a", 'a{b="c"}', "a-b", "a b", "a) or (b", "a\n", "é")
    ),
    *(
        Case(f"matchers {value!r}", override(matchers=value))
        for value in ({}, {"a": ""}, {"a_b": '"}'}, {"_a": "~a|b"}, {"A9": "\\"})
    ),
    *(
        Case(f"matchers {value!r}", override(matchers=value), f"spec.signals.overrides.latency.matchers: {MATCHERS}")
        for value in ({"__name__": "x"}, {"a-b": "x"}, {"9a": "x"}, {"": "x"}, {'a="b",c': "x"}, {"a\n": "x"})
    ),
    Case("too many matchers", override(matchers={f"a{i}": "x" for i in range(11)}), "matchers", "at most 10"),
    Case("matcher too long", override(matchers={"a": "x" * 257}), "matchers.a", "Too long"),
    Case("unknown signal", override("latencies"), f"spec.signals.overrides: {SIGNALS}"),
    Case("signal by the preset's name", override("queue_wait"), f"spec.signals.overrides: {SIGNALS}"),
    Case("counter", override("requests", kind="Counter")),
    Case("counter from a histogram", override("requests", kind="Histogram")),
    Case("gauge", override("inFlight", kind="Gauge")),
    Case(
        "failures beside all runs",
        owned(
            signals={
                "overrides": {
                    "requests": {"metric": "runs_total", "kind": "Counter"},
                    "failedRequests": {"metric": "runs_total", "kind": "Counter", "matchers": {"code": "~5.."}},
                }
            }
        ),
    ),
    Case(
        "failures alone",
        override("failedRequests", kind="Counter"),
        "spec.signals.overrides: failedRequests needs requests beside it",
    ),
    Case("latency as a gauge", override(kind="Gauge"), "spec.signals.overrides: kind must be Histogram for latency"),
    Case(
        "requests as a gauge",
        override("upstream429", kind="Gauge"),
        "spec.signals.overrides: kind must be Counter or Histogram for requests",
    ),
    Case(
        "in-flight as a counter",
        override("inFlight", kind="Counter"),
        "spec.signals.overrides: kind must be Gauge for inFlight",
    ),
    # bounds and types of the plain schema
    Case("replicas 0", owned(replicas=0)),
    Case("replicas 1000", owned(replicas=1000)),
    Case("replicas 1001", owned(replicas=1001), "spec.replicas", "less than or equal to 1000"),
    Case("replicas -1", owned(replicas=-1), "spec.replicas", "greater than or equal to 0"),
    Case("replicas as text", owned(replicas="3"), "spec.replicas", "must be of type integer"),
    Case("unknown framework", owned(framework="other"), "spec.framework", 'supported values: "generic"'),
    Case("unknown window", owned(signals={"windowSeconds": 90}), "spec.signals.windowSeconds", "Unsupported value: 90"),
    Case("unknown mode", tuned(workers={"mode": "Manual"}), "spec.tuning.workers.mode", 'supported values: "Auto"'),
    Case("interval too short", tuned(intervalSeconds=4), "spec.tuning.intervalSeconds", "greater than or equal to 5"),
    Case("no worker", tuned(workers={"min": 0}), "spec.tuning.workers.min", "greater than or equal to 1"),
    Case("no replica in Auto", tuned(replicas={"min": 0}), "spec.tuning.replicas.min", "greater than or equal to 1"),
    Case("no containers", {"template": {"spec": {"containers": []}}}, "spec.template.spec.containers", "at least 1"),
    Case("no container list", {"template": {"spec": {}}}, "spec.template.spec.containers", "Required value"),
    Case(
        "container without a name",
        {"template": {"spec": {"containers": [{"image": "x"}]}}},
        "name",
        "Required value",
    ),
    Case(
        "two containers of one name",
        {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}},
        "spec.template.spec.containers",
        "Duplicate value",
    ),
    Case("anything in the pod", {"template": {"metadata": {"x": 1}, "spec": TEMPLATE["spec"] | {"y": [{"z": None}]}}}),
    Case("adopt something else", {"scaleTargetRef": TARGET | {"kind": "StatefulSet"}}, "kind", "supported values"),
    Case("adopt a long name", {"scaleTargetRef": TARGET | {"name": "a" * 47}}, "spec.scaleTargetRef.name", "Too long"),
    Case("behavior without parts", tuned(replicas={"behavior": {}})),
    Case(
        "behavior of the HPA",
        _behavior(
            stabilizationWindowSeconds=0,
            selectPolicy="Min",
            policies=[
                {"type": "Pods", "value": 4, "periodSeconds": 60},
                {"type": "Percent", "value": 10, "periodSeconds": 60},
            ],
        ),
    ),
    Case("policies empty", _behavior(policies=[]), "scaleUp.policies", "at least 1"),
    Case("unknown field", owned(paws=True), "spec.paws", 'unknown field "spec.paws"'),
    Case("unknown field below", tuned(workers={"maximum": 3}), "spec.tuning.workers.maximum", "unknown field"),
    Case("paused", owned(paused=True, pausedScaleIn=True, pausedScaleOut=False)),
    Case("paused as text", owned(paused="true"), "spec.paused", "must be of type boolean"),
    Case("server", owned(prometheus="main")),
    *(
        Case(f"server {value!r}", owned(prometheus=value), f"spec.prometheus: {LABEL}")
        for value in ("http://x", "Main", "a.b", "-a", "a-", "a\n")
    ),
    Case("server without a name", owned(prometheus=""), "spec.prometheus", "at least 1 chars long"),
    Case("container in capitals", {"scaleTargetRef": TARGET, "container": "A"}, f"spec.container: {LABEL}"),
    Case("adopt by path", {"scaleTargetRef": TARGET | {"name": "a/b"}}, f"spec.scaleTargetRef.name: {LABEL}"),
    Case(
        "container of the template in capitals",
        {"template": {"spec": {"containers": [{"name": "A", "image": "x"}]}}},
        f"spec.template.spec.containers[0].name: {LABEL}",
    ),
)
