"""Makes and mends the Deployment of a template. Its size is nobody's business here, but for the very first one.

Server-side apply under a field manager of its own: fields that the user takes out of the template go, fields that
others add stay. A refused apply stores nothing, so that it is its own check of the template.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentscaler.api.conditions import Reason
from agentscaler.kube.api import APPLY, KubeApi
from agentscaler.kube.case import Case, Delivered
from agentscaler.kube.errors import Conflict, Invalid, KubeError, NotFound
from agentscaler.kube.live import DeploymentFacts
from agentscaler.kube.memo import NAME_AGAIN_SECONDS, Memo, Problem, problem_of
from agentscaler.kube.paths import DEPLOYMENTS
from agentscaler.kube.workload import MANAGER, NAME_LABEL, SCALE_MANAGER, Body, deployment, fingerprint, template_hash

RETRY_SECONDS = 60.0
"""After the refusal of a template; a changed one is tried at once."""
RESTORE_EVERY_SECONDS = 60.0
"""A template that others keep changing is put back at this pace, not in a loop of rollouts."""
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Built:
    """What was done to the Deployment."""

    problem: Problem | None = None
    created: bool = False
    applied: bool = False
    missed: bool = False
    """It has changed since it was read: look again at once."""
    restored: bool = False
    """The template was put back after somebody else's hand."""


class Builder:
    """Keeps owned Deployments as their templates say."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def ensure(self, case: Case, delivered: Delivered, replicas: int, memo: Memo) -> Built:
        """Create the Deployment, or apply its template where that differs; never raises a `KubeError`.

        Args:
            case: An object with a template.
            delivered: Says for which settings generation pods are to be restarted.
            replicas: Its first size.
            memo: What was refused or seen before.
        """
        facts, now = case.live.deployment, case.now
        restarted_for = facts.restarted_for if facts is not None else None
        generation = delivered.restart_generation if delivered.restart_generation is not None else restarted_for
        wanted = template_hash(case.record, generation)
        if memo.refused is not None and memo.refused_hash == wanted and 0 < memo.retry_at - now <= RETRY_SECONDS:
            return Built(memo.refused)
        memo.refused = None
        try:
            if facts is None:
                return await self._create(case, generation, replicas, memo, wanted)
            drifted = self._drifted(facts, memo, now)
            if facts.applied_hash == wanted and facts.owned and not drifted:
                return Built()
            if drifted:
                memo.restored_at = now
            restarted_at = int(now) if delivered.restarts else _whole(facts.restarted_at)
            body = deployment(case.record, restart_generation=generation, restarted_at=restarted_at)
            body["metadata"]["uid"] = facts.uid
            await self._apply(body, memo, case.now)
            return Built(applied=True, restored=drifted)
        except (Conflict, NotFound):
            return Built(missed=True)
        except Invalid as error:
            memo.refused_hash, memo.retry_at = wanted, now + RETRY_SECONDS
            memo.refused = Problem(Reason.INVALID_TEMPLATE, _mend(error), stalled=True)
            return Built(memo.refused)
        except KubeError as error:
            return Built(problem_of(error))

    def _drifted(self, facts: DeploymentFacts, memo: Memo, now: float) -> bool:
        """Whether somebody else has changed the template since our last apply."""
        if not memo.fingerprint:
            memo.fingerprint = facts.template_fingerprint
        changed = facts.template_fingerprint != memo.fingerprint
        return changed and not 0 <= now - memo.restored_at < RESTORE_EVERY_SECONDS

    async def _create(self, case: Case, generation: int | None, replicas: int, memo: Memo, wanted: str) -> Built:
        """Create it. Without force: what carries another selector is somebody else's, and the API server says so."""
        body = deployment(case.record, replicas=replicas, restart_generation=generation)
        path = DEPLOYMENTS.path(case.record.namespace, case.record.name)
        try:
            answer = await self._api.patch(path, body, content_type=APPLY, field_manager=MANAGER)
        except Conflict:
            found = await self._api.get(path)
            if not _may_take(found, case):
                memo.refused_hash, memo.retry_at = wanted, case.now + NAME_AGAIN_SECONDS
                memo.refused = Problem(Reason.NAME_TAKEN, _taken(case.record.name), stalled=True)
                return Built(memo.refused)
            # Ours after all, without the label that would have shown it to us, or an orphan of this name.
            body = deployment(case.record, restart_generation=generation)
            body["metadata"]["uid"] = found["metadata"]["uid"]
            await self._apply(body, memo, case.now)
            return Built(applied=True)
        self._note(answer, memo, case.now)
        return Built(created=True)

    async def _apply(self, body: Body, memo: Memo, now: float) -> None:
        await self._keep_size(body["metadata"]["namespace"], body["metadata"]["name"])
        path = DEPLOYMENTS.path(body["metadata"]["namespace"], body["metadata"]["name"])
        answer = await self._api.patch(path, body, content_type=APPLY, field_manager=MANAGER, force=True)
        self._note(answer, memo, now)

    async def _keep_size(self, namespace: str, name: str) -> None:
        """Put the size into the hands of the scale manager.

        Until it has been changed for the first time it belongs to the manager that created it, and an apply without
        it would drop it to 1.
        """
        path = DEPLOYMENTS.path(namespace, name, "scale")
        for attempt in range(_ATTEMPTS):
            scale = await self._api.get(path)
            body = {
                "apiVersion": "autoscaling/v1",
                "kind": "Scale",
                "metadata": {"name": name, "namespace": namespace}
                | {key: scale["metadata"][key] for key in ("uid", "resourceVersion")},
                "spec": {"replicas": int((scale.get("spec") or {}).get("replicas") or 0)},
            }
            try:
                await self._api.patch(path, body, content_type=APPLY, field_manager=SCALE_MANAGER, force=True)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    @staticmethod
    def _note(answer: Body, memo: Memo, now: float) -> None:
        memo.wrote_deployment(answer, now)
        memo.fingerprint = fingerprint(answer["spec"]["template"])


def _may_take(found: Body, case: Case) -> bool:
    """Whether a Deployment of our name is controlled by this object, or is our orphan."""
    metadata = found["metadata"]
    controllers = [owner["uid"] for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    selector = ((found["spec"].get("selector") or {}).get("matchLabels") or {}).get(NAME_LABEL)
    return controllers == [case.record.uid] or (not controllers and selector == case.record.name)


def _taken(name: str) -> str:
    return f"Deployment {name} is not ours: rename one of the two, or adopt it by scaleTargetRef"


def _mend(error: Invalid) -> str:
    causes = "; ".join(f"{field}: {message}" for field, message in error.causes)
    return f"the API server refuses spec.template, correct it: {causes or error}"[:1000]


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
