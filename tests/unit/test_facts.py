from __future__ import annotations

from typing import Any

import pytest

from agentscaler.kube.conflicts import ForeignWriters
from agentscaler.kube.facts import (
    config_map_facts,
    deployment_facts,
    grace_seconds,
    is_finished,
    limits,
    pod_facts,
    selector_text,
    tuning_generation,
)
from agentscaler.kube.live import DeploymentFacts, Live


def deployment(
    generation: int = 1, replicas: int = 1, manager: str = "agentscaler-scale", **parts: Any
) -> dict[str, Any]:
    metadata = {
        "uid": "d",
        "name": "one",
        "namespace": "agents",
        "resourceVersion": str(generation),
        "generation": generation,
        "managedFields": [
            {
                "manager": "kube-controller-manager",
                "subresource": "status",
                "fieldsV1": {"f:status": {"f:replicas": {}}},
            },
            {"manager": manager, "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ],
        **parts.pop("metadata", {}),
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"agentscaler.dev/name": "one"}}, **parts.pop("spec", {})}
    return {"metadata": metadata, "spec": spec, "status": parts.pop("status", {})}


def facts(**options: Any) -> DeploymentFacts:
    return deployment_facts(deployment(**options))


def pod(**status: Any) -> dict[str, Any]:
    metadata = {"uid": "p", "name": "one-1", "namespace": "agents", "creationTimestamp": "1970-01-01T00:01:00Z"}
    return {"metadata": metadata, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        (
            {
                "matchLabels": {"a": "1"},
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["x", "y"]},
                    {"key": "env", "operator": "NotIn", "values": ["z"]},
                    {"key": "p", "operator": "Exists"},
                    {"key": "q", "operator": "DoesNotExist"},
                ],
            },
            "a=1,tier in (x,y),env notin (z),p,!q",
        ),
        ({}, ""),
    ],
)
def test_a_selector_becomes_text(selector: dict[str, Any], text: str) -> None:
    assert selector_text(selector) == text


@pytest.mark.parametrize(
    ("given", "memory", "cpu"),
    [
        ({"memory": "1.5Gi", "cpu": "250m"}, 3 * 2**29, 0.25),
        ({"memory": "128974848", "cpu": "2"}, 128974848, 2.0),
        ({"memory": "much", "cpu": "much"}, None, None),
        ({"memory": "128M"}, 128_000_000, None),
        ({}, None, None),
    ],
)
def test_limits_are_bytes_and_cores(given: dict[str, str], memory: int | None, cpu: float | None) -> None:
    found = limits({"resources": {"limits": given}})
    assert (found.memory_bytes, found.cpu_cores) == (memory, cpu)
    assert limits({}).memory_bytes is None


@pytest.mark.parametrize(("stated", "seconds"), [({}, 30.0), (None, 30.0), (0, 0.0), (600, 600.0), ("soon", 30.0)])
def test_without_a_grace_period_kubernetes_has_half_a_minute(stated: Any, seconds: float) -> None:
    spec = {} if stated == {} else {"terminationGracePeriodSeconds": stated}
    assert grace_seconds(spec) == seconds


@pytest.mark.parametrize(
    ("tuning", "generation"),
    [
        ('{"generation": 7}', 7),
        ('{"generation": "7"}', None),
        ('{"generation": true}', None),
        ("{}", None),
        ("[]", None),
        ("{", None),
        (None, None),
    ],
)
def test_a_broken_tuning_file_has_no_generation(tuning: str | None, generation: int | None) -> None:
    assert tuning_generation(tuning) == generation
    metadata = {"uid": "c", "resourceVersion": "1"}
    found = config_map_facts({"metadata": metadata, "data": {} if tuning is None else {"tuning.json": tuning}})
    assert (found.generation, found.ours, found.tuning) == (generation, False, tuning)


def test_a_deployment_is_owned_only_with_our_label_and_a_controller_of_our_kind() -> None:
    owner = {"apiVersion": "agentscaler.dev/v1alpha1", "kind": "AgentDeployment", "uid": "a", "controller": True}
    labels = {"app.kubernetes.io/managed-by": "agentscaler"}
    assert facts(metadata={"labels": labels, "ownerReferences": [owner]}).owned
    assert facts(metadata={"labels": labels, "ownerReferences": [owner]}).controller == "a"
    assert not facts(metadata={"ownerReferences": [owner]}).owned
    assert not facts(metadata={"labels": labels}).owned
    assert not facts(metadata={"labels": labels, "ownerReferences": [{**owner, "apiVersion": "other/v1"}]}).owned


def test_a_template_change_rolls_out_until_old_pods_are_gone_and_the_controller_has_seen_it() -> None:
    done = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}
    assert not facts(generation=2, replicas=3, status=done).rolling_out
    assert not facts(generation=2, replicas=3, status=done).changing
    assert facts(generation=3, replicas=3, status=done).rolling_out
    assert facts(generation=2, replicas=3, status={**done, "updatedReplicas": 2}).rolling_out
    assert facts(generation=2, replicas=4, status=done).changing
    assert facts(generation=2, replicas=3, status={**done, "readyReplicas": 2}).changing


