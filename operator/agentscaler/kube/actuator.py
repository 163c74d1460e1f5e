"""Carries out a decision: settings, Deployment, replicas, status, events, in an order of which every prefix is safe.

1. The ConfigMap, so that pods that start find their settings.
2. The Deployment of a template: made, mended, restarted.
3. The touch, by which running pods see the settings within a second.
4. More replicas; or, after status has been written, fewer: a removal that happened and is not remembered could let
   a rate policy remove too many after a restart, one that is remembered and did not happen only waits.
5. Status, then events.
"""

from __future__ import annotations

from dataclasses import replace

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.core.decision import Decision
from agentscaler.core.settings import Settings
from agentscaler.kube import tuning, verdicts
from agentscaler.kube.api import KubeApi
from agentscaler.kube.builder import Builder
from agentscaler.kube.case import Case, Delivered, Event, Outcome
from agentscaler.kube.delivery import Delivery
from agentscaler.kube.errors import KubeError
from agentscaler.kube.events import Events
from agentscaler.kube.live import DeploymentFacts
from agentscaler.kube.memo import Memo, Problem, problem_of
from agentscaler.kube.scale import Scaled, Scaler, is_ordered
from agentscaler.kube.store import Store
from agentscaler.kube.touch import Touch
from agentscaler.kube.writer import StatusWriter


class Actuator:
    """The act side of one tick, for one object at a time."""

    def __init__(self, api: KubeApi, store: Store) -> None:
        self._delivery = Delivery(api)
        self._touch = Touch(api)
        self._builder = Builder(api)
        self._scaler = Scaler(api)
        self._status = StatusWriter(api, store)
        self._events = Events(api)

    async def act(self, case: Case, memo: Memo) -> Outcome:
        """Carry out what was decided, as far as it is allowed and not done yet; never raises a `KubeError`.

        Args:
            case: The object in this tick.
            memo: Notes on it from the ticks before; changed in place.
        """
        problem = verdicts.blocked(case)
        if problem is not None:
            outcome = Outcome(_untold(case), case.before, problem=problem, replicas=_live_replicas(case))
        elif case.decision is None:
            outcome = Outcome(_untold(case), case.before, replicas=_live_replicas(case))
        else:
            outcome = await self._carry_out(case, case.decision, memo)
        return await self._tell(case, outcome, memo)

    async def _carry_out(self, case: Case, decision: Decision, memo: Memo) -> Outcome:
        if case.fresh:
            memo.wanted = decision.settings
        wanted = memo.wanted or decision.settings
        delivered = await self._delivery.write(case, wanted, memo)
        outcome = Outcome(
            delivered,
            decision.memory if case.fresh else case.before,  # that of a decision of before may have been corrected
            problem=delivered.problem,
            missed=delivered.missed,
            replicas=_live_replicas(case),
            writes=("settings",) if delivered.written else (),
        )
        if delivered.restored:
            outcome = _with(outcome, Event(Reason.RESTORED, delivered.restored, warning=True, action="Restore"))
        if not case.record.adopts and outcome.problem is None:
            outcome = await self._build(case, wanted, outcome, memo)
        if verdicts.nothing_done(case, outcome):
            return replace(outcome, memory=case.before)  # the first decision is still to come
        outcome = await self._touched(case, outcome, memo)
        outcome = await self._scale(case, decision, outcome, memo)
        if case.fresh:
            memo.hold = outcome.hold
        outcome = replace(outcome, hold=memo.hold)
        # Start values are no move.
        started = case.before.settings is not None and decision.reason is not Reason.INITIAL
        if case.fresh and outcome.moved(decision) and outcome.problem is None and started:
            outcome = _with(outcome, Event(decision.reason, decision.summary))
        return outcome

    async def _build(self, case: Case, wanted: Settings, outcome: Outcome, memo: Memo) -> Outcome:
        built = await self._builder.ensure(case, outcome.delivered, wanted.replicas, memo)
        writes = outcome.writes
        if built.created or built.applied:
            restart = built.applied and outcome.delivered.restarts
            writes = (*writes, "deployment", *(("restart",) if restart else ()))
        replicas = wanted.replicas if built.created else outcome.replicas
        missed = outcome.missed or built.missed
        outcome = replace(outcome, problem=built.problem, missed=missed, replicas=replicas, writes=writes)
        if built.restored:
            note = "the Deployment's template was changed by somebody else and was put back"
            outcome = _with(outcome, Event(Reason.RESTORED, note, warning=True, action="Restore"))
        return outcome

    async def _touched(self, case: Case, outcome: Outcome, memo: Memo) -> Outcome:
        try:
            touched = await self._touch.again(case, outcome.delivered, memo)
        except KubeError as error:
            return replace(outcome, problem=outcome.problem or problem_of(error))
        return replace(outcome, writes=(*outcome.writes, "touch")) if touched else outcome

    async def _scale(self, case: Case, decision: Decision, outcome: Outcome, memo: Memo) -> Outcome:
        facts = case.live.deployment
        if facts is None:
            return outcome
        wanted = decision.settings.replicas
        if case.live.conflict is not None or not case.fresh or wanted == facts.replicas:
            return await self._settled(case, outcome, memo)
        if outcome.problem is not None and not _goes_on(case, facts, wanted, outcome.problem):
            outcome = await self._settled(case, outcome, memo)
            return _not_scaled(case, decision, outcome, Scaled(facts.replicas, problem=outcome.problem))
        if 0 < wanted < facts.replicas:
            stays = await self._before_fewer(case, facts, wanted, outcome, memo)
            if isinstance(stays, Scaled):
                return _not_scaled(case, decision, outcome, stays)
            outcome = stays
        scaled = await self._scaler.scale(case, facts, wanted, memo)
        if scaled.replicas != wanted:
            return _not_scaled(case, decision, outcome, scaled)
        return replace(outcome, replicas=wanted, writes=(*outcome.writes, "scale"))

    async def _before_fewer(
        self, case: Case, facts: DeploymentFacts, wanted: int, outcome: Outcome, memo: Memo
    ) -> Scaled | Outcome:
        """What has to be done before pods leave; why they stay, where they do."""
        if _more_work_per_pod_is_coming(case, outcome.delivered):
            wait = Problem(Reason.WAITING_FOR_REPORT, "fewer pods wait until those that stay report more workers")
            return Scaled(facts.replicas, hold=wait)
        stays = await self._scaler.choose(case, facts, wanted, memo)
        if stays is not None:
            return stays
        written, problem, told = await self._status.write(case, _announced(case, outcome, wanted), memo, must=True)
        if problem is not None:
            return Scaled(facts.replicas, problem=problem)
        writes = (*outcome.writes, "status") if written else outcome.writes
        return replace(outcome, events=(*outcome.events, *told), writes=writes)

    async def _settled(self, case: Case, outcome: Outcome, memo: Memo) -> Outcome:
        """Clear deletion costs once nobody is leaving."""
        facts = case.live.deployment
        if facts is None or facts.replicas != facts.status_replicas:
            return outcome
        cleared = await self._scaler.clear(case, facts, memo)
        return replace(outcome, writes=(*outcome.writes, "deletion-cost")) if cleared else outcome

    async def _tell(self, case: Case, outcome: Outcome, memo: Memo) -> Outcome:
        written, problem, told = await self._status.write(case, outcome, memo)
        writes = (*outcome.writes, "status") if written else outcome.writes
        for event in (*outcome.events, *told):
            if await self._events.tell(case.record, event, case.now):
                writes = (*writes, "event")
        return replace(outcome, writes=writes, problem=outcome.problem or problem)


