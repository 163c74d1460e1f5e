"""Writes the status of an object, if there is something to say."""

from __future__ import annotations

from agentscaler.api.conditions import ConditionType, Reason
from agentscaler.kube import status
from agentscaler.kube.api import JSON, KubeApi
from agentscaler.kube.case import Case, Event, Outcome
from agentscaler.kube.errors import Conflict, KubeError, NotFound
from agentscaler.kube.memo import Memo, Problem, problem_of
from agentscaler.kube.paths import AGENT_DEPLOYMENTS
from agentscaler.kube.store import Store
from agentscaler.kube.workload import STATUS_MANAGER, Body

# Conditions whose flip a person should see among the events, and the value that is the bad one.
_TOLD = {
    ConditionType.STALLED: "True",
    ConditionType.CONFLICT: "True",
    ConditionType.METRICS_AVAILABLE: "False",
    ConditionType.OBJECTIVE_UNREACHABLE: "True",
}


class StatusWriter:
    """The one writer of status. A write replaces the whole status of the very version that it was made from."""

    def __init__(self, api: KubeApi, store: Store) -> None:
        self._api = api
        self._store = store

    async def write(
        self, case: Case, outcome: Outcome, memo: Memo, *, must: bool = False
    ) -> tuple[bool, Problem | None, tuple[Event, ...]]:
        """Write the status where it differs in more than drifting numbers; never raises a `KubeError`.

        Args:
            case: The object in this tick.
            outcome: What was done.
            memo: Notes on it.
            must: It may not be put off, even where other writes wait for their turn.

        Returns:
            Whether it was written, why it could not be, and the transitions that are worth an event.
        """
        record = self._store.get(case.record.uid)
        if record is None or record.generation != case.record.generation:
            return False, None, ()  # gone, or changed by its user: the next tick speaks for the new one
        old = dict(record.status)
        shown = status.shown(case, outcome, memo.fingerprint)
        if not status.is_worth_a_write(shown, old):
            return False, None, ()
        new = status.whole(shown, case, outcome)
        if not status.is_worth_a_write(new, old):
            return False, None, ()
        if self._api.is_congested and not must and not status.is_urgent(new, old):
            return False, None, ()  # a later tick says it, together with what happens until then
        path = AGENT_DEPLOYMENTS.path(record.namespace, record.name, "status")
        # Replacing the two preconditions by themselves makes the API server check them.
        body = [
            {"op": "replace", "path": "/metadata/uid", "value": record.uid},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": record.resource_version},
            {"op": "add", "path": "/status", "value": new},
        ]
        try:
            answer = await self._api.patch(path, body, content_type=JSON, field_manager=STATUS_MANAGER)
        except (Conflict, NotFound):
            return False, None, ()
        except KubeError as error:
            return False, problem_of(error), ()
        self._store.patched(record.uid, answer)
        return True, None, tuple(_transitions(new, old))


def _transitions(new: Body, old: Body) -> list[Event]:
    before = {each["type"]: each["status"] for each in old.get("conditions") or ()}
    events = []
    for each in new["conditions"]:
        bad = _TOLD.get(each["type"])
        if each["type"] == ConditionType.METRICS_AVAILABLE and before.get(ConditionType.READY) != "True":
            continue  # pods that have just been made are not scraped yet
        known = before.get(each["type"])
        if bad is None or each["status"] == known or (known is None and each["status"] != bad):
            continue
        warning = each["status"] == bad
        if warning or known == bad:
            events.append(Event(Reason(each["reason"]), each["message"], warning=warning, action=each["type"]))
    return events
