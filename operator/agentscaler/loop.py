"""The control loop, where all parts meet: what is wanted, live and measured goes in, decisions are carried out.

A tick looks at the objects that are due (they are decided) and at those where something is on its way (they are
followed). Ticks never overlap, and a failure of one object stays its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from agentscaler import objects, schedule
from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Observation, SignalName
from agentscaler.kube.actuator import Actuator
from agentscaler.kube.api import KubeApi
from agentscaler.kube.case import Case, Outcome
from agentscaler.kube.live import Live
from agentscaler.kube.records import Records
from agentscaler.kube.store import Record, Store
from agentscaler.kube.targets import Targets
from agentscaler.objects import Watched
from agentscaler.signals.collector import Collector
from agentscaler.strangers import Strangers
from agentscaler.telemetry import Telemetry

AT_ONCE: Final = 64
"""Objects that are acted upon at the same time."""
FOLLOWED_SECONDS: Final = 180.0
"""For so long what is on its way is looked at in every tick; after that at the object's own pace."""

log = logging.getLogger(__name__)


class Loop:
    """Ticks until it is told to stop."""

    def __init__(
        self,
        *,
        store: Store,
        targets: Targets,
        collector: Collector,
        api: KubeApi,
        records: Records,
        telemetry: Telemetry,
        tick_seconds: float = 5.0,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read and write nothing yet.

        Args:
            store: What users want.
            targets: Reads what is live.
            collector: Reads the signals.
            api: The API server, for writes.
            records: Keeps full records of decisions.
            telemetry: The operator's own metrics.
            tick_seconds: Length of a tick.
            wall: Unix seconds.
            clock: Monotonic seconds.
        """
        self._store = store
        self._targets = targets
        self._collector = collector
        self._strangers = Strangers(collector)
        self._actuator = Actuator(api, store)
        self._records = records
        self._telemetry = telemetry
        self._tick_seconds = tick_seconds
        self._wall = wall
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._shift = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Tick until `stop` is set; what is being written then is finished. When cancelled it is left as it is."""
        try:
            await self._ticks(stop)
            await self.finish()
        except asyncio.CancelledError:
            for watched in self._watched.values():
                if watched.task is not None:
                    watched.task.cancel()
            await self.finish()
            raise

    async def _ticks(self, stop: asyncio.Event) -> None:
        due = self._clock()
        while not stop.is_set():
            started = self._clock()
            try:
                await self.tick(self._wall())
            except Exception:  # the loop has to outlive whatever one tick meets
                log.exception("tick failed")
                self._telemetry.failed()
            finally:
                self._telemetry.ticked(self._clock() - started)
            due += self._tick_seconds + self._shift
            if due < self._clock():
                self._telemetry.skipped()
                due = self._clock()
            await _sleep(stop, due - self._clock())

    async def finish(self) -> None:
        """Wait for what is being written."""
        tasks = [watched.task for watched in self._watched.values() if watched.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tick(self, now: float) -> None:
        """Observe, decide and act once.

        Args:
            now: The one time of this tick, Unix seconds.
        """
        everyone = self._store.snapshot()
        self._forget({record.uid for record in everyone})
        phases = schedule.phases(record.namespace for record in everyone)
        chosen = [watched for record in everyone if (watched := self._look(record, phases, now)) is not None]
        self._telemetry.counted(
            valid=sum(record.spec is not None for record in everyone),
            invalid=sum(record.spec is None for record in everyone),
        )
        if not chosen:
            return
        lives, observations = await asyncio.gather(
            self._targets.list(
                [watched.record for watched in chosen],
                now=now,
                among=everyone,
                pods_for={watched.record.uid for watched in chosen if watched.followed},
            ),
            self._collect(chosen, now),
        )
        await self._recall(chosen, lives, now)
        for watched in chosen:
            uid = watched.record.uid
            watched.task = asyncio.create_task(
                self._pass(watched, lives[uid], observations.get(uid) or Observation(now), now)
            )
        # Writes may have to wait for tokens; whoever is not done then is left out of the next tick.
        await asyncio.wait([w.task for w in chosen if w.task is not None], timeout=self._tick_seconds)
        self._report(chosen, observations, lives, now)

    def _look(self, record: Record, phases: Mapping[str, float], now: float) -> Watched | None:
        """The object, if this tick has to look at it."""
        if record.deleting:
            return None
        watched = self._watched.setdefault(record.uid, Watched(record))
        if watched.task is not None and not watched.task.done():
            return None
        watched.due.phase = phases[record.namespace]
        watched.failed = False
        changed = watched.take(record)
        watched.due.mend(now, watched.interval_seconds)
        watched.fresh = changed or watched.due.is_now(now, self._tick_seconds)
        watched.followed = watched.waits and now - watched.waits_since < FOLLOWED_SECONDS
        return watched if watched.fresh or watched.followed else None

    def _forget(self, alive: set[str]) -> None:
        for uid in self._watched.keys() - alive:
            gone = self._watched.pop(uid).record
            self._strangers.forget(uid)
            if self._store.find(gone.namespace, gone.name) is None:
                self._records.forget(gone.namespace, gone.name)
                self._telemetry.forget(gone.namespace, gone.name)

    async def _collect(self, chosen: Iterable[Watched], now: float) -> dict[str, Observation]:
        requests = [watched.request for watched in chosen if watched.request is not None]
        if not requests:
            return {}
        queries, failures, started = self._collector.queries, self._collector.failures, self._clock()
        observations = await self._collector.collect(requests, now)
        self._telemetry.collected(
            self._collector.queries - queries, self._collector.failures - failures, self._clock() - started
        )
        return await self._strangers.tell(requests, observations, now)

    async def _recall(self, chosen: Iterable[Watched], lives: Mapping[str, Live], now: float) -> None:
        """Rebuild the memory of objects that this process sees for the first time."""
        new = [watched for watched in chosen if watched.memory is None and watched.policy is not None]
        # What has just been created has no past.
        known = [watched.request for watched in new if watched.request is not None and watched.record.status]
        history = await self._collector.history(known, now) if known else {}
        for watched in new:
            live = lives[watched.record.uid]
            try:
                if live.known:
                    watched.memory = objects.recalled(watched, live, history.get(watched.record.uid, ()))
            except Exception:  # one object's failure never disturbs the others
                log.exception("object failed", extra=watched.place)
                self._failed(watched)

    async def _pass(self, watched: Watched, live: Live, observation: Observation, now: float) -> None:
        async with self._slots:
            try:
                await self._decide_and_act(watched, live, observation, now)
            except Exception:  # one object's failure never disturbs the others
                log.exception("object failed", extra=watched.place)
                self._failed(watched)

    async def _decide_and_act(self, watched: Watched, live: Live, observation: Observation, now: float) -> None:
        if watched.memo.is_ahead_of(live, now):
            watched.due.at = now  # the LIST is older than our own last write: the next tick sees it
            return
        record, policy = watched.record, watched.policy
        case = self._case(watched, live, observation, now)
        if case.fresh and case.decision is not None and policy is not None:
            self._telemetry.decided(str(case.decision.reason))
            if not watched.nothing_done:  # the same decision once more
                self._records.add(objects.record_of(watched, case, live))
        if watched.fresh:
            sampled_at = observation.signal(SignalName.IN_FLIGHT).observed_at
            watched.due.decided(now, watched.interval_seconds, sampled_at, self._tick_seconds)
        outcome = await self._actuator.act(case, watched.memo)
        watched.acted(case, outcome, now)
        if "scale" in outcome.writes and outcome.replicas is not None:
            self._targets.scaled(record.uid, outcome.replicas)
        self._wrote(outcome)
        if case.decision is not None:
            self._telemetry.in_force(record.namespace, record.name, case.decision.settings)

    def _case(self, watched: Watched, live: Live, observation: Observation, now: float) -> Case:
        in_flight = self._in_flight(watched, now)
        try:
            if not watched.failed:
                return objects.case(watched, live, observation, now, in_flight)
        except Exception:  # as above; and the object's user is told
            log.exception("object failed", extra=watched.place)
            self._failed(watched)
        return objects.failed_case(watched, live, observation, now, in_flight)

    def _failed(self, watched: Watched) -> None:
        watched.failed = True
        self._telemetry.failed()

    def _in_flight(self, watched: Watched, now: float) -> Callable[[], asyncio.Future[dict[str, float]]]:
        async def ask() -> dict[str, float]:
            request = watched.request
            if request is None:
                return {}
            return await self._collector.pods_in_flight(
                request.server, request.preset, request.namespace, request.workload, now, request.overrides
            )

        return lambda: asyncio.ensure_future(ask())

    def _wrote(self, outcome: Outcome) -> None:
        for kind in outcome.writes:
            self._telemetry.wrote(kind, "ok")
        if outcome.problem is not None and outcome.problem.reason in {Reason.FORBIDDEN, Reason.WRITE_FAILED}:
            self._telemetry.wrote("object", str(outcome.problem.reason))

    def _report(
        self, chosen: list[Watched], observations: Mapping[str, Observation], lives: Mapping[str, Live], now: float
    ) -> None:
        for watched in chosen:
            uid = watched.record.uid
            watched.observation, watched.conflict = observations.get(uid), lives[uid].conflict
        everyone = self._watched.values()
        self._telemetry.observed(w.observation for w in everyone if w.observation is not None and not w.at_rest)
        self._telemetry.conflicting(Counter(str(w.conflict.reason) for w in everyone if w.conflict is not None))
        fast = [w for w in everyone if w.policy is not None and w.policy.interval_seconds <= self._tick_seconds]
        samples = [
            at
            for w in fast
            if w.observation is not None and (at := w.observation.signal(SignalName.IN_FLIGHT).observed_at) is not None
        ]
        self._shift = schedule.best_shift(samples, now, self._tick_seconds) if len(samples) == len(fast) else 0.0


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not beyond the order to stop."""
    try:
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
    except TimeoutError:
        return