def _with(outcome: Outcome, event: Event) -> Outcome:
    return replace(outcome, events=(*outcome.events, event))


def _live_replicas(case: Case) -> int | None:
    return case.live.deployment.replicas if case.live.deployment is not None else None


def _untold(case: Case) -> Delivered:
    """Delivery as status tells it, where nothing was looked at: unknown is not undelivered."""
    for each in case.record.status.get("conditions") or ():
        if each.get("type") == ConditionType.DELIVERED:
            status = {"True": True, "False": False}.get(each["status"])
            kept = Condition(ConditionType.DELIVERED, status, Reason(each["reason"]), each["message"])
            return _as_before(case, kept)
    unknown = Condition(ConditionType.DELIVERED, None, Reason.WAITING_FOR_REPORT, "no settings are written yet")
    return _as_before(case, unknown)


def _as_before(case: Case, condition: Condition) -> Delivered:
    settings, generation = tuning.from_status(case.record.status.get("settings") or {})
    if not generation:
        return Delivered(condition)
    return Delivered(condition, generation, tuning.text(settings, generation))


def _more_work_per_pod_is_coming(case: Case, delivered: Delivered) -> bool:
    """Whether fewer pods are to do the work because each does more, and they do not do it yet."""
    if not delivered.waiting or delivered.overdue or delivered.applied is None or case.decision is None:
        return False
    before, after = case.decision.current.workers, case.decision.settings.workers
    return (
        before is not None and after is not None and (after > before or delivered.applied < (delivered.generation or 0))
    )


def _goes_on(case: Case, facts: DeploymentFacts, wanted: int, problem: Problem) -> bool:
    """Whether replicas move although something else could not be written.

    What a person orders does, and growth where time mends the problem; nothing is saved meanwhile.
    """
    return is_ordered(case, facts, wanted) or wanted == 0 or (wanted > facts.replicas and not problem.stalled)


def _announced(case: Case, outcome: Outcome, wanted: int) -> Outcome:
    """What status says before pods leave: that they do, and that a person's order is still to be carried out.

    Who is killed between the two finds it there, and carries it out.
    """
    before = case.before
    memory = replace(outcome.memory, manual_replicas=before.manual_replicas, open_order=before.open_order)
    return replace(outcome, memory=memory, replicas=wanted)


def _not_scaled(case: Case, decision: Decision, outcome: Outcome, scaled: Scaled) -> Outcome:
    """The decision's memory without the move that did not happen, so that the next tick decides on it anew."""
    before = case.before
    memory = replace(
        decision.memory,
        settings=replace(decision.settings, replicas=scaled.replicas),
        changes=before.changes,
        manual_replicas=before.manual_replicas,
        open_order=before.open_order,
        action_tokens=before.action_tokens,
        shrunk_from=before.shrunk_from,
        cut_tokens=before.cut_tokens,
    )
    return replace(
        outcome,
        memory=memory,
        problem=outcome.problem or scaled.problem,
        hold=scaled.hold,
        missed=outcome.missed or (scaled.problem is None and scaled.hold is None),
        replicas=scaled.replicas,
    )
