"""The CRD on a real API server: what it refuses, what it accepts, and what kubectl shows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from agentscaler.api.crd import API_VERSION, KIND, NAME, PLURAL, render
from agentscaler.api.rules import VALIDATIONS
from agentscaler.api.spec import SpecError, parse_spec
from agentscaler.api.status import AgentDeploymentStatus
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.api_corpus import CASES, TARGET, Case, owned, tuned

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from e2e.harness.cluster import ControlPlane

STRICT = {"fieldValidation": "Strict"}


def path(namespace: str, name: str = "", subresource: str = "") -> str:
    parts = ["/apis", API_VERSION, "namespaces", namespace, PLURAL, name, subresource]
    return "/".join(part for part in parts if part)


def manifest(spec: dict[str, Any], name: str = "sample") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def post(
    cluster: ControlPlane, namespace: str, spec: dict[str, Any], name: str = "sample", **params: str
) -> requests.Response:
    return cluster.request("POST", path(namespace), manifest(spec, name), params=STRICT | params)


def put_spec(cluster: ControlPlane, namespace: str, spec: dict[str, Any], name: str = "sample") -> requests.Response:
    live = cluster.get(path(namespace, name))
    return cluster.request("PUT", path(namespace, name), live | {"spec": spec}, params=STRICT)


def reason(answer: requests.Response) -> str:
    """The API server's message; it writes keys of maps as `[key]`, the models as `.key`."""
    return re.sub(r"\[([a-z]\w*)\]", r".\1", answer.json()["message"])


def stored(cluster: ControlPlane, namespace: str) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.get(path(namespace))["items"]]


