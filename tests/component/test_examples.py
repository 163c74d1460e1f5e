"""Every manifest in examples/ is taken by a real API server as it stands, and says what its comments say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agentscaler.api.crd import API_VERSION, KIND, PLURAL, render
from agentscaler.api.reference import leaves
from agentscaler.api.spec import AgentDeploymentSpec, parse_spec
from agentscaler.core.policy import Mode
from agentscaler.frameworks.effective import effective

if TYPE_CHECKING:
    from e2e.harness.cluster import ControlPlane

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(
    file
    for file in EXAMPLES.glob("*.yaml")
    if any(document["kind"] == KIND for document in yaml.safe_load_all(file.read_text()))
)


def documents(file: Path, kind: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document["kind"] == kind]


def spec_of(name: str) -> AgentDeploymentSpec:
    return parse_spec(documents(EXAMPLES / name, KIND)[0]["spec"])


def given(value: Any, path: str) -> set[str]:
    """Paths of the values in a manifest."""
    if isinstance(value, dict):
        return {leaf for key, below in value.items() for leaf in given(below, f"{path}.{key}")}
    if isinstance(value, list):
        return {leaf for below in value for leaf in given(below, f"{path}[]")}
    return {path}


def test_there_are_examples_to_test() -> None:
    assert {file.name for file in FILES} >= {"minimal.yaml", "every-field.yaml", "adopt.yaml", "recommend-only.yaml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_is_applied_as_it_stands(cluster: ControlPlane, namespace: str, file: Path) -> None:
    cluster.kubectl("apply", f"--namespace={namespace}", "--validate=strict", f"--filename={file}")
    for document in documents(file, KIND):
        name = document["metadata"]["name"]
        live = cluster.get(f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}")
        assert live["spec"] == {"replicas": 1} | document["spec"]
        effective(parse_spec(live["spec"]))
    for document in documents(file, "Deployment"):
        cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{document['metadata']['name']}")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_pods_of_an_example_are_valid(cluster: ControlPlane, namespace: str, file: Path) -> None:
    for document in documents(file, KIND):
        template = document["spec"].get("template")
        if template is None:
            continue
        labels = {"app": document["metadata"]["name"]}
        metadata = template.get("metadata", {})
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": document["metadata"]["name"]},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": template | {"metadata": metadata | {"labels": metadata.get("labels", {}) | labels}},
            },
        }
        params = {"dryRun": "All", "fieldValidation": "Strict"}
        answer = cluster.request("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body, params=params)
        assert answer.status_code == 201, answer.text


def test_every_field_is_shown() -> None:
    schema = render()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    shown: set[str] = set()
    for name in ("every-field.yaml", "adopt.yaml", "agentflow.yaml"):
        shown |= given(documents(EXAMPLES / name, KIND)[0]["spec"], "spec")
    shown = {path.replace(".overrides.latency.", ".overrides.*.") for path in shown}
    maps = {path for path, field in leaves(schema, "spec") if "additionalProperties" in field}
    missing = {
        path
        for path, _ in leaves(schema, "spec")
        if path not in shown and not (path in maps and any(each.startswith(f"{path}.") for each in shown))
    }
    assert missing == set()


def test_the_adopted_deployment_mounts_the_settings_of_its_agent_deployment() -> None:
    file = EXAMPLES / "adopt.yaml"
    (deployment,), (agent,) = documents(file, "Deployment"), documents(file, KIND)
    assert agent["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    pod = deployment["spec"]["template"]["spec"]
    volume = {"name": f"{agent['metadata']['name']}-settings", "optional": True}
    assert [each["configMap"] for each in pod["volumes"]] == [volume]
    (container,) = [each for each in pod["containers"] if each["name"] == agent["spec"]["container"]]
    assert container["volumeMounts"] == [{"name": pod["volumes"][0]["name"], "mountPath": "/etc/agentscaler"}]


def test_recommend_only_lets_no_knob_act() -> None:
    policy = effective(spec_of("recommend-only.yaml"))
    modes = {policy.replicas.mode, policy.workers.mode, policy.cache.mode, policy.breaker.mode}
    assert modes == {Mode.RECOMMEND}


def test_the_minimal_example_lets_every_knob_act() -> None:
    policy = effective(spec_of("minimal.yaml"))
    modes = {policy.replicas.mode, policy.workers.mode, policy.cache.mode, policy.breaker.mode}
    assert modes == {Mode.AUTO}
