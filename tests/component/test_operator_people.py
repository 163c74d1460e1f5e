"""What people and other controllers do to the size: kubectl scale, adoption, an HPA, a second AgentDeployment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
import requests

from agentscaler.kube.paths import AGENT_DEPLOYMENTS, CONFIG_MAPS, PODS
from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.operator_service import NAMESPACE, Service, foreign, reference, template
from tests.component.operator_stage import Stage, contested, shared_stage

PLAYED = template(real=False)
"""Pods without a process: nothing is known of them, so that sizes move by order only."""


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


def mounted(name: str) -> dict[str, Any]:
    """A foreign pod template that mounts the settings of the AgentDeployment of that name."""
    pod = template()
    pod["spec"]["volumes"] = [{"name": "s", "configMap": {"name": f"{name}-settings", "optional": True}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "s", "mountPath": "/etc/agentscaler"}]
    return pod


def scale(stage: Stage, what: str, replicas: int) -> None:
    stage.cluster.kubectl("scale", what, "-n", NAMESPACE, f"--replicas={replicas}")


class Services(NamedTuple):
    """All of this module at once: while one is looked at, the others come up."""

    auto: Service
    off: Service
    below: Service
    adopter: Service
    bare: Service
    older: Service


@pytest.fixture(scope="module", autouse=True)
def services(stage: Stage) -> Services:
    stage.cluster.apply([foreign("theirs", mounted("adopter")), foreign("bare", template()), foreign("shared", PLAYED)])

    def sized(name: str, mode: str) -> Service:
        tuning = {"intervalSeconds": 5, "replicas": {"mode": mode, "min": 1, "max": 9}}
        return stage.service(name, template=PLAYED, tuning=tuning)

    def adopting(name: str, target: str, **tuning: Any) -> Service:
        tuning = {"intervalSeconds": 5, "replicas": {"min": 2, "max": 9}, **tuning}
        return stage.service(name, target=target, scaleTargetRef=reference(target), tuning=tuning)

    contested(stage)
    return Services(
        auto=sized("scaled-auto", "Auto"),
        off=sized("scaled-off", "Off"),
        below=sized("scaled-below", "Auto"),
        adopter=adopting("adopter", "theirs", workers={"min": 3, "max": 3}),
        bare=adopting("bare", "bare"),
        older=adopting("older", "shared"),
    )


def test_an_hpa_on_the_target_is_named_and_not_fought(stage: Stage) -> None:
    service = contested(stage)
    message = service.until_condition("Conflict", "True", "ForeignAutoscaler")["message"]
    assert f"HorizontalPodAutoscaler {NAMESPACE}/rival" in message
    assert "delete it" in message
    service.until_edited(tuning={"replicas": {"min": 4}})
    service.until_decided()
    assert max(each.replicas for each in service.seen()) <= 2
    # What happens when it goes is seen in test_operator_patience.


def test_kubectl_scale_of_the_object_sets_the_size_and_zero_means_zero(stage: Stage, services: Services) -> None:
    both = (services.auto, services.off)
    for service in both:
        service.until_pods(1)
    for replicas in (4, 0, 2):
        for service in both:
            scale(stage, f"agd/{service.name}", replicas)
        for service in both:
            service.until_size(replicas)
            service.until_pods(replicas)
    for service in both:
        assert service.condition("Conflict")["status"] == "False"


def test_one_kubectl_scale_of_the_deployment_is_taken_as_the_size(stage: Stage, services: Services) -> None:
    service = services.below
    service.until_pods(1)
    scale(stage, "deployment/scaled-below", 5)
    service.until_pods(5)
    service.until_decided()
    assert service.replicas == 5
    service.until(lambda: service.status["settings"]["replicas"] == 5, "the size in status")
    assert service.condition("Conflict")["status"] == "False"


def test_an_adopted_deployment_is_tuned_and_outlives_its_agent_deployment(stage: Stage, services: Services) -> None:
    service = services.adopter
    service.until_serving(2)
    service.until(lambda: service.metric("agent_worker_limit") == [3, 3], "workers in force")
    service.until_condition("Delivered", "True")
    pods = {pod["metadata"]["uid"] for pod in stage.cluster.get(PODS.path(NAMESPACE))["items"]}
    before = service.deployment
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(NAMESPACE, "adopter")).raise_for_status()
    path = AGENT_DEPLOYMENTS.path(NAMESPACE, "adopter")
    wait_until(
        lambda: stage.cluster.request("GET", path).status_code == 404, PATIENCE_SECONDS, "the AgentDeployment gone"
    )
    stage.until_ticks()
    assert service.deployment["spec"] == before["spec"]
    assert pods & {pod["metadata"]["uid"] for pod in stage.cluster.get(PODS.path(NAMESPACE))["items"]}
    assert service.tuning["workers"]["maxConcurrent"] == 3
    owners = stage.cluster.get(CONFIG_MAPS.path(NAMESPACE, "adopter-settings"))["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [before["metadata"]["uid"]]
    service.until(lambda: service.metric("agent_worker_limit") == [3, 3], "workers still in force")
    for url in service.urls().values():
        assert requests.post(f"{url}/run", json={}, timeout=PATIENCE_SECONDS).status_code == 200


def test_an_adopted_deployment_without_the_mount_is_scaled_and_told_what_to_add(services: Services) -> None:
    service = services.bare
    message = service.until_condition("Delivered", "False", "NotMounted")["message"]
    assert "configMap: {name: bare-settings, optional: true}" in message
    assert "mountPath: /etc/agentscaler" in message
    service.until_size(2)
    service.until(lambda: len(service.urls()) == 2, "two ready agents")
    assert service.deployment["spec"]["template"]["spec"].get("volumes") is None


def test_of_two_on_one_target_the_newer_yields_and_follows_when_the_older_goes(
    stage: Stage, services: Services
) -> None:
    older = services.older
    older.until_size(2)
    created = datetime.fromisoformat(older.body["metadata"]["creationTimestamp"])
    wait_until(
        lambda: datetime.now(UTC) - created > timedelta(seconds=1),
        PATIENCE_SECONDS,
        "another second, in which ages count",
    )
    newer = stage.service(
        "newer", target="shared", scaleTargetRef=reference("shared"), tuning={"replicas": {"min": 6, "max": 9}}
    )
    message = newer.until_condition("Conflict", "True", "TargetShared")["message"]
    assert f"AgentDeployment {NAMESPACE}/older came first" in message
    assert "delete one of the two" in message
    older.until_edited(tuning={"replicas": {"min": 3}})
    older.until_size(3)
    assert max(each.replicas for each in older.seen()) <= 3
    stage.cluster.request("DELETE", AGENT_DEPLOYMENTS.path(NAMESPACE, "older")).raise_for_status()
    newer.until_size(6)
    newer.until_condition("Conflict", "False")