@pytest.fixture(scope="module")
def shelf(cluster: ControlPlane) -> str:
    """One namespace for all specs that must leave nothing behind."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crd-shelf"}}
    cluster.request("POST", "/api/v1/namespaces", body).raise_for_status()
    return "crd-shelf"


def rules_in(schema: Any) -> Iterator[dict[str, str]]:
    if isinstance(schema, dict):
        yield from schema.get(VALIDATIONS, ())
        for value in schema.values():
            yield from rules_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from rules_in(value)


def test_the_crd_is_established_and_its_names_are_accepted(cluster: ControlPlane) -> None:
    live = cluster.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}")
    conditions = {condition["type"]: condition["status"] for condition in live["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    assert live["status"]["acceptedNames"]["shortNames"] == ["agd"]


def test_the_api_server_stores_the_schema_as_it_is_generated(cluster: ControlPlane) -> None:
    live = cluster.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}")
    assert live["spec"]["versions"][0]["schema"] == render()["spec"]["versions"][0]["schema"]


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is None], ids=lambda case: case.name)
def test_a_good_spec_is_accepted_by_both(cluster: ControlPlane, shelf: str, case: Case) -> None:
    answer = post(cluster, shelf, case.spec, dryRun="All")
    assert answer.status_code == 201, reason(answer)
    parse_spec(case.spec)


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is not None], ids=lambda case: case.name)
def test_a_bad_spec_is_refused_by_both_with_the_field_and_the_mend(
    cluster: ControlPlane, shelf: str, case: Case
) -> None:
    assert case.refused is not None
    answer = post(cluster, shelf, case.spec)
    assert answer.status_code in {400, 422}, answer.text
    field, _, mend = case.refused.partition(": ")
    assert field in reason(answer)
    assert (case.server_only or mend) in reason(answer)
    assert stored(cluster, shelf) == []
    with pytest.raises(SpecError) as refusal:
        parse_spec(case.spec)
    assert case.refused in str(refusal.value)


def test_every_rule_of_the_crd_is_refused_by_a_case() -> None:
    rules = list(rules_in(render()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]))
    transitions = {rule["message"] for rule in rules if "oldSelf" in rule["rule"]}
    refused = [case.refused.partition(": ")[2] for case in CASES if case.refused is not None]
    missing = {
        rule["message"] for rule in rules if not any(mend and rule["message"].startswith(mend) for mend in refused)
    }
    assert len(rules) > 30
    assert missing == transitions


@pytest.mark.parametrize(
    ("name", "message"),
    [("a" * 47, "metadata.name must have at most 46 characters"), ("a.b", "metadata.name must be a DNS label")],
)
def test_a_name_that_pods_cannot_carry_is_refused(
    cluster: ControlPlane, namespace: str, name: str, message: str
) -> None:
    answer = post(cluster, namespace, owned(), name)
    assert answer.status_code == 422
    assert "metadata.name: Invalid value" in reason(answer)
    assert message in reason(answer)
    assert stored(cluster, namespace) == []


@pytest.mark.parametrize("name", ["a" * 46, "0-a", "a"])
def test_a_name_that_pods_can_carry_is_accepted(cluster: ControlPlane, namespace: str, name: str) -> None:
    assert post(cluster, namespace, owned(), name).status_code == 201
    assert stored(cluster, namespace) == [name]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {"scaleTargetRef": TARGET},
            {"scaleTargetRef": TARGET | {"name": "another"}},
            "spec.scaleTargetRef: Invalid value",
        ),
        ({"scaleTargetRef": TARGET}, owned(), "template and scaleTargetRef cannot be exchanged: delete this object"),
        (owned(), {"scaleTargetRef": TARGET}, "template and scaleTargetRef cannot be exchanged: delete this object"),
    ],
)
def test_the_target_cannot_be_changed(
    cluster: ControlPlane, namespace: str, before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    post(cluster, namespace, before).raise_for_status()
    answer = put_spec(cluster, namespace, after)
    assert answer.status_code == 422
    assert message in reason(answer)
    assert cluster.get(path(namespace, "sample"))["spec"] == before | {"replicas": 1}


def test_an_edit_that_keeps_the_target_is_accepted(cluster: ControlPlane, namespace: str) -> None:
    post(cluster, namespace, {"scaleTargetRef": TARGET}).raise_for_status()
    assert put_spec(cluster, namespace, {"scaleTargetRef": TARGET, "paused": True}).status_code == 200


def test_replicas_is_the_only_value_that_the_api_server_fills_in(cluster: ControlPlane, namespace: str) -> None:
    spec = tuned(replicas={}, cache={"ttlSeconds": {}}, circuitBreaker={}) | {"objectives": {}, "signals": {}}
    post(cluster, namespace, spec).raise_for_status()
    assert cluster.get(path(namespace, "sample"))["spec"] == spec | {"replicas": 1}


def test_the_template_is_stored_untouched(cluster: ControlPlane, namespace: str) -> None:
    template = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}, "creationTimestamp": None},
        "spec": {
            "containers": [{"name": "agent", "image": "x", "resources": {"limits": {"memory": "1Gi", "cpu": 0.5}}}],
            "initContainers": [{"name": "first", "image": "x"}],
            "terminationGracePeriodSeconds": 600,
        },
    }
    post(cluster, namespace, {"template": template}).raise_for_status()
    live = cluster.get(path(namespace, "sample"))["spec"]
    spec = parse_spec(live)
    assert spec.template is not None
    assert spec.template.as_dict() == live["template"] == template


def test_scale_reads_and_writes_the_size(cluster: ControlPlane, namespace: str) -> None:
    post(cluster, namespace, owned()).raise_for_status()
    scale = cluster.get(path(namespace, "sample", "scale"))
    assert scale["spec"] == {"replicas": 1}
    scale["spec"]["replicas"] = 7
    cluster.request("PUT", path(namespace, "sample", "scale"), scale).raise_for_status()
    assert cluster.get(path(namespace, "sample"))["spec"]["replicas"] == 7
    cluster.kubectl("scale", "agd/sample", "--replicas=3", f"--namespace={namespace}")
    assert cluster.get(path(namespace, "sample"))["spec"]["replicas"] == 3


def test_scale_beyond_the_bound_is_refused(cluster: ControlPlane, namespace: str) -> None:
    post(cluster, namespace, owned()).raise_for_status()
    scaled = cluster.kubectl("scale", "agd/sample", "--replicas=1001", f"--namespace={namespace}", check=False)
    assert scaled.returncode != 0
    assert "spec.replicas" in scaled.stderr
    assert cluster.get(path(namespace, "sample"))["spec"]["replicas"] == 1


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Available",
            "message": "All is well.",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "replicas": 4,
    "readyReplicas": 3,
    "selector": "agentscaler.dev/name=sample",
    "settings": {
        "generation": 7,
        "replicas": 4,
        "workers": 12,
        "cache": {"size": "256Mi", "ttlSeconds": 600},
        "circuitBreaker": {
            "failureRateThresholdPercent": 50,
            "waitDurationInOpenStateSeconds": 30,
            "slidingWindowSeconds": 60,
            "minimumNumberOfCalls": 10,
            "permittedCallsInHalfOpenState": 2,
        },
    },
    "recommended": {"workers": 13},
    "effective": {"tuning": {"intervalSeconds": 15}, "pausedScaleIn": False},
    "appliedGeneration": 7,
    "signals": [
        {"name": "queueWait", "value": "0.12", "health": "Fresh", "observedAt": "2026-01-01T00:00:00Z"},
        {"name": "latency", "health": "Empty"},
    ],
    "diagnosis": "WorkerBound",
    "lastDecision": {"at": "2026-01-01T00:00:00Z", "reason": "Burst", "summary": "workers 8 to 12: a burst."},
    "records": [
        {
            "at": "2026-01-01T00:00:00Z",
            "reason": "Burst",
            "summary": "workers 8 to 12: a burst.",
            "from": {"workers": 8},
            "to": {"workers": 12},
        }
    ],
    "memory": {"learned": {"serviceSeconds": 10.5, "list": [1, 2.5]}},
    "lastRestartTime": "2026-01-01T00:00:00Z",
}


def write_status(cluster: ControlPlane, namespace: str, status: dict[str, Any]) -> requests.Response:
    return cluster.request(
        "PATCH", path(namespace, "sample", "status"), {"status": status}, "application/merge-patch+json", STRICT
    )


def test_status_is_stored_whole_and_read_by_the_models(cluster: ControlPlane, namespace: str) -> None:
    post(cluster, namespace, owned()).raise_for_status()
    answer = write_status(cluster, namespace, STATUS)
    assert answer.status_code == 200, reason(answer)
    live = cluster.get(path(namespace, "sample"))["status"]
    assert live == STATUS
    assert AgentDeploymentStatus.model_validate(live).model_dump(by_alias=True, exclude_none=True, mode="json") == live


def test_an_unknown_status_field_is_refused(cluster: ControlPlane, namespace: str) -> None:
    post(cluster, namespace, owned()).raise_for_status()
    answer = write_status(cluster, namespace, STATUS | {"desired": 3})
    assert answer.status_code in {400, 422}
    assert "status.desired" in reason(answer)


def test_get_tells_whether_it_is_fine_and_why_it_moved(cluster: ControlPlane, namespace: str) -> None:
    post(cluster, namespace, owned()).raise_for_status()
    write_status(cluster, namespace, STATUS).raise_for_status()
    wide = cluster.kubectl("get", "agd", f"--namespace={namespace}", "--output=wide").stdout.splitlines()
    assert " ".join(wide[0].split()) == "NAME READY STATUS REPLICAS WORKERS CACHE DIAGNOSIS REASON AGE SUMMARY"
    assert wide[1].split()[:8] == ["sample", "True", "Available", "4", "12", "256Mi", "WorkerBound", "Burst"]
    assert wide[1].endswith("workers 8 to 12: a burst.")
    everything = cluster.kubectl("get", "all", f"--namespace={namespace}").stdout
    assert "agentdeployment.agentscaler.dev/sample" in everything
    selector = json.loads(cluster.kubectl("get", "--raw", path(namespace, "sample", "scale")).stdout)["status"]
    assert selector == {"replicas": 4, "selector": "agentscaler.dev/name=sample"}


def test_explain_tells_the_meaning_of_a_field(cluster: ControlPlane) -> None:
    def told() -> bool:
        return "Smallest cache" in cluster.kubectl("explain", "agd.spec.tuning.cache.min", check=False).stdout

    wait_until(told, PATIENCE_SECONDS, "the meaning: OpenAPI follows a CRD after a while")