def test_without_its_pods_a_rollout_counts_no_more_than_its_updated_pods_as_ready() -> None:
    status = {"observedGeneration": 1, "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3}
    assert Live(deployment=facts(replicas=3, status=status)).ready_replicas == 1


def test_a_quota_that_keeps_pods_away_is_named() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    well = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    assert facts(status={"conditions": [well, failure]}).failure == "FailedCreate: exceeded quota: q"
    assert facts(status={"conditions": [late]}).failure == "ProgressDeadlineExceeded: timed out"
    assert facts(status={"conditions": [well]}).failure == ""


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no cpu"}
                ]
            },
            "Unschedulable: no cpu",
        ),
        (
            {"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            "ImagePullBackOff: a",
        ),
        (
            {"initContainerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "again"}}}]},
            "CrashLoopBackOff: again",
        ),
        ({"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, ""),
    ],
)
def test_what_keeps_a_pod_from_coming_is_named(status: dict[str, Any], problem: str) -> None:
    found = pod_facts(pod(**status))
    assert (found.problem, found.ready, found.ready_at) == (problem, False, None)


def test_a_pod_is_ready_since_its_condition_says_so() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:30Z"}
    found = pod_facts(pod(conditions=[ready]))
    assert (found.created_at, found.ready_at) == (60.0, 90.0)
    assert found.pod("agent").ready_at == 90.0


@pytest.mark.parametrize(
    ("ends", "killed_at"),
    [
        ({"lastState": {"reason": "OOMKilled", "finishedAt": "1970-01-01T00:01:30Z"}}, 90.0),
        ({"state": {"reason": "OOMKilled", "finishedAt": "1970-01-01T00:01:30Z"}}, 90.0),
        ({"lastState": {"reason": "Error", "finishedAt": "1970-01-01T00:01:30Z"}}, None),
        (
            {
                "state": {"reason": "Error", "finishedAt": "1970-01-01T00:02:00Z"},
                "lastState": {"reason": "OOMKilled", "finishedAt": "1970-01-01T00:01:30Z"},
            },
            None,
        ),
        ({"lastState": {"reason": "OOMKilled", "finishedAt": None}}, None),
        ({}, None),
    ],
    ids=["runs_again", "not_yet_again", "another_end", "another_end_since", "no_time", "never"],
)
def test_a_kill_for_memory_is_told_for_the_container_that_died(ends: dict[str, Any], killed_at: float | None) -> None:
    states = {name: {"terminated": end} for name, end in ends.items()}
    found = pod_facts(pod(containerStatuses=[{"name": "sidecar"}, {"name": "agent", **states}]))
    assert found.pod("agent").killed_at == killed_at
    assert found.pod("sidecar").killed_at is None


def test_evicted_pods_count_for_nothing() -> None:
    assert is_finished(pod(phase="Failed"))
    assert is_finished(pod(phase="Succeeded"))
    assert not is_finished(pod(phase="Running"))


def test_mounts_are_found_in_volumes_and_projections() -> None:
    pod_spec = {
        "volumes": [
            {"name": "plain", "configMap": {"name": "one-settings"}},
            {"name": "projected", "projected": {"sources": [{"secret": {}}, {"configMap": {"name": "two-settings"}}]}},
            {"name": "empty", "emptyDir": {}},
        ],
        "containers": [
            {"name": "a", "volumeMounts": [{"name": "plain"}, {"name": "empty"}]},
            {"name": "b", "volumeMounts": [{"name": "projected"}]},
            {"name": "c"},
        ],
    }
    assert facts(spec={"template": {"spec": pod_spec}}).mounts == {("a", "one-settings"), ("b", "two-settings")}


class TestForeignWriters:
    """Two foreign writes within ten minutes are a conflict; our own and old ones are none."""

    def test_what_stood_at_first_sight_counts_for_nothing(self) -> None:
        writers = ForeignWriters()
        assert writers.conflict("a", facts(generation=3, replicas=5, manager="kubectl"), 0) is None
        assert writers.conflict("a", facts(generation=4, replicas=6, manager="kubectl"), 10) is None

    def test_two_within_the_window_are_a_conflict_that_ends_when_they_are_old(self) -> None:
        writers = ForeignWriters()
        writers.conflict("a", facts(generation=1, replicas=1), 0)
        assert writers.conflict("a", facts(generation=2, replicas=5, manager="argocd"), 10) is None
        conflict = writers.conflict("a", facts(generation=3, replicas=4, manager="kubectl"), 600)
        assert conflict is not None
        assert "argocd and kubectl" in conflict.message
        assert writers.conflict("a", facts(generation=3, replicas=4, manager="kubectl"), 611) is None

    def test_a_size_that_is_put_back_at_once_is_noticed(self) -> None:
        writers = ForeignWriters()
        writers.conflict("a", facts(generation=1, replicas=3, manager="argocd"), 0)
        conflict = None
        for turn in (1, 2):
            writers.scaled("a", 7)
            conflict = writers.conflict("a", facts(generation=1 + 2 * turn, replicas=3, manager="argocd"), 10.0 * turn)
        assert conflict is not None

    def test_a_list_older_than_our_write_is_not_taken_for_a_foreign_one(self) -> None:
        writers = ForeignWriters()
        writers.conflict("a", facts(generation=1, replicas=3, manager="argocd"), 0)
        for moment in range(5):
            writers.scaled("a", 7)
            assert writers.conflict("a", facts(generation=1, replicas=3, manager="argocd"), moment) is None
        assert writers.conflict("a", facts(generation=2, replicas=7), 9) is None

    def test_a_foreign_change_of_the_template_is_not_one_of_the_size(self) -> None:
        writers = ForeignWriters()
        for generation in range(1, 6):
            assert writers.conflict("a", facts(generation=generation, replicas=3, manager="helm"), generation) is None

    def test_a_deployment_made_anew_starts_anew(self) -> None:
        writers = ForeignWriters()
        writers.conflict("a", facts(generation=1, replicas=1), 0)
        writers.conflict("a", facts(generation=2, replicas=2, manager="x"), 1)
        assert writers.conflict("a", facts(generation=3, replicas=3, manager="x", metadata={"uid": "e"}), 2) is None
