"""Whatever spec one can think of, the models and a real API server judge it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentscaler.api.crd import API_VERSION, KIND, PLURAL, render
from agentscaler.api.signals import OVERRIDABLE
from agentscaler.api.spec import SpecError, parse_spec
from tests.api_corpus import TARGET, TEMPLATE

if TYPE_CHECKING:
    from e2e.harness.cluster import ControlPlane

SPEC = render()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
WORDS = [
    "",
    "0",
    "1",
    "5",
    "0.5",
    ".5",
    "50m",
    "80",
    "100",
    "64Mi",
    "1Gi",
    "2Ti",
    "1.5G",
    "a",
    "agent",
    "A",
    "a b",
    "-",
]
"""Each is right for some field and wrong for most."""


def _value(schema: dict[str, Any], *, key: str = "") -> st.SearchStrategy[Any]:
    """Values of a schema, mostly within its bounds; now and then one step outside."""
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], *schema["enum"], "Other" if schema["type"] == "string" else 7])
    if schema.get("x-kubernetes-int-or-string"):
        return st.one_of(st.sampled_from(WORDS), st.integers(-1, 100), st.sampled_from([2**30, 2**40, 2**41]))
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            return st.one_of(st.integers(low, min(high, low + 20)), st.integers(low - 1, high + 1))
        case "string":
            return st.sampled_from(["my_metric", "0.99", "agent", "main", *WORDS])
        case "array":
            return st.lists(_value(schema["items"]), min_size=1, max_size=3)
    if key == "overrides":
        override = _value(schema["additionalProperties"])
        return st.dictionaries(st.sampled_from([*OVERRIDABLE, "other"]), override, max_size=3)
    if "additionalProperties" in schema:
        return st.dictionaries(st.sampled_from(["a", "a_b", "__a", "a-b"]), st.sampled_from(WORDS), max_size=2)
    return _object(schema)


def _object(schema: dict[str, Any], *, without: frozenset[str] = frozenset()) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: _value(field, key=name) for name, field in schema.get("properties", {}).items() if name not in without
    }
    required = schema.get("required", ())
    return st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required},
        optional={name: fields[name] for name in fields if name not in required},
    )


OWNED, ADOPTED = {"template": TEMPLATE}, {"scaleTargetRef": TARGET}
TARGETS = st.sampled_from([OWNED, OWNED, OWNED, ADOPTED, ADOPTED, {}, OWNED | ADOPTED])


def one_block(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """A spec with one block at random: with all of them at once nearly every spec would be wrong."""
    block = _value(SPEC["properties"][name], key=name)
    return st.builds(lambda target, value: {**target, name: value}, TARGETS, block)


BLOCKS = sorted(SPEC["properties"].keys() - {"template", "scaleTargetRef"})
KNOBS = ("replicas", "workers", "cache", "circuitBreaker")


def verdicts(cluster: ControlPlane, spec: dict[str, Any]) -> tuple[bool, bool, str]:
    """(whether the API server takes it, whether the models do, what was said)."""
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "sample"}, "spec": spec}
    answer = cluster.request(
        "POST",
        f"/apis/{API_VERSION}/namespaces/default/{PLURAL}",
        body,
        params={"dryRun": "All", "fieldValidation": "Strict"},
    )
    assert answer.status_code in {201, 400, 422}, answer.text
    try:
        parse_spec(spec)
    except SpecError as error:
        return answer.status_code == 201, False, f"{error} / {answer.text}"
    return answer.status_code == 201, True, answer.text


@pytest.mark.parametrize("name", BLOCKS)
def test_models_and_api_server_agree(cluster: ControlPlane, name: str) -> None:
    examples = 100 if name in {"tuning", "signals", "objectives"} else 15

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(one_block(name))
    def agree(spec: dict[str, Any]) -> None:
        server, models, said = verdicts(cluster, spec)
        assert server == models, said

    agree()


@pytest.mark.parametrize("knob", KNOBS)
def test_models_and_api_server_agree_on_a_knob(cluster: ControlPlane, knob: str) -> None:
    block = _value(SPEC["properties"]["tuning"]["properties"][knob], key=knob)
    seen: set[bool] = set()

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(block)
    def agree(value: Any) -> None:
        server, models, said = verdicts(cluster, {"template": TEMPLATE, "tuning": {knob: value}})
        assert server == models, said
        seen.add(server)

    agree()
    assert seen == {True, False}
