"""What the models take and refuse. The same corpus goes to a real API server in tests/component/test_crd.py."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from agentscaler.api import values
from agentscaler.api.conditions import ConditionType
from agentscaler.api.spec import SpecError, parse_spec
from agentscaler.api.status import AgentDeploymentStatus, SignalStatus
from agentscaler.core.observation import Health
from agentscaler.core.policy import Mode
from tests.api_corpus import CASES, Case, owned, tuned


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is None], ids=lambda case: case.name)
def test_a_good_spec_is_read(case: Case) -> None:
    read = parse_spec(case.spec)
    assert read.model_dump(by_alias=True, exclude_unset=True, mode="json") == case.spec


@pytest.mark.parametrize("case", [case for case in CASES if case.refused is not None], ids=lambda case: case.name)
def test_a_bad_spec_is_refused_with_the_field_and_the_mend(case: Case) -> None:
    assert case.refused is not None
    with pytest.raises(SpecError) as refusal:
        parse_spec(case.spec)
    assert case.refused in str(refusal.value)


def test_names_of_corpus_cases_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SpecError) as refusal:
        parse_spec(owned(replicas=-1, tuning={"workers": {"min": 0}}, paws=True))
    assert str(refusal.value) == (
        "spec.replicas: Input should be greater than or equal to 0; "
        "spec.tuning.workers.min: Input should be greater than or equal to 1; "
        "spec.paws: Extra inputs are not permitted: remove it or correct its name"
    )


def test_an_entry_of_a_list_is_named_by_its_place() -> None:
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 1}, {"type": "Pods", "value": 1, "periodSeconds": 0}]
    with pytest.raises(SpecError, match=r"spec\.tuning\.replicas\.behavior\.scaleUp\.policies\[1\]\.periodSeconds"):
        parse_spec(tuned(replicas={"behavior": {"scaleUp": {"policies": policies}}}))


def test_a_spec_cannot_be_changed() -> None:
    spec = parse_spec(owned())
    with pytest.raises(ValidationError, match="frozen"):
        spec.replicas = 2  # type: ignore[misc]  # that is the point


def test_a_template_comes_back_as_it_was_written() -> None:
    template = {
        "metadata": {"labels": {}, "creationTimestamp": None, "finalizers": ["a"]},
        "spec": {"containers": [{"name": "a", "snake_case": 1, "env": [{"name": "A"}]}], "hostNetwork": False},
    }
    spec = parse_spec({"template": template})
    assert spec.template is not None
    assert spec.template.as_dict() == template


def test_words_of_the_resource_are_words_of_the_core() -> None:
    assert set(get_args(values.Mode)) == {mode.value for mode in Mode}
    assert set(get_args(SignalStatus.model_fields["health"].annotation)) == {health.value for health in Health}


def test_status_refuses_what_the_crd_would_drop() -> None:
    with pytest.raises(ValidationError, match="desired"):
        AgentDeploymentStatus.model_validate({"desired": 1})


def test_status_has_room_for_every_condition() -> None:
    conditions = [
        {
            "type": each.value,
            "status": "Unknown",
            "reason": "Available",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for each in ConditionType
    ]
    status = AgentDeploymentStatus.model_validate({"conditions": conditions})
    assert status.conditions is not None
    assert len(status.conditions) == len(ConditionType)
