"""Observations of many objects in one tick."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from agentscaler.core.observation import Health, Observation, Signal, SignalName
from agentscaler.frameworks.preset import Preset
from agentscaler.signals import external
from agentscaler.signals.endpoint import Endpoint
from agentscaler.signals.errors import QueryError, UnknownServer
from agentscaler.signals.history import Past
from agentscaler.signals.plan import Plan, plan
from agentscaler.signals.prometheus import Answer, PrometheusClient
from agentscaler.signals.promql import OBJECT, Dialect
from agentscaler.signals.request import Override, SignalRequest
from agentscaler.signals.servers import Server
from agentscaler.signals.slow import SlowResults
from agentscaler.signals.tick import MALFORMED, Tick

GONE_SECONDS: Final = 900.0
"""An object that was not asked for during this time takes part in no query; the longest interval is 300 s."""
HISTORY_TIMEOUT_FACTOR: Final = 4.0
"""Range queries are asked once after a start; together they may take this many times longer than a tick's."""
NO_SERVER: Final = (
    "no Prometheus server is configured: the administrator has to set prometheus.default.url in the operator's settings"
)


class _Group:
    """The objects of one (server, preset), and what is kept from tick to tick."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.slow = SlowResults()
        self._seen: dict[str, tuple[SignalRequest, float]] = {}

    @property
    def requests(self) -> list[SignalRequest]:
        return [request for request, _ in self._seen.values()]

    def saw(self, requests: Sequence[SignalRequest], clock: float) -> bool:
        """Note the objects of a tick; whether the plan has to change."""
        changed = False
        for request in requests:
            known = self._seen.get(request.uid)
            changed = changed or known is None or known[0] != request
            self._seen[request.uid] = (request, clock)
        gone = [uid for uid, (_, at) in self._seen.items() if clock - at > GONE_SECONDS]
        for uid in gone:
            del self._seen[uid]
        return changed or bool(gone)


class Collector:
    """Asks the servers and judges what they say. For one event loop; ticks do not overlap.

    Args:
        servers: By name; no other server is ever asked.
        presets: By name.
        clock: Monotonic seconds, for paces and back-off.

    Attributes:
        last_tick_queries: Queries sent by the last `collect`, by (server, preset).
    """

    def __init__(
        self,
        servers: Mapping[str, Server],
        presets: Mapping[str, Preset],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._presets = presets
        self._clock = clock
        self._endpoints = {name: Endpoint(server, clock) for name, server in servers.items()}
        self._groups: dict[tuple[str, str], _Group] = {}
        self.last_tick_queries: dict[tuple[str, str], int] = {}

    @property
    def queries(self) -> int:
        """HTTP queries sent since the start."""
        return sum(endpoint.usage.queries for endpoint in self._endpoints.values())

    @property
    def failures(self) -> int:
        """Queries without an answer since the start."""
        return sum(endpoint.usage.failures for endpoint in self._endpoints.values())

    @property
    def seconds(self) -> float:
        """Time spent in queries since the start, concurrent ones added up."""
        return sum(endpoint.usage.seconds for endpoint in self._endpoints.values())

    def lacking(self) -> str:
        """What the administrator has to set before all servers can be asked; empty when nothing is."""
        if not self._endpoints:
            return NO_SERVER
        return "; ".join(dict.fromkeys(problem for each in self._endpoints.values() if (problem := each.lacking())))

    async def collect(self, requests: Sequence[SignalRequest], now: float) -> dict[str, Observation]:
        """One observation for each object.

        Never raises for a server: what cannot be read has health Error, and `problems` say why.

        Args:
            requests: One for each object.
            now: The one evaluation time of all queries, Unix seconds.

        Returns:
            By uid.
        """
        groups, observations = self._grouped(requests, now)
        self.last_tick_queries = {}
        for result in await asyncio.gather(
            *(self._collect_group(key, members, now) for key, members in groups.items())
        ):
            observations.update(result)
        return observations

    async def history(
        self, requests: Sequence[SignalRequest], now: float, seconds: int = 600, step_seconds: int = 15
    ) -> Mapping[str, tuple[Observation, ...]]:
        """What was observed before, out of Prometheus, to fill the windows after a start.

        Args:
            requests: One for each object.
            now: End, Unix seconds.
            seconds: How far back.
            step_seconds: Between two observations.

        Returns:
            By uid, oldest first; empty for objects whose server does not answer. Only demand, load and memory
            signals are in it, and only where they were fresh at that time. Each lookup makes the value anew.
        """
        groups, unknown = self._grouped(requests, now)
        parts: list[Mapping[str, tuple[Observation, ...]]] = [dict.fromkeys(unknown, ())]
        for key, members in groups.items():
            endpoint = self._endpoints[key[0]]
            made = self._plan(key, members)
            past = Past(made, members, start=now - seconds, end=now, step_seconds=step_seconds)
            parts.append(past)
            deadline = self._clock() + endpoint.server.timeout_seconds * HISTORY_TIMEOUT_FACTOR
            for query in past.queries:  # one after the other: the answers are large
                left = deadline - self._clock()
                (answer,) = await endpoint.ask([(query.promql, past.call(query))], left)
                if not isinstance(answer, QueryError):
                    await asyncio.to_thread(past.take, query, answer)
        return ChainMap(*(dict(parts[0]), *parts[1:]))  # type: ignore[arg-type]  # it is read only

    async def pods_in_flight(  # noqa: PLR0917 (the callers' order)
        self,
        server: str,
        preset: str,
        namespace: str,
        workload: str,
        now: float,
        overrides: tuple[Override, ...] = (),
    ) -> dict[str, float]:
        """Runs in flight by pod, of pods with a fresh sample only.

        Args:
            server: Its name.
            preset: Its name.
            namespace: Of the object.
            workload: Name of the Deployment.
            now: Unix seconds.
            overrides: Those of the object's `SignalRequest`.

        Returns:
            Empty when nothing is known.
        """
        request = SignalRequest("", namespace, workload, server, preset, overrides=overrides)
        groups, _ = self._grouped([request], now)
        if not groups:
            return {}
        endpoint = self._endpoints[server]
        made = plan(endpoint.server, self._presets[preset].metrics, [request])
        own = made.own.get(request.overrides)
        chain = (own.metrics if own else made.preset).chain
        names = dict.fromkeys(metrics.in_flight for metrics in chain if metrics.in_flight)
        if not names or (own is not None and own.error is not None):
            return {}
        fresh = (made.dialect.fresh(metric, endpoint.server.stale_after_seconds) for metric in names)
        pods = " or ".join(made.dialect.per_pod(each) for each in fresh)
        text = made.dialect.narrowed(pods, [namespace])
        (answer,) = await endpoint.ask([(text, _instant(text, now))])
        if isinstance(answer, QueryError) or answer.partial:
            return {}
        pod = endpoint.server.pod_label
        try:
            return {
                row["metric"][pod]: float(row["value"][1])
                for row in answer.result
                if row["metric"].get(OBJECT) == workload and pod in row["metric"]
            }
        except MALFORMED:
            return {}

    async def agent_names(self, request: SignalRequest, now: float) -> frozenset[str] | None:
        """Names of the series of an object's pods that look like an agent's own; None when nobody can tell.

        Args:
            request: The object.
            now: Unix seconds.
        """
        endpoint = self._endpoints.get(request.server)
        if endpoint is None:
            return None
        text = Dialect(endpoint.server).names(request.namespace, request.workload)
        (answer,) = await endpoint.ask([(text, _instant(text, now))])
        if isinstance(answer, QueryError):
            return None
        try:
            return frozenset(str(row["metric"]["__name__"]) for row in answer.result)
        except MALFORMED:
            return None

    async def close(self) -> None:
        """End threads and connections."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    def _grouped(
        self, requests: Sequence[SignalRequest], now: float
    ) -> tuple[dict[tuple[str, str], list[SignalRequest]], dict[str, Observation]]:
        groups: dict[tuple[str, str], list[SignalRequest]] = {}
        unknown: dict[str, Observation] = {}
        for request in requests:
            if request.server in self._endpoints and request.preset in self._presets:
                groups.setdefault((request.server, request.preset), []).append(request)
                continue
            if request.server in self._endpoints:
                error = UnknownServer(f"there is no preset for framework {request.preset!r}")
            else:
                names = ", ".join(sorted(self._endpoints))
                error = UnknownServer(
                    f"no server named {request.server!r} is configured; choose one of: {names}" if names else NO_SERVER
                )
            signal = Signal(None, Health.ERROR, None, str(error))
            unknown[request.uid] = Observation(
                now, dict.fromkeys(SignalName, signal), problems=((error.reason.value, str(error)),)
            )
        return groups, unknown

    def _plan(self, key: tuple[str, str], requests: Sequence[SignalRequest]) -> Plan:
        """The plan of all objects seen lately: not all are due in each tick, and queries must not change with them."""
        group = self._groups.setdefault(key, _Group())
        if group.saw(requests, self._clock()) or group.plan is None:
            server, preset = self._endpoints[key[0]].server, self._presets[key[1]]
            group.plan = plan(server, preset.metrics, group.requests)
        return group.plan

    async def _collect_group(
        self, key: tuple[str, str], requests: Sequence[SignalRequest], now: float
    ) -> dict[str, Observation]:
        made = self._plan(key, requests)
        endpoint = self._endpoints[key[0]]
        slow = self._groups[key].slow
        clock = self._clock()
        # Only the namespaces of objects that are due are asked for; what has none of them is not asked at all.
        namespaces = made.namespaces(requests)
        probe, *others = [(query, namespaces[query.scope]) for query in made.quick if query.scope in namespaces]
        due = slow.due(made.slow, namespaces, clock)[: made.slow_slots]
        everywhere = set[str]()
        demands = external.queries(endpoint.server, made.demand_templates, requests)
        others += [(query, everywhere) for query in demands]
        queries = [probe, *due, *others]  # the longest come early, so that none is left over at the end
        before = endpoint.usage.queries
        # Back-off knows a query by its text without namespaces, since those change from tick to tick.
        answers = await endpoint.ask(
            [
                (query.name or query.promql, _instant(made.dialect.narrowed(query.promql, only), now))
                for query, only in queries
            ]
        )
        self.last_tick_queries[key] = endpoint.usage.queries - before
        tick = Tick(made, requests)
        for (query, only), answer in zip(queries, answers, strict=True):
            if query not in made.slow:
                tick.take(query, answer)
            elif not isinstance(answer, QueryError):
                slow.take(query, only, tick.parse_slow(answer, clock))
        return tick.observations(slow, now)


def _instant(text: str, at: float) -> Callable[[PrometheusClient, float], Answer]:
    return lambda client, timeout_seconds: client.instant(text, at, timeout_seconds)
