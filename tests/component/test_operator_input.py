"""What only the operator can see of a bad input: a condition with the mend, that object holds, all others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from agentscaler.kube.paths import CONFIG_MAPS, DEPLOYMENTS
from e2e.harness.cluster import ControlPlane
from tests.component.operator_service import NAMESPACE, Service, foreign, reference, template
from tests.component.operator_stage import Stage, shared_stage


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


class Bad(NamedTuple):
    """An input, the condition that tells of it, words of the mend, and what mends it."""

    name: str
    spec: dict[str, Any]
    condition: tuple[str, str, str]
    words: tuple[str, ...]
    mend: Callable[[Service], None]


UNTOLD = template(real=False)
UNKNOWN_FIELD = template(real=False)
UNKNOWN_FIELD["spec"]["containers"][0]["imagee"] = "typo"
TAKEN = CONFIG_MAPS.path(NAMESPACE, "taken-settings")


def remove(service: Service, path: str) -> None:
    service.stage.cluster.request("DELETE", path).raise_for_status()


INPUTS = (
    Bad(
        "nowhere",
        {"template": UNTOLD, "prometheus": "nowhere"},
        ("MetricsAvailable", "False", "UnknownPrometheus"),
        ("nowhere", "default"),
        lambda service: service.edit(prometheus="default"),
    ),
    Bad(
        "refused",
        {
            "template": UNTOLD,
            "signals": {
                "overrides": {"inFlight": {"metric": "busy", "kind": "Gauge", "matchers": {"pool": "~(?=x)y"}}}
            },
        },
        ("MetricsAvailable", "False", "QueryRefused"),
        ("invalid or unsupported Perl syntax",),
        lambda service: service.edit(signals=None),
    ),
    Bad(
        "sidecar",
        {"scaleTargetRef": reference("sidecar"), "container": "other"},
        ("Stalled", "True", "ContainerNotFound"),
        ("other", "agent", "correct spec.container"),
        lambda service: service.edit(container="agent"),
    ),
    Bad(
        "typo",
        {"template": UNKNOWN_FIELD},
        ("Stalled", "True", "InvalidTemplate"),
        ("imagee",),
        lambda service: service.edit(template={"spec": {"containers": UNTOLD["spec"]["containers"]}}),
    ),
    Bad(
        "taken",
        {"template": UNTOLD},
        ("Stalled", "True", "NameTaken"),
        ("taken-settings", "delete or rename"),
        lambda service: remove(service, TAKEN),
    ),
    Bad(
        "missing",
        {"scaleTargetRef": reference("missing")},
        ("Stalled", "True", "TargetNotFound"),
        ("missing", "create it"),
        lambda service: service.stage.cluster.apply(foreign("missing", UNTOLD)),
    ),
    Bad(
        "unlimited",
        {"template": template(memory=None)},
        ("MetricsAvailable", "True", "NoMemoryLimit"),
        ("resources.limits.memory",),
        lambda service: service.edit(template=template()),
    ),
)
BY_NAME = {each.name: each for each in INPUTS}


@pytest.fixture(scope="module")
def bad(stage: Stage) -> dict[str, Service]:
    """All of them at once, and beside them what they need."""
    cluster = stage.cluster
    metadata = {"name": "taken-settings", "namespace": NAMESPACE}
    cluster.apply(
        [
            foreign("sidecar", UNTOLD),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mine": "yes"}},
        ]
    )
    good_one(stage)
    return {each.name: stage.service(each.name, **each.spec, tuning={"intervalSeconds": 5}) for each in INPUTS}


def good_one(stage: Stage) -> Service:
    return stage.service("good", tuning={"intervalSeconds": 5, "workers": {"initial": 3}})


@pytest.mark.parametrize("name", BY_NAME)
def test_a_bad_input_is_a_condition_with_reason_and_mend(bad: dict[str, Service], name: str) -> None:
    kind, status, reason = BY_NAME[name].condition
    message = bad[name].until_condition(kind, status, reason)["message"]
    for words in BY_NAME[name].words:
        assert words in message
    if reason != "NoMemoryLimit":
        assert bad[name].condition("Ready")["status"] == "False"


def test_what_is_not_ours_is_left_alone(stage: Stage, bad: dict[str, Service]) -> None:
    bad["taken"].until_condition("Stalled", "True", "NameTaken")
    bad["sidecar"].until_condition("Stalled", "True", "ContainerNotFound")
    stage.until_ticks()
    assert stage.cluster.get(TAKEN)["data"] == {"mine": "yes"}
    assert stage.cluster.get(DEPLOYMENTS.path(NAMESPACE, "sidecar"))["metadata"]["generation"] == 1
    for name in ("typo", "missing"):
        assert stage.cluster.request("GET", DEPLOYMENTS.path(NAMESPACE, name)).status_code == 404


def test_all_others_go_on(stage: Stage, bad: dict[str, Service]) -> None:
    for name, service in bad.items():
        service.until_condition(*BY_NAME[name].condition)
    good = good_one(stage)
    good.until_serving()
    good.until(lambda: good.metric("agent_worker_limit") == [3], "its settings in force")
    good.until_edited(tuning={"replicas": {"min": 2}})
    good.until_serving(2)


def test_what_is_mended_goes_on_without_a_restart(stage: Stage, bad: dict[str, Service]) -> None:
    for name, service in bad.items():
        service.until_condition(*BY_NAME[name].condition)
        BY_NAME[name].mend(service)
    for name, service in bad.items():
        kind, _, reason = BY_NAME[name].condition
        service.until_without(kind, reason)
    for name in ("typo", "missing", "sidecar", "taken"):
        bad[name].until_pods(1)
        bad[name].until(lambda service=bad[name]: service.tuning["generation"] >= 1, "settings")  # type: ignore[misc]  # a loop's own value
    stage.operator.check()
