"""The whole operator while parts of the world are taken away: itself, the API server, the series, Prometheus."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from e2e.harness.cluster import ControlPlane
from e2e.harness.process import PATIENCE_SECONDS, wait_until
from tests.component.operator_proxy import Fault
from tests.component.operator_service import NAMESPACE
from tests.component.operator_stage import Stage, growing, shared_stage

KILLS = 5
LEAST_LIFE_SECONDS, MOST_LIFE_SECONDS = 0.5, 3.0
SPIKE = 6.0


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, cluster: ControlPlane) -> Iterator[Stage]:
    yield from shared_stage(request, cluster)


def test_an_operator_killed_five_times_in_a_spike_ends_at_full_capacity_and_never_takes_any(stage: Stage) -> None:
    service = growing(stage, "killed", prometheus=Fault.FAILING)
    growing(stage, "spiky")
    service.until_serving()
    since = time.time()
    moments = random.Random(since)
    service.load(SPIKE)
    for _ in range(KILLS):
        killed_at = time.time() + moments.uniform(LEAST_LIFE_SECONDS, MOST_LIFE_SECONDS)
        wait_until(lambda at=killed_at: time.time() >= at, MOST_LIFE_SECONDS + 1, "the moment of the kill")  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
        stage.operator.kill()
        stage.operator.start()
    service.until_size(3)
    service.until_serving(3)
    seen = service.seen(since)
    sizes, capacities = [each.replicas for each in seen], [each.replicas * each.workers for each in seen]
    assert sizes[0] == 1
    assert sizes == sorted(sizes), f"seed {since}"
    assert capacities == sorted(capacities), f"seed {since}"
    service.until(
        lambda: service.metric("agent_tuning_applied_generation") == [service.tuning["generation"]] * 3,
        "one generation",
    )
    service.load(1)


def test_a_spike_puts_workers_in_force_and_patches_replicas(stage: Stage) -> None:
    service = growing(stage, "spiky")
    service.until_serving()
    service.until(lambda: (service.replicas, service.metric("agent_worker_limit")) == (1, [2]), "the first settings")
    service.load(SPIKE)
    service.until(lambda: service.tuning["workers"]["maxConcurrent"] > 2, "more workers in tuning.json")
    service.until(lambda: any(limit > 2 for limit in service.metric("agent_worker_limit")), "more workers in force")
    service.until_size(3)
    service.until_serving(3)
    decided = service.status["records"]
    assert any(each.get("to", {}).get("replicas", 0) > 1 for each in decided)
    assert any(each.get("to", {}).get("workers", 0) > 2 for each in decided)


def test_an_api_server_that_was_away_costs_nothing_and_edits_are_followed_again(stage: Stage) -> None:
    service = growing(stage, "spiky")
    service.until_condition("Ready", "True")
    before, name = service.seen()[-1], "agentscaler_kube_request_failures_total"
    failures = stage.operator_metric(name)
    stage.cluster.apiserver.kill()
    try:
        wait_until(lambda: stage.operator_metric(name) > failures, PATIENCE_SECONDS, "a failed request")
    finally:
        stage.cluster.apiserver.start()
        stage.cluster.wait_ready()
    service.until_edited(tuning={"workers": {"max": 9}})
    stage.operator.check()
    after = service.seen()[-1]
    assert after.replicas >= before.replicas
    assert after.workers >= before.workers


def test_nothing_shrinks_while_series_and_then_prometheus_are_gone_though_the_load_falls(stage: Stage) -> None:
    service = growing(stage, "spiky")
    service.until_condition("Ready", "True")
    service.load(SPIKE)
    service.until_size(3)
    service.until_serving(3)
    since = time.time()
    stage.fleet.hide(NAMESPACE, "spiky-")
    service.load(0)
    service.until_condition("MetricsAvailable", "False")
    service.until_condition("ScalingActive", "False", "HoldingUnknown")
    stage.prometheus.process.kill()
    try:
        service.until_condition("MetricsAvailable", "False", "QueryFailed")
    finally:
        stage.fleet.show()
        stage.prometheus.start()
    service.until_condition("MetricsAvailable", "True")
    service.until_condition("ScalingActive", "True")
    stage.operator.check()
    seen = service.seen(since)
    assert {each.replicas for each in seen} == {3}
    assert [each.workers for each in seen] == sorted(each.workers for each in seen)
    # What happens when the window has passed is seen in test_operator_patience.
    service.until_edited(pausedScaleIn=True)
