"""What the baselines never do, whatever they are shown."""

from __future__ import annotations

from itertools import pairwise
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from agentscaler.core.hpa import Usage, average_value_replicas, hpa_replicas, per_pod_replicas
from agentscaler.core.policy import ScalingRules
from agentscaler.simulate.hpa import Controller, limited
from agentscaler.simulate.kpa import Decider
from tests.effort import examples
from tests.property.strategies import RULES

REPLICAS = st.integers(1, 200)
PROPOSALS = st.lists(st.none() | st.integers(0, 1000), min_size=1, max_size=60)


@given(REPLICAS, PROPOSALS, st.integers(1, 20), st.integers(20, 100), st.tuples(RULES, RULES))
def test_the_hpa_stays_within_its_bounds(
    first: int, proposals: list[int | None], low: int, high: int, rules: tuple[ScalingRules, ScalingRules]
) -> None:
    controller = Controller(low, high, up=rules[0], down=rules[1])
    current = first
    for tick, proposal in enumerate(proposals):
        current = controller.step(current, proposal, 15.0 * tick)
        assert low <= current <= high


@given(REPLICAS, PROPOSALS)
def test_the_hpa_goes_below_no_proposal_of_the_last_five_minutes(first: int, proposals: list[int | None]) -> None:
    controller, current, seen = Controller(), first, [(0.0, first)]
    for tick, proposal in enumerate(proposals):
        now = 15.0 * tick
        if proposal is not None:
            seen.append((now, proposal))
        after = controller.step(current, proposal, now)
        if after < current:
            assert after >= max(pods for at, pods in seen if now - at < 300)
        current = after


@given(REPLICAS, PROPOSALS)
def test_the_hpa_grows_by_default_to_no_more_than_double_or_four_more(first: int, proposals: list[int | None]) -> None:
    controller, current = Controller(), first
    for tick, proposal in enumerate(proposals):
        after = controller.step(current, proposal, 15.0 * tick)
        assert after <= max(2 * current, current + 4)
        current = after


@given(st.integers(1, 300), st.integers(0, 1000), RULES, RULES)
def test_limits_never_turn_the_direction(current: int, wanted: int, up: ScalingRules, down: ScalingRules) -> None:
    got = limited(current, wanted, (), 0.0, minimum=0, maximum=1000, up=up, down=down)
    assert min(current, wanted) <= got <= max(current, wanted)


@given(
    st.integers(1, 60),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=30),
    st.tuples(st.integers(0, 10), st.integers(0, 10)),
    st.integers(1, 10_000),
    st.booleans(),
)
def test_a_pod_that_tells_nothing_never_makes_the_hpa_bolder(
    current: int, ready: list[int], silent: tuple[int, int], target: int, requests: bool
) -> None:
    unready, missing = silent

    def of(count: int) -> tuple[int, ...]:
        return (1000,) * count

    plain = Usage(ready, of(len(ready)) if requests else ())
    doubtful = Usage(ready, plain.requests, None, of(unready), of(missing))
    sure, compared = per_pod_replicas(current, plain, target)
    careful, again = per_pod_replicas(current, doubtful, target)
    assert compared == again
    if compared < target and missing:
        assert careful >= min(sure, current)
    if compared > target:
        # Unknown pods count as idle: never more pods in total than the known ones ask for, plus those that are unknown.
        # Averages are whole numbers: each known pod may have lost up to one unit.
        assert careful <= max(sure, current) + unready + missing + ceil(len(ready) / target)


@given(st.integers(1, 100), st.floats(0, 800), st.floats(0, 800), st.integers(1, 64))
def test_more_running_work_never_asks_for_fewer_pods(pods: int, one: float, other: float, workers: int) -> None:
    low, high = sorted((one, other))

    def asked(in_flight: float) -> int:
        return hpa_replicas(replicas=pods, ready=pods, in_flight=in_flight, workers=workers, minimum=1, maximum=10_000)

    assert asked(low) <= asked(high)
    value, target = round(1000 * high), round(700 * workers)
    assert average_value_replicas(pods, round(1000 * low), target) <= average_value_replicas(pods, value, target)


LOADS = st.lists(st.tuples(st.integers(0, 100), st.floats(0, 2000), st.floats(0, 2000)), min_size=1, max_size=60)


@examples(50)
@given(LOADS, st.floats(0.1, 20))
def test_the_kpa_shrinks_nothing_while_it_panics_and_keeps_to_its_rates(
    loads: list[tuple[int, float, float]], target: float
) -> None:
    decider = Decider(target)
    decider.begin(loads[0][0], 0.0)
    wanted, panics = [], []
    for tick, (ready, stable, panic) in enumerate(loads):
        pods = decider.step(ready, stable, panic, 2.0 * tick)
        wanted.append(pods)
        panics.append(decider.panic_since is not None)
        if not panics[-1]:
            assert max(1, ready) // 2 <= pods <= 1000 * max(1, ready)
    for (before, after), (was, still) in zip(pairwise(wanted), pairwise(panics), strict=True):
        if was and still:
            assert after >= before


@examples(50)
@given(LOADS)
def test_the_kpas_delay_never_wants_less_than_it_wanted_within_it(loads: list[tuple[int, float, float]]) -> None:
    plain, delayed = Decider(1.0), Decider(1.0, delay_seconds=30.0)
    wanted: list[int] = []
    for tick, (ready, stable, panic) in enumerate(loads):
        wanted.append(plain.step(ready, stable, panic, 2.0 * tick))
        assert delayed.step(ready, stable, panic, 2.0 * tick) == max(wanted[-15:])
