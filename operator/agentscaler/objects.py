"""One object as the loop keeps it from tick to tick, and what it hands to the parts. Pure but for its own notes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agentscaler.api.conditions import Reason
from agentscaler.core.decide import decide
from agentscaler.core.decision import Decision
from agentscaler.core.memory import Memory
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.policy import Mode, Policy
from agentscaler.core.recall import recall
from agentscaler.core.target import Target
from agentscaler.frameworks import choices
from agentscaler.frameworks.effective import DEFAULTS
from agentscaler.frameworks.resolve import resolve
from agentscaler.kube import codec, tuning, verdicts
from agentscaler.kube.case import Case, InFlight, Outcome
from agentscaler.kube.delivery import remembered
from agentscaler.kube.facts import grace_seconds, limits
from agentscaler.kube.live import ConflictFacts, Live
from agentscaler.kube.memo import Memo, Problem
from agentscaler.kube.records import DecisionRecord
from agentscaler.kube.store import Record
from agentscaler.schedule import Due
from agentscaler.signals.request import SignalRequest, overrides_of

REQUIRED: Final = frozenset({SignalName.IN_FLIGHT, SignalName.REQUEST_RATE_60})
"""Signals without which demand is not known."""
BLOCKED_SECONDS: Final = 15
"""Pace at which an object that is kept from its work is looked at again, if its own is slower."""
STARTING_SECONDS: Final = 120.0
"""For so long after its creation an object that is not fully known is decided in every tick."""


@dataclass(slots=True)
class Watched:
    """One object. Everything here but `record` may be lost, and is rebuilt."""

    record: Record
    memo: Memo = field(default_factory=Memo)
    policy: Policy | None = None
    """None while the spec does not parse."""
    effective: Mapping[str, Any] = field(default_factory=dict)
    request: SignalRequest | None = None
    memory: Memory | None = None
    """None until it has been recalled."""
    failed: bool = False
    """The operator has failed on it in this tick."""
    decision: Decision | None = None
    due: Due = field(default_factory=Due)
    fresh: bool = False
    """Whether this tick decides on it."""
    waits: bool = False
    """Something is on its way."""
    waits_since: float = 0.0
    observation: Observation | None = None
    conflict: ConflictFacts | None = None
    nothing_done: bool = False
    """Nothing came of its last decision, and nothing will before a person acts."""
    followed: bool = False
    """It waits, and not for so long that its own pace is enough."""
    task: asyncio.Task[None] | None = None
    _generation: int = -1

    @property
    def interval_seconds(self) -> int:
        """Pace of its decisions."""
        return self.policy.interval_seconds if self.policy is not None else DEFAULTS.interval_seconds

    @property
    def place(self) -> dict[str, str]:
        """For a line in the log."""
        return {"namespace": self.record.namespace, "object": self.record.name}

    @property
    def at_rest(self) -> bool:
        """Whether there are no pods on purpose, so that there is nothing to know."""
        return self.decision is not None and self.decision.settings.replicas == 0

    def take(self, record: Record) -> bool:
        """Take in the record of now; whether its user has changed it, or it is new."""
        self.record = record
        if record.generation == self._generation:
            return False
        self._generation = record.generation
        if record.spec is None:
            self.policy, self.effective, self.request = None, {}, None
            return True
        resolved = resolve(record.spec)
        self.policy, self.effective = resolved.policy, resolved.effective
        self.request = _request(record, self.policy)
        return True

    def acted(self, case: Case, outcome: Outcome, now: float) -> None:
        """Note what came of a tick."""
        if case.fresh and case.decision is not None:
            self.memory, self.decision = outcome.memory, case.decision
        self.nothing_done = verdicts.nothing_done(case, outcome)
        deployment = case.live.deployment
        changing = deployment is None or deployment.changing or outcome.replicas != deployment.replicas
        waits = outcome.problem is None and bool(
            changing or self.memo.marked or self.memo.freed_at or (outcome.delivered.waiting and self.memo.touches)
        )
        if outcome.missed or self._is_starting(case, outcome, now):
            self.due.at = now
        elif case.decision is None or outcome.problem is not None:
            self.due.at = min(self.due.at, now + BLOCKED_SECONDS)
        if waits and (not self.waits or "settings" in outcome.writes or "scale" in outcome.writes):
            self.waits_since = now
        self.waits = waits

    def _is_starting(self, case: Case, outcome: Outcome, now: float) -> bool:
        """Whether its first pods run and have not reported everything: each tick may be the one that makes it Ready."""
        deployment = case.live.deployment
        if now - self.record.created_at > STARTING_SECONDS or deployment is None or not deployment.ready:
            return False
        return outcome.delivered.waiting or any(case.observation.value(name) is None for name in REQUIRED)


def recalled(watched: Watched, live: Live, history: tuple[Observation, ...]) -> Memory:
    """The memory of an object that this process sees for the first time: status, the live settings, Prometheus."""
    record, policy = watched.record, watched.policy
    assert policy is not None
    stored = record.status.get("memory") or {}
    watched.memo.fingerprint = str(stored.get("template") or "")
    memory = codec.decode(stored.get("core") or {})
    text = remembered(record, live.configmap) if live.configmap is not None else None
    settings = tuning.settings_of(text) if text else None
    target = _target(watched, live, memory)
    in_force = replace(settings, replicas=target.replicas) if settings is not None else None
    return recall(policy, target, history, memory, in_force=in_force)


def case(watched: Watched, live: Live, observation: Observation, now: float, in_flight: InFlight) -> Case:
    """What the act side gets: with a new decision where one is due and nothing blocks it."""
    before = watched.memory or Memory()
    made = Case(
        record=watched.record,
        live=live,
        policy=watched.policy,
        effective=watched.effective,
        observation=observation,
        decision=None,
        fresh=watched.fresh,
        before=before,
        now=now,
        in_flight=in_flight,
    )
    if watched.policy is None or watched.memory is None or verdicts.blocked(made) is not None:
        return made
    if not watched.fresh and watched.decision is not None:
        return replace(made, decision=watched.decision)
    target = _target(watched, live, watched.memory)
    return replace(made, fresh=True, decision=decide(watched.policy, target, observation, watched.memory, now))


def failed_case(watched: Watched, live: Live, observation: Observation, now: float, in_flight: InFlight) -> Case:
    """What the act side gets after a failure of our own: everything is held, and the user is told."""
    record = watched.record
    # The same from tick to tick: the exception itself may hold numbers, and stands in the log.
    failure = Problem(
        Reason.INTERNAL_ERROR,
        "the operator failed on this object, which is a bug: everything is held; please report the line "
        f"'object failed' that its log has for {record.namespace}/{record.name}, with the exception",
        stalled=True,
    )
    return Case(
        record=record,
        live=live,
        policy=watched.policy,
        effective=watched.effective,
        observation=observation,
        decision=None,
        fresh=watched.fresh,
        before=watched.memory or Memory(),
        now=now,
        in_flight=in_flight,
        failure=failure,
    )


def record_of(watched: Watched, made: Case, live: Live) -> DecisionRecord:
    """The full record of a decision."""
    assert watched.policy is not None
    assert made.decision is not None
    record = made.record
    return DecisionRecord(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        generation=record.generation,
        now=made.now,
        # Without the template: nothing decides on it, and its environment may hold secrets.
        spec={key: value for key, value in record.spec_raw.items() if key != "template"},
        policy=watched.policy,
        target=_target(watched, live, made.before),
        observation=made.observation,
        memory=made.before,
        decision=made.decision,
    )


def _target(watched: Watched, live: Live, memory: Memory) -> Target:
    """What is live; for a Deployment that is not there (any more) what it is going to be."""
    record, policy = watched.record, watched.policy
    assert record.spec is not None
    assert policy is not None
    target = live.target(restart_delivery=choices.delivery(record.spec).restart)
    if live.deployment is not None:
        return target
    bounds = policy.replicas
    size = memory.settings.replicas if memory.settings is not None else bounds.manual
    if bounds.mode is Mode.AUTO and size > 0:
        size = min(max(size, bounds.min), bounds.max)
    stated = limits(_container(record))
    return replace(
        target,
        replicas=size,
        memory_limit_bytes=stated.memory_bytes,
        cpu_limit_cores=stated.cpu_cores,
        grace_seconds=grace_seconds(_pod_spec(record)),
    )


def _container(record: Record) -> dict[str, object]:
    """The agent's container as the template has it."""
    wanted = choices.container(record.spec) if record.spec is not None else None
    containers = _pod_spec(record).get("containers") or []
    return next((dict(each) for each in containers if each.get("name") == wanted), {})


def _pod_spec(record: Record) -> dict[str, Any]:
    return dict((record.spec_raw.get("template") or {}).get("spec") or {})


def _request(record: Record, policy: Policy) -> SignalRequest:
    assert record.spec is not None
    wait, latency = policy.objectives.queue_wait, policy.objectives.latency
    external = choices.external(record.spec)
    return SignalRequest(
        uid=record.uid,
        namespace=record.namespace,
        workload=record.target_name,
        server=choices.server(record.spec),
        preset=choices.framework(record.spec),
        window_seconds=policy.window_seconds,
        queue_wait_quantile=wait.quantile if wait is not None else None,
        queue_wait_target_seconds=wait.target_seconds if wait is not None else None,
        latency_quantile=latency.quantile if latency is not None else None,
        latency_target_seconds=latency.target_seconds if latency is not None else None,
        overrides=overrides_of(record.spec.signals),
        external_template=external.template if external is not None else "",
        external_parameters=tuple(sorted((external.parameters or {}).items())) if external is not None else (),
        required=REQUIRED,
    )
