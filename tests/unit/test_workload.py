"""The objects that are made of a resource."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agentscaler.kube import workload
from agentscaler.kube.store import Record, project

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "mine"}, "annotations": {"a": "b"}},
    "spec": {"containers": [{"name": "side", "image": "s:1"}, {"name": "agent", "image": "a:1"}]},
}


def record(template: dict[str, Any] = TEMPLATE, **spec: Any) -> Record:
    return project(
        {
            "metadata": {"uid": "u1", "namespace": "ns", "name": "one", "generation": 3, "resourceVersion": "5"},
            "spec": {"template": template, **spec},
        }
    )


def pod_of(made: dict[str, Any]) -> dict[str, Any]:
    return dict(made["spec"]["template"]["spec"])


def test_the_settings_are_mounted_into_the_container_that_is_named() -> None:
    containers = pod_of(workload.deployment(record(container="agent")))["containers"]
    assert "volumeMounts" not in containers[0]
    assert containers[1]["volumeMounts"] == [{"name": "agentscaler-settings", "mountPath": "/etc/agentscaler"}]


def test_without_a_name_it_is_the_first_container() -> None:
    assert "volumeMounts" in pod_of(workload.deployment(record()))["containers"][0]


def test_the_users_template_is_left_as_it_is() -> None:
    template = copy.deepcopy(TEMPLATE)
    made = workload.deployment(record(template))["spec"]["template"]
    assert template == TEMPLATE
    assert made["metadata"]["labels"] == {"app": "mine", "agentscaler.dev/name": "one"}
    assert made["metadata"]["annotations"] == {"a": "b"}


def test_a_mount_of_the_users_own_is_not_doubled() -> None:
    mounted = {"name": "mine", "mountPath": "/etc/agentscaler/"}
    template = {"spec": {"containers": [{"name": "agent", "image": "a:1", "volumeMounts": [mounted]}]}}
    pod = pod_of(workload.deployment(record(template)))
    assert pod["containers"][0]["volumeMounts"] == [mounted]
    assert "volumes" not in pod


def test_later_applies_carry_no_replicas() -> None:
    assert workload.deployment(record(), replicas=0)["spec"]["replicas"] == 0
    assert "replicas" not in workload.deployment(record())["spec"]


def test_it_is_controlled_by_the_object() -> None:
    (owner,) = workload.deployment(record())["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("AgentDeployment", "one", "u1", True)


def test_settings_of_an_adopted_target_hang_on_it_without_being_controlled() -> None:
    made = workload.config_map(record(), workload.adopted_owner("theirs", "d1"), {"tuning.json": '{"generation":1}'})
    assert made["metadata"]["name"] == "one-settings"
    assert made["data"] == {"tuning.json": '{"generation":1}'}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Deployment", "d1")
    assert "controller" not in owner


@pytest.mark.parametrize("spec", [{"replicas": 7}, {"tuning": {"replicas": {"max": 9}}}, {"paused": True}])
def test_what_is_not_of_the_template_does_not_change_its_hash(spec: dict[str, Any]) -> None:
    assert workload.template_hash(record(**spec), None) == workload.template_hash(record(), None)


def test_template_container_and_restarts_change_its_hash() -> None:
    changed = copy.deepcopy(TEMPLATE)
    changed["spec"]["containers"][0]["image"] = "s:2"
    hashes = {
        workload.template_hash(record(), None),
        workload.template_hash(record(changed), None),
        workload.template_hash(record(container="agent"), None),
        workload.template_hash(record(), 4),
    }
    assert len(hashes) == 4


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    turned = {"spec": TEMPLATE["spec"], "metadata": TEMPLATE["metadata"]}
    assert workload.template_hash(record(turned), None) == workload.template_hash(record(), None)


def test_what_we_inject_is_not_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = workload.template_hash(record(), None)
    monkeypatch.setattr(workload, "SETTINGS_VOLUME", "other")
    assert workload.template_hash(record(), None) == before


def test_a_restart_is_in_the_pod_template() -> None:
    made = workload.deployment(record(), restart_generation=4, restarted_at=1000)
    assert made["spec"]["template"]["metadata"]["annotations"]["agentscaler.dev/settings-generation"] == "4"
    assert made["metadata"]["annotations"]["agentscaler.dev/restarted-at"] == "1000"
