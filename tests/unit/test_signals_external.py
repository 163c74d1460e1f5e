"""Demand templates: what a tenant writes chooses a value, and never changes the query."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentscaler.frameworks.preset import Metric, MetricKind
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals import external
from agentscaler.signals.errors import InvalidDemand, TooManyQueries
from agentscaler.signals.plan import MOST_QUERIES, plan
from agentscaler.signals.request import Override, SignalRequest
from agentscaler.signals.servers import Server

QUEUE = 'sum(messages{namespace="${namespace}", queue="${queue}"})  # of RabbitMQ: "${not_this}"'
ANY = 'sum(messages{queue=~"${queue}-.*",app!~ "${name}|x"}) + 0'
SERVER = Server("main", "http://host", demand_templates=(("queue", QUEUE), ("any", ANY)))
METRICS = PRESETS["generic"].metrics


def wanting(template: str = "queue", number: int = 1, **parameters: str) -> SignalRequest:
    given = tuple(sorted(parameters.items()))
    return SignalRequest(
        f"u{number}",
        f"team-{number}",
        f"w{number}",
        "main",
        "generic",
        external_template=template,
        external_parameters=given,
    )


def test_a_template_is_filled_in_summed_and_labelled_with_its_object() -> None:
    asked = external.expression(SERVER, wanting(queue="a"))
    assert 'sum(sum(messages{namespace="team-1", queue="a"})' in asked
    assert "not_this" not in asked
    assert asked.endswith('"namespace","team-1","",""),"obj","w1","","")')


def test_in_a_regular_expression_a_value_is_taken_literally() -> None:
    asked = external.expression(SERVER, wanting("any", queue=".*|other"))
    assert 'queue=~"\\\\.\\\\*\\\\|other-.*"' in asked
    assert 'app!~ "w1|x"' in asked


STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


@given(st.sampled_from(["queue", "any"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_no_value_leaves_its_string(template: str, value: str) -> None:
    shape = STRING.sub('""', external.expression(SERVER, wanting(template, queue="a")))
    assert STRING.sub('""', external.expression(SERVER, wanting(template, queue=value))) == shape


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (wanting("other"), "there is no demand template other; choose one of: any, queue"),
        (wanting("queue"), "demand template queue needs the parameter queue"),
        (wanting("queue", queue="a", quene="b"), "demand template queue has no parameter quene"),
        (wanting("queue", queue="\ud800"), ""),
    ],
)
def test_what_does_not_fit_is_refused_and_not_asked(request_: SignalRequest, message: str) -> None:
    error = external.refusal(SERVER, ("queue", "any", "other"), request_)
    assert error is not None
    assert message in str(error)
    assert external.queries(SERVER, ("queue", "any", "other"), [request_]) == []


def test_without_any_template_the_message_says_who_has_to_configure_one() -> None:
    with pytest.raises(InvalidDemand, match="the administrator has configured none"):
        external.expression(Server("main", "http://host"), wanting(queue="a"))


@pytest.mark.parametrize(
    ("name", "promql", "message"),
    [
        ("Queue", "x", "its name must be a DNS label"),
        ("queue", " ", "write a PromQL expression"),
        ("queue", "x" * 2001, "at most 2000 characters"),
        ("queue", "sum(x{a=${queue}})", "inside a double-quoted string"),
        ("queue", "sum(x{a='${queue}'})", "inside a double-quoted string"),
        ("queue", "sum(x{a=`${queue}`})", "inside a double-quoted string"),
        ("queue", 'sum(x{a="${que ue}"})', "is no placeholder"),
        ("queue", 'sum(x{a="b})', "a quote is not closed"),
    ],
)
def test_a_server_with_a_wrong_template_is_refused(name: str, promql: str, message: str) -> None:
    with pytest.raises(ValueError, match="server main: demand template") as refusal:
        Server("main", "http://host", demand_templates=((name, promql),))
    assert message in str(refusal.value)


def test_a_template_costs_one_query_whatever_the_number_of_objects() -> None:
    requests = [wanting("queue" if number % 2 else "any", number, queue=f"q{number}") for number in range(500)]
    made = plan(SERVER, METRICS, requests)
    queries = external.queries(SERVER, made.demand_templates, requests)
    assert len(queries) == 2
    assert len(made.quick) + len(queries) + made.slow_slots <= MOST_QUERIES
    assert sum(query.promql.count('"signal"') for query in queries) == 500
    due = external.queries(SERVER, made.demand_templates, requests[:3])
    assert sum(query.promql.count('"signal"') for query in due) == 3


def test_templates_beyond_the_budget_are_refused_the_most_shared_ones_first() -> None:
    server = Server("main", "http://host", demand_templates=tuple((f"t{n}", "x") for n in range(30)))
    requests = [wanting(f"t{n}", n) for n in range(30)]
    requests += [wanting("t29", 100), *(_overriding(n) for n in range(200, 230))]
    made = plan(server, METRICS, requests)
    assert "t29" in made.demand_templates
    assert len(made.quick) + len(made.demand_templates) + 1 <= MOST_QUERIES
    refused = next(request for request in requests if request.external_template not in {"", *made.demand_templates})
    assert isinstance(external.refusal(server, made.demand_templates, refused), TooManyQueries)
    assert plan(server, METRICS, list(reversed(requests))).demand_templates == made.demand_templates


def _overriding(number: int) -> SignalRequest:
    own = Override("in_flight", Metric(f"busy_{number}", MetricKind.GAUGE))
    return SignalRequest(f"u{number}", "team", f"w{number}", "main", "generic", overrides=(own,))
