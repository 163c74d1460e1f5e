"""Replicas, through `/scale`. Pods that leave are the idle ones, or none leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from agentscaler.api.conditions import Reason
from agentscaler.core.decision import Step
from agentscaler.core.policy import Mode
from agentscaler.kube.api import MERGE, KubeApi
from agentscaler.kube.case import Case
from agentscaler.kube.errors import Conflict, KubeError, NotFound
from agentscaler.kube.live import DeploymentFacts, PodFacts
from agentscaler.kube.memo import Memo, Problem, problem_of
from agentscaler.kube.paths import DEPLOYMENTS, PODS
from agentscaler.kube.sight import pods_of
from agentscaler.kube.workload import DELETION_COST, MANAGER, SCALE_MANAGER

OUR_COST = -1_000_000
"""Costs of ours lie at and below this; those of users are small numbers."""
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Scaled:
    """What became of an order."""

    replicas: int
    """What the target's spec asks for now."""
    written: bool = False
    problem: Problem | None = None
    hold: Problem | None = None


class Scaler:
    """Moves the replicas of one target."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def choose(self, case: Case, facts: DeploymentFacts, wanted: int, memo: Memo) -> Scaled | None:
        """Choose the pods that leave; why none may, or None. Never raises a `KubeError`.

        Pods are only removed by a decision of our own when it is known what each of them is doing; a person's order
        (a size, a bound, zero) is carried out in any case, with the idle ones first as far as that is known.
        """
        try:
            hold = await self._mark(case, facts, wanted, memo)
        except KubeError as error:
            return Scaled(facts.replicas, problem=problem_of(error))
        return None if hold is None else Scaled(facts.replicas, hold=hold)

    async def scale(self, case: Case, facts: DeploymentFacts, wanted: int, memo: Memo) -> Scaled:
        """Bring the target to `wanted` replicas; never raises a `KubeError`. Fewer: `choose` comes before it."""
        try:
            written = await self._write(facts, wanted, memo, case.now)
            return Scaled(wanted, written=True) if written else Scaled(facts.replicas)
        except KubeError as error:
            return Scaled(facts.replicas, problem=problem_of(error))

    async def clear(self, case: Case, facts: DeploymentFacts, memo: Memo) -> bool:
        """Take our deletion costs off pods that stay; whether anything was written. Call it when no pod is leaving."""
        if not memo.marked:
            return False
        marked = set(memo.marked)
        try:
            pods = await pods_of(self._api, facts)
            stay = [pod for pod in pods if _is_ours(pod) and not pod.terminating]
            await self._set_costs(case, [(pod, None) for pod in stay])
        except KubeError:
            return False  # the next pass tries again
        memo.marked -= marked
        return bool(stay)

    async def _mark(self, case: Case, facts: DeploymentFacts, wanted: int, memo: Memo) -> Problem | None:
        """Give the idlest pods the lowest deletion costs; a problem where it is not known which they are."""
        pods = [pod for pod in await pods_of(self._api, facts) if not pod.terminating]
        ready = [pod for pod in pods if pod.ready]
        # Pods that are not ready leave first, whatever their cost.
        leaving = len(ready) - max(0, wanted)
        if leaving <= 0:
            return None
        busy = await case.in_flight()
        unknown = [pod for pod in ready if pod.name not in busy]
        if unknown and not is_ordered(case, facts, wanted):
            return Problem(
                Reason.HOLDING_UNKNOWN, "no pod is removed while it is not known how many runs each one has in flight"
            )
        # Unknown pods go last: they may be the busiest.
        ranked = sorted(ready, key=lambda pod: (pod.name not in busy, busy.get(pod.name, 0.0), -pod.created_at))
        lowest = min([0, *(pod.deletion_cost or 0 for pod in ready if not _is_ours(pod))])
        chosen = [(pod, min(lowest, 0) + OUR_COST - leaving + rank) for rank, pod in enumerate(ranked[:leaving])]
        stale = [(pod, None) for pod in ranked[leaving:] if _is_ours(pod)]
        memo.marked |= {pod.name for pod, _ in chosen}
        await self._set_costs(case, [*chosen, *stale])
        return None

    async def _set_costs(self, case: Case, costs: Iterable[tuple[PodFacts, int | None]]) -> None:
        changes = [(pod, cost) for pod, cost in costs if pod.deletion_cost != cost]
        await asyncio.gather(*(self._set_cost(case, pod, cost) for pod, cost in changes))

    async def _set_cost(self, case: Case, pod: PodFacts, cost: int | None) -> None:
        annotations = {DELETION_COST: None if cost is None else str(cost)}
        body = {"metadata": {"uid": pod.uid, "annotations": annotations}}
        try:
            await self._api.patch(
                PODS.path(case.record.namespace, pod.name), body, content_type=MERGE, field_manager=MANAGER
            )
        except (NotFound, Conflict):
            return  # it has gone already

    async def _write(self, facts: DeploymentFacts, wanted: int, memo: Memo, now: float) -> bool:
        """Write the size unless somebody else has changed it since it was read."""
        path = DEPLOYMENTS.path(facts.namespace, facts.name, "scale")
        version = facts.resource_version
        for _ in range(_ATTEMPTS):
            body = {"metadata": {"resourceVersion": version, "uid": facts.uid}, "spec": {"replicas": wanted}}
            try:
                answer = await self._api.patch(path, body, content_type=MERGE, field_manager=SCALE_MANAGER)
            except NotFound:
                return False
            except Conflict:
                # As a rule only the Deployment's own status has moved on.
                live = await self._api.get(path)
                if live["metadata"]["uid"] == facts.uid and live["spec"].get("replicas") == wanted:
                    memo.wrote_deployment(live, now)  # an attempt before this one went through
                    return True
                if live["metadata"]["uid"] != facts.uid or (live["spec"].get("replicas") or 0) != facts.replicas:
                    return False
                version = live["metadata"]["resourceVersion"]
            else:
                memo.wrote_deployment(answer, now)
                return True
        return False


def _is_ours(pod: PodFacts) -> bool:
    return pod.deletion_cost is not None and pod.deletion_cost <= OUR_COST


def is_ordered(case: Case, facts: DeploymentFacts, wanted: int) -> bool:
    """Whether a person asks for this size, and not demand or a saving."""
    policy, decision = case.policy, case.decision
    if policy is None or decision is None or policy.replicas.mode is not Mode.AUTO:
        return True
    named = any(step.reason is Reason.RESTARTED_FROM_SIZE or _cuts(step, wanted) for step in decision.steps)
    return named or (facts.replicas > policy.replicas.max and wanted == policy.replicas.max)


def _cuts(step: Step, wanted: int) -> bool:
    """Whether the maximum of a schedule of the user's is what brings the size down."""
    return step.rule == "keep-schedule" and isinstance(step.before, int) and step.before > wanted == step.after
