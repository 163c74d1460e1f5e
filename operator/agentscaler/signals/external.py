"""Demand that stands elsewhere than in the agent, a broker's backlog for one: the administrator's own PromQL.

What a tenant writes into the parameters of a template is quoted, and in a regular expression taken literally: it can
choose a value, and never change the query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from agentscaler.core.observation import SignalName
from agentscaler.signals.errors import InvalidDemand, QueryError, TooManyQueries
from agentscaler.signals.placeholders import Part, parse
from agentscaler.signals.plan import Query
from agentscaler.signals.promql import OBJECT, one_of, quote, tagged, union
from agentscaler.signals.request import SignalRequest
from agentscaler.signals.servers import Server

NAMESPACE: Final = "namespace"
NAME: Final = "name"
RESERVED: Final = frozenset({NAMESPACE, NAME})
"""Placeholders that the operator fills in by itself: namespace of the object, name of its Deployment."""


def render(promql: str, values: Mapping[str, str]) -> str:
    """The template with the values in their places; each placeholder has one."""
    return "".join(part.text if not part.parameter else _literal(part, values) for part in parse(promql))


def _literal(part: Part, values: Mapping[str, str]) -> str:
    value = values[part.parameter]
    return quote(one_of((value,)) if part.regex else value)[1:-1]


def expression(server: Server, request: SignalRequest) -> str:
    """What is asked for one object: one number, whatever labels the template leaves.

    Raises:
        InvalidDemand: There is no such template, or the parameters do not fit.
    """
    template, given = request.external_template, dict(request.external_parameters)
    promql = dict(server.demand_templates).get(template)
    if promql is None:
        names = ", ".join(sorted(name for name, _ in server.demand_templates))
        known = f"choose one of: {names}" if names else "the administrator has configured none"
        raise InvalidDemand(f"there is no demand template {template}; {known}")
    wanted = {part.parameter for part in parse(promql) if part.parameter} - RESERVED
    if missing := sorted(wanted - given.keys()):
        raise InvalidDemand(f"demand template {template} needs the parameter {missing[0]}")
    if unknown := sorted(given.keys() - wanted):
        raise InvalidDemand(f"demand template {template} has no parameter {unknown[0]}")
    values = {**given, NAMESPACE: request.namespace, NAME: request.workload}
    total = f"sum({render(promql, values)})"
    named = f'label_replace({total},"{server.namespace_label}",{quote(request.namespace)},"","")'
    return f'label_replace({named},"{OBJECT}",{quote(request.workload)},"","")'


def row(template: str) -> str:
    """Row of the results of one template: each fails by itself."""
    return f"{SignalName.EXTERNAL_DEMAND.value}:{template}"


def queries(server: Server, templates: Sequence[str], requests: Sequence[SignalRequest]) -> list[Query]:
    """One query for each template that some of these objects use.

    Args:
        server: Whose templates they are.
        templates: Those that are admitted.
        requests: The objects of a tick.
    """
    found: dict[str, dict[tuple[str, str], str]] = {}
    for request in requests:
        if request.external_template not in templates:
            continue
        try:
            text = tagged(row(request.external_template), expression(server, request))
        except QueryError:
            continue  # its own signal says so
        found.setdefault(request.external_template, {})[request.namespace, request.workload] = text
    return [
        Query(0, frozenset({row(template)}), union(list(texts.values())), name=row(template))
        for template, texts in sorted(found.items())
    ]


def refusal(server: Server, templates: Sequence[str], request: SignalRequest) -> QueryError | None:
    """Why the external demand of an object is not asked for; None when it is."""
    try:
        expression(server, request)
    except QueryError as error:
        return error
    if request.external_template not in templates:
        return TooManyQueries("too many different demand templates for one server: use the template of another object")
    return None
