"""The conditions of an object, out of what is live, what was decided and what could be written. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.kube import native
from agentscaler.kube.case import Case, Outcome
from agentscaler.kube.memo import Problem

LONGEST_MESSAGE = 1024

# What keeps an object from being acted upon at all; other problems are shown, and the rest goes on.
_BLOCKING = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.TARGET_NOT_FOUND,
        Reason.CONTAINER_NOT_FOUND,
        Reason.NAME_TAKEN,
        Reason.FORBIDDEN,
        Reason.WRITE_FAILED,
        Reason.TARGET_UNAVAILABLE,
        Reason.TARGET_SHARED,
    }
)
_HOPELESS = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.INVALID_TEMPLATE,
        Reason.TARGET_NOT_FOUND,
        Reason.CONTAINER_NOT_FOUND,
        Reason.NAME_TAKEN,
        Reason.FORBIDDEN,
        Reason.TARGET_SHARED,
    }
)


def blocked(case: Case) -> Problem | None:
    """Why nothing may be written for this object now; None when all is clear."""
    record, live = case.record, case.live
    if case.failure is not None:
        return case.failure
    if record.spec is None:
        return Problem(Reason.INVALID_SPEC, record.invalid, stalled=True)
    if live.conflict is not None and live.conflict.reason is Reason.TARGET_SHARED:
        return Problem(Reason.TARGET_SHARED, live.conflict.message, stalled=True)
    for condition in live.problems:
        if _blocks(case, condition):
            return Problem(condition.reason, condition.message, stalled=condition.reason in _HOPELESS)
    if not live.known:
        return Problem(Reason.TARGET_UNAVAILABLE, "the target cannot be read now: everything is held")
    return None


def nothing_done(case: Case, outcome: Outcome) -> bool:
    """Whether nothing comes of a decision: there are no pods, and only a person can change that."""
    problem = outcome.problem
    return problem is not None and (case.decision is None or (problem.stalled and case.live.deployment is None))


def _blocks(case: Case, condition: Condition) -> bool:
    if condition.reason not in _BLOCKING or condition.type is ConditionType.CONFLICT:
        return False
    deployment = case.live.deployment
    orphan = deployment is not None and not deployment.controller and deployment.instance == case.record.name
    # A Deployment with our selector that nobody controls is taken (back) by the next apply.
    return not (orphan and condition.reason is Reason.NAME_TAKEN and condition.type is ConditionType.ABLE_TO_SCALE)


def conditions(case: Case, outcome: Outcome) -> tuple[Condition, ...]:
    """All conditions, each type once; those that only a decision knows are left out without one."""
    decided = {c.type: c for c in case.decision.conditions} if case.decision is not None else {}
    problem = outcome.problem
    if problem is not None and nothing_done(case, outcome):
        decided[ConditionType.SCALING_ACTIVE] = Condition(
            ConditionType.SCALING_ACTIVE, False, problem.reason, problem.message
        )
    noted = {each.type: each for each in case.live.problems}
    stalled = _stalled(problem, noted.get(ConditionType.STALLED) or decided.get(ConditionType.STALLED))
    found = {
        **decided,
        ConditionType.CONFLICT: _conflict(case),
        ConditionType.DELIVERED: outcome.delivered.condition,
        ConditionType.NATIVE_SETTINGS: outcome.delivered.native or native.condition(case),
        ConditionType.ABLE_TO_SCALE: _able(case, outcome),
        **noted,
        ConditionType.STALLED: stalled,
        ConditionType.RECONCILING: _reconciling(case, outcome, stalled),
    }
    found[ConditionType.READY] = _ready(case, outcome, found)
    return tuple(found[kind] for kind in ConditionType if kind in found)


def stamped(
    found: tuple[Condition, ...], previous: list[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """Conditions as status holds them. The transition time moves only when the status flips.

    Args:
        found: The conditions of now.
        previous: `status.conditions` as it stands; types that are not in `found` stay as they are.
        generation: Of the spec that `found` is about.
        now: RFC 3339.
    """
    before = {str(each.get("type")): each for each in previous}
    made = {str(each.type): _stamp(each, before.get(str(each.type)), generation, now) for each in found}
    return [
        dict(made.get(str(kind)) or before[str(kind)])
        for kind in ConditionType
        if str(kind) in made or str(kind) in before
    ]


def _stamp(found: Condition, before: Mapping[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    status = {True: "True", False: "False", None: "Unknown"}[found.status]
    same = before is not None and before.get("status") == status
    return {
        "type": str(found.type),
        "status": status,
        "reason": str(found.reason),
        "message": found.message[:LONGEST_MESSAGE],
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
        "observedGeneration": generation,
    }


def _stalled(problem: Problem | None, noted: Condition | None) -> Condition:
    kind = ConditionType.STALLED
    if problem is not None and problem.stalled:
        return Condition(kind, True, problem.reason, problem.message)
    return noted or Condition(kind, False, Reason.PROGRESSING, "nothing waits for a person")


def _conflict(case: Case) -> Condition:
    conflict = case.live.conflict
    if conflict is None:
        return Condition(ConditionType.CONFLICT, False, Reason.NO_CONFLICT, "nobody else drives the target")
    return Condition(ConditionType.CONFLICT, True, conflict.reason, conflict.message)


def _able(case: Case, outcome: Outcome) -> Condition:
    kind = ConditionType.ABLE_TO_SCALE
    for problem in (outcome.problem, outcome.hold):
        if problem is not None:
            return Condition(kind, False, problem.reason, problem.message)
    if case.live.conflict is not None:
        return Condition(kind, False, Reason.HOLDING_CONFLICT, "replicas are left to the one that Conflict names")
    return Condition(kind, True, Reason.READY_TO_SCALE, "the target takes writes")


def _reconciling(case: Case, outcome: Outcome, stalled: Condition) -> Condition:
    kind, deployment = ConditionType.RECONCILING, case.live.deployment
    if stalled.status:
        return Condition(kind, False, stalled.reason, "nothing moves until what Stalled names is mended")
    if deployment is None:
        return Condition(kind, True, Reason.PROGRESSING, "the Deployment is being made")
    if deployment.rolling_out:
        return Condition(kind, True, Reason.ROLLING_OUT, "pods of the current template replace older ones")
    if deployment.changing or outcome.replicas != deployment.replicas:
        return Condition(kind, True, Reason.PODS_STARTING, "pods are on their way in or out")
    if outcome.delivered.waiting:
        return Condition(kind, True, Reason.WAITING_FOR_REPORT, outcome.delivered.condition.message)
    return Condition(kind, False, Reason.STABLE, "what is asked for is there")


def _ready(case: Case, outcome: Outcome, found: Mapping[ConditionType, Condition]) -> Condition:
    kind, deployment, delivered = ConditionType.READY, case.live.deployment, outcome.delivered
    if outcome.problem is not None:
        return Condition(kind, False, outcome.problem.reason, outcome.problem.message)
    if deployment is None:
        return Condition(kind, False, Reason.TARGET_UNAVAILABLE, "there is no Deployment yet")
    if deployment.replicas == 0:
        return Condition(kind, True, Reason.SCALED_TO_ZERO, "no pods are asked for")
    if case.live.ready_replicas == 0 and deployment.available == 0:
        return Condition(kind, False, Reason.TARGET_UNAVAILABLE, "no pod is ready")
    metrics = found.get(ConditionType.METRICS_AVAILABLE)
    if metrics is None or not metrics.status:
        reason = metrics.reason if metrics is not None else Reason.SIGNALS_EMPTY
        return Condition(kind, False, reason, metrics.message if metrics is not None else "nothing is known yet")
    # A change of settings on a service that runs well is Reconciling, and no reason to call it not Ready.
    changing = delivered.waiting and not delivered.overdue and _has_reported(case)
    if delivered.condition.status is not True and not changing:
        return Condition(kind, False, delivered.condition.reason, delivered.condition.message)
    return Condition(kind, True, Reason.AVAILABLE, "pods are ready, settings delivered, signals known")


def _has_reported(case: Case) -> bool:
    return bool(case.record.status.get("appliedGeneration"))
