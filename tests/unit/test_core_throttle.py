"""429s: workers go where that leaves fewer calls refused, and stay where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

from agentscaler.core.decision import Decision
from agentscaler.core.policy import Mode, ReplicaPolicy, WorkerPolicy
from tests.worlds import POLICY, Loop, workers

SERVICE_SECONDS = 2.0
CALLS_OF_A_RUN = 3.0
SAMPLE = replace(POLICY, replicas=ReplicaPolicy(min=1, max=10), workers=WorkerPolicy(min=1, max=32, initial=8))


class Service:
    """Runs of two seconds that arrive at a steady rate, each with three calls, of which a share is answered 429."""

    def __init__(self, refused: Callable[[float], float], *, arrivals: float = 16.0) -> None:
        self.loop = Loop(SAMPLE)
        self.loop.ticks(2, worker_limit=8.0)
        self._refused, self._arrivals, self._queue = refused, arrivals, 0.0

    def play(self, minutes: float, *, throttled: bool = True) -> Decision:
        for _ in range(round(12 * minutes)):
            limit, pods = workers(self.loop.decisions[-1]), self.loop.target.replicas
            busy = min(limit * pods, self._arrivals * SERVICE_SECONDS + self._queue)
            done = busy / SERVICE_SECONDS
            self._queue = min(max(0.0, self._queue + 5 * (self._arrivals - done)), 500.0)
            calls = CALLS_OF_A_RUN * done
            decision = self.loop.tick(
                in_flight=busy,
                in_flight_max=float(ceil(busy / pods)),
                queue_depth=self._queue,
                request_rate_60=done,
                request_rate_120=done,
                request_rate_300=done,
                request_rate_600=done,
                service_time=SERVICE_SECONDS,
                worker_limit=float(limit),
                upstream_call_rate=calls,
                upstream_429_rate=calls * self._refused(calls) if throttled else 0.0,
            )
        return decision


def test_a_share_that_fewer_workers_do_not_lower_takes_one_cut_and_gives_it_back() -> None:
    service = Service(lambda _: 0.025)
    before = workers(service.play(20, throttled=False))
    service.play(40)
    cuts = [s for d in service.loop.decisions for s in d.steps if s.rule == "withdraw-throttled"]
    assert cuts
    assert min(workers(d) for d in service.loop.decisions[-240:]) >= before
    assert service.loop.decisions[-1].reason.value != "HoldingDependency"


def test_a_limited_rate_takes_workers_until_little_is_refused() -> None:
    taken_a_second = 24.0
    service = Service(lambda calls: max(0.0, 1 - taken_a_second / calls))
    before = workers(service.play(20, throttled=False))
    service.play(15)
    least = min(workers(d) for d in service.loop.decisions[-60:])
    assert least <= before * taken_a_second / 48 + 1
    assert service.loop.memory.throttle_futile is None


def test_a_throttle_of_another_size_is_news() -> None:
    shares = [0.025]
    service = Service(lambda _: shares[0])
    service.play(20, throttled=False)
    before = workers(service.play(20))
    shares[0] = 0.2
    assert workers(service.play(1)) < before


def test_advice_on_workers_holds_no_replica_back() -> None:
    policy = replace(SAMPLE, workers=replace(SAMPLE.workers, mode=Mode.RECOMMEND))
    loop = Loop(policy)
    loop.ticks(30, worker_limit=16.0)
    for _ in range(60):
        loop.tick(worker_limit=16.0, upstream_429_rate=1.0)
    assert loop.memory.throttle_cap is None
