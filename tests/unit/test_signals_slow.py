"""What is read once a minute is spread over the ticks, and stays with its own objects."""

from __future__ import annotations

from collections import Counter

from agentscaler.signals.plan import Query
from agentscaler.signals.slow import FORGOTTEN_SECONDS, SLOW_SECONDS, SOON_SECONDS, Slow, SlowResults

DISTRIBUTION = Query(0, frozenset({"buckets"}), "b")
SATURATION = Query(0, frozenset({"saturated:latency:0.95:120"}), "s")
SHARES = ((1.0, 0.5), (2.0, 1.0))
KEY = ("team-0", "w")


def answer(at: float, namespace: str = "team-0") -> Slow:
    return Slow(at, {(namespace, "w"): {"row": at}}, {(namespace, "w"): SHARES})


def test_each_namespace_is_read_once_a_minute_and_not_all_in_one_tick() -> None:
    results = SlowResults()
    everyone = [f"team-{number}" for number in range(30)]
    reads: Counter[str] = Counter()
    most = 0
    for tick in range(121):  # 5 s each, every namespace is due in each
        due = results.due([SATURATION], {0: everyone}, clock := tick * 5.0)
        for query, namespaces in due:
            results.take(query, namespaces, Slow(clock))
            reads.update(namespaces)
            most = max(most, len(namespaces) if tick else 0)
    assert set(reads) == set(everyone)
    assert set(reads.values()) <= {10, 11}  # in ten minutes
    assert most <= len(everyone) / 3


def test_a_distribution_that_nobody_has_yet_is_looked_for_soon() -> None:
    results = SlowResults()
    results.take(DISTRIBUTION, {"team-0"}, Slow(0.0))
    assert not results.due([DISTRIBUTION], {0: ["team-0"]}, SOON_SECONDS - 1)
    assert results.due([DISTRIBUTION], {0: ["team-0"]}, SOON_SECONDS) == [(DISTRIBUTION, frozenset({"team-0"}))]
    results.take(DISTRIBUTION, {"team-0"}, answer(10.0))
    results.take(DISTRIBUTION, {"team-1"}, Slow(10.0))
    assert not results.due([DISTRIBUTION], {0: ["team-0", "team-1"]}, 10 + SLOW_SECONDS / 2 - 1)


def test_only_objects_of_this_tick_are_asked_for_and_the_oldest_come_first() -> None:
    results = SlowResults()
    results.take(SATURATION, {"team-0", "team-1"}, answer(0.0))
    results.take(DISTRIBUTION, {"team-0"}, answer(20.0))
    due = results.due([DISTRIBUTION, SATURATION], {0: ["team-0"]}, 120.0)
    assert due == [(SATURATION, frozenset({"team-0"})), (DISTRIBUTION, frozenset({"team-0"}))]
    assert results.due([DISTRIBUTION], {0: ["team-0", "team-2"]}, 120.0)[0][1] == {"team-0", "team-2"}
    assert results.due([Query(1, frozenset(), "own")], {0: ["team-0"]}, 120.0) == []


def test_results_stay_for_five_minutes_and_count_for_their_own_query() -> None:
    results = SlowResults()
    results.take(SATURATION, {"team-0"}, answer(0.0))
    results.due([], {}, FORGOTTEN_SECONDS - 1)
    assert results.rows([SATURATION], 0, KEY) == {"row": 0.0}
    assert results.buckets([SATURATION], 0, KEY) == SHARES
    assert results.rows([DISTRIBUTION], 0, KEY) == {}
    assert results.rows([SATURATION], 1, KEY) == {}
    assert results.buckets([SATURATION], 0, ("team-1", "w")) == ()
    results.due([], {}, FORGOTTEN_SECONDS)
    assert results.rows([SATURATION], 0, KEY) == {}
