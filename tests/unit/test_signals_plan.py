from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentscaler.api.signals import OVERRIDABLE, Signals
from agentscaler.frameworks.preset import Metric, MetricKind, Metrics, Preset
from agentscaler.frameworks.registry import PRESETS
from agentscaler.signals.errors import InvalidOverride, TooManyQueries
from agentscaler.signals.plan import MOST_QUERIES, plan
from agentscaler.signals.promql import Dialect, quote
from agentscaler.signals.request import FIELDS, Override, SignalRequest, overrides_of
from agentscaler.signals.servers import WINDOWS_SECONDS, Server

SERVER = Server("main", "http://host", scrape_interval_seconds=5, matchers=(("cluster", 'a"b'),))
GENERIC = PRESETS["generic"].metrics


def asked(number: int, **fields: object) -> SignalRequest:
    values: dict[str, object] = {"queue_wait_quantile": 0.99, "latency_quantile": 0.95, **fields}
    return SignalRequest(f"u{number}", f"team-{number % 3}", f"w{number}", "main", "generic", **values)  # type: ignore[arg-type]  # fields of the test's choice


def gauge(name: str) -> Override:
    return Override("in_flight", Metric(name, MetricKind.GAUGE))


requests_ = st.lists(
    st.builds(
        lambda number, window, wait, target, latency, own: asked(
            number,
            window_seconds=window,
            queue_wait_quantile=wait,
            queue_wait_target_seconds=target,
            latency_quantile=latency,
            overrides=(gauge(own),) if own else (),
        ),
        st.integers(0, 2000),
        st.sampled_from(WINDOWS_SECONDS),
        st.none() | st.integers(1, 999).map(lambda permille: permille / 1000),
        st.none() | st.integers(1, 99).map(float),
        st.none() | st.integers(1, 999).map(lambda permille: permille / 1000),
        st.none() | st.sampled_from([f"metric_{n}" for n in range(40)]),
    ),
    max_size=60,
)


@settings(max_examples=30)
@given(requests_)
def test_no_mixture_of_objects_exceeds_the_budget(requests: list[SignalRequest]) -> None:
    made = plan(SERVER, GENERIC, requests)
    assert len(made.quick) + min(made.slow_slots, len(made.slow)) <= MOST_QUERIES


@settings(max_examples=30)
@given(requests_, st.randoms(use_true_random=False))
def test_the_order_of_objects_changes_nothing(requests: list[SignalRequest], rng: random.Random) -> None:
    shuffled = requests[:]
    rng.shuffle(shuffled)
    one, other = plan(SERVER, GENERIC, requests), plan(SERVER, GENERIC, shuffled)
    assert (one.quick, one.slow, one.refused) == (other.quick, other.slow, other.refused)
    assert {key: own.error is None for key, own in one.own.items()} == {
        key: own.error is None for key, own in other.own.items()
    }


def test_a_thousand_equal_objects_are_asked_for_like_one() -> None:
    one, many = (plan(SERVER, GENERIC, [asked(n) for n in range(count)]) for count in (3, 1000))
    assert one == many
    assert len(one.quick) == 11


def test_objects_with_the_same_overrides_share_a_query() -> None:
    made = plan(SERVER, GENERIC, [asked(n, overrides=(gauge("busy"),)) for n in range(50)])
    assert len({query.promql for query in made.quick if query.scope}) == 1


def test_the_most_shared_overrides_are_served_first() -> None:
    requests = [asked(n, overrides=(gauge(f"rare_{n}"),)) for n in range(40)]
    requests += [asked(100 + n, overrides=(gauge("zz_common"),)) for n in range(2)]
    made = plan(SERVER, GENERIC, requests)
    assert made.own[gauge("zz_common"),].error is None
    refused = [own for own in made.own.values() if own.error is not None]
    assert refused
    assert all(isinstance(own.error, TooManyQueries) for own in refused)


def test_every_selector_has_the_mandatory_matchers() -> None:
    made = plan(SERVER, GENERIC, [asked(0, overrides=(gauge("busy"),))])
    for query in (*made.quick, *made.slow):
        text = made.dialect.narrowed(query.promql, ["team-0"])
        selectors = text.count("{") - text.count("]{5}")
        assert selectors
        assert text.count('cluster="a\\"b"') == selectors
        assert text.count('namespace=~"team-0"') == selectors
        assert "\0" not in text


def test_selectors_are_narrowed_to_the_namespaces_that_are_due() -> None:
    dialect = Dialect(Server("main", "http://host"))
    bare = dialect.select(Metric("m", MetricKind.GAUGE))
    own = dialect.select(Metric("m", MetricKind.GAUGE, (("a", "x"),)))
    assert dialect.narrowed(f"{bare} + {own}", {"b.c", "a"}) == (
        'm{namespace=~"a|b\\\\.c"} + m{a="x",namespace=~"a|b\\\\.c"}'
    )
    assert dialect.narrowed(own, [f"n{number}" for number in range(101)]) == 'm{a="x"}'


def test_a_missing_metric_of_the_preset_leaves_its_rows_out() -> None:
    empty = Metrics(**{name: None for name in Metrics.__dataclass_fields__ if name not in {"memory", "cpu"}})  # type: ignore[arg-type]  # None suits all but the two
    made = plan(SERVER, empty, [asked(0)])
    assert {row for query in made.quick for row in query.rows} == {"targets", "targetsUp", "lost"}
    assert made.slow == ()


@given(st.text(max_size=30))
def test_a_quoted_text_has_no_way_out(text: str) -> None:
    try:
        quoted = quote(text)
    except InvalidOverride:
        return
    body = quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert '"' not in body
    assert "\n" not in body


def test_regular_expressions_need_a_mark() -> None:
    dialect = Dialect(Server("main", "http://host"), ())
    metric = Metric("m", MetricKind.GAUGE, (("a", "x|y"), ("b", "~x|y")))
    assert dialect.select(metric) == 'm{a="x|y",b=~"x|y"}'


def test_every_override_of_the_resource_has_its_field() -> None:
    assert set(FIELDS) == set(OVERRIDABLE)
    of_presets = {"successful_requests", "success_ratio", "mean_duration", "cache_entries", "otherwise", "unavailable"}
    assert set(FIELDS.values()) == {field.name for field in dataclasses.fields(Metrics)} - of_presets


def test_overrides_of_a_resource_are_read() -> None:
    raw = {
        "overrides": {
            "latency": {"metric": "my_ms", "kind": "Histogram", "matchers": {"b": "2", "a": "1"}, "scale": "0.001"}
        }
    }
    metric = Metric("my_ms", MetricKind.HISTOGRAM, (("a", "1"), ("b", "2")), 0.001)
    assert overrides_of(Signals.model_validate(raw)) == (
        Override("duration", metric),
        Override("successful_duration", metric),
    )
    assert overrides_of(None) == ()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_makes_a_plan(preset: Preset) -> None:
    made = plan(SERVER, preset.metrics, [asked(0)])
    assert made.quick[0].rows >= {"targets", "targetsUp"}
