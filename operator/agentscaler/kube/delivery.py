"""How settings reach the agents: the ConfigMap, and whether pods report it; see `touch` and `builder` for the rest.

Safe after a crash between any two writes: what is wanted is compared with the live file each time, a generation is
never used for two contents, and only what pods report counts as delivered.
"""

from __future__ import annotations

from dataclasses import replace

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.core.observation import SignalName
from agentscaler.core.settings import Settings
from agentscaler.frameworks.choices import delivery as delivery_choice
from agentscaler.kube import tuning
from agentscaler.kube.api import MERGE, KubeApi
from agentscaler.kube.case import Case, Delivered
from agentscaler.kube.errors import Conflict, KubeError, NotFound
from agentscaler.kube.facts import is_ours, tuning_generation
from agentscaler.kube.live import ConfigMapFacts
from agentscaler.kube.memo import NAME_AGAIN_SECONDS, Memo, Problem, problem_of
from agentscaler.kube.native import Native, file_of, native
from agentscaler.kube.paths import CONFIG_MAPS
from agentscaler.kube.store import Record
from agentscaler.kube.touch import MOST_TOUCHES
from agentscaler.kube.workload import (
    MANAGER,
    SETTINGS_FILE,
    Body,
    adopted_owner,
    config_map,
    mount_advice,
    owner_of,
    settings_name,
)

SETTLE_SECONDS = 15.0
"""How long the second of two steps waits for the report of the first."""
OVERDUE_SECONDS = 120.0


class Delivery:
    """Writes the settings of one object and follows them until every ready pod reports them."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def write(self, case: Case, wanted: Settings, memo: Memo) -> Delivered:
        """Bring the ConfigMap to `wanted`, as far as that is allowed now; never raises a `KubeError`."""
        facts = case.live.configmap
        if facts is not None and not memo.tuning:
            memo.tuning, memo.tuning_written_at = remembered(case.record, facts), case.now
            memo.native, memo.native_file = facts.data.get(file_of(case)), file_of(case)
        target = self._next_step(case, facts, wanted, memo)
        made = native(case, target, memo.last_native(file_of(case)), memo.tuning)
        return replace(await self._write(case, facts, target, made, memo), native=made.condition)

    async def _write(
        self, case: Case, facts: ConfigMapFacts | None, target: Settings, made: Native, memo: Memo
    ) -> Delivered:
        if facts is None and not tuning.has_any(target) and not made.based:
            return Delivered(_delivered(True, Reason.NOT_NEEDED, "every setting is left to the agent"))
        if facts is None and case.now - memo.name_taken_at < NAME_AGAIN_SECONDS:
            return self._without_a_name(case, memo)
        if facts is not None and facts.tuning == tuning.text(target, facts.generation or 0) and made.stands(facts):
            memo.tuning, memo.native, memo.native_file = facts.tuning, made.text, made.file
            return await self._owned(case, facts, memo)
        same = _holds(memo.tuning, target) and memo.last_native(made.file) == made.text
        if facts is not None and self._restart_pending(case) and not same:
            return replace(
                self._judge(case, memo),
                condition=_delivered(
                    False, Reason.WAITING_FOR_REPORT, "changed settings wait until the next restart is allowed"
                ),
            )
        text = self._file(case, facts, target, memo, same=same)
        return await self._put(case, facts, {SETTINGS_FILE: text, **made.data()}, made, memo)

    def _next_step(self, case: Case, facts: ConfigMapFacts | None, wanted: Settings, memo: Memo) -> Settings:
        """`wanted`, or what has to come before it so that a pod never holds more memory than it may."""
        live = tuning.settings_of(facts.tuning) if facts is not None and facts.tuning else None
        if live is None or _by_restart(case):
            return wanted  # a new process starts with all of it; two steps would be two restarts
        step = tuning.frees_first(live, wanted)
        if step != wanted:
            memo.freed_at = case.now
            return step
        if memo.freed_at and case.now - memo.freed_at < SETTLE_SECONDS and self._judge(case, memo).waiting:
            return live
        memo.freed_at = 0.0
        return wanted

    def _restart_pending(self, case: Case) -> bool:
        """Whether settings that only a restart delivers have to wait for the next one."""
        spec, deployment = case.record.spec, case.live.deployment
        if spec is None or deployment is None:
            return False
        choice = delivery_choice(spec)
        if not choice.restart:
            return False
        last = deployment.restarted_at
        return last is not None and case.now - last < choice.min_restart_interval_seconds

    def _file(self, case: Case, facts: ConfigMapFacts | None, target: Settings, memo: Memo, *, same: bool) -> str:
        """`tuning.json` with a generation that no other content has had."""
        record = case.record
        reported = case.observation.value(SignalName.APPLIED_GENERATION)
        status = (record.status.get("settings") or {}).get("generation") or 0
        if memo.tuning and same and (facts is None or _by_restart(case)):
            # Put back after a hand: no pod has read anything else, so that the same content keeps its generation.
            return memo.tuning
        newest = max(status, _generation(memo.tuning), (facts.generation if facts else 0) or 0, int(reported or 0))
        return tuning.text(target, newest + 1)

    async def _put(
        self, case: Case, facts: ConfigMapFacts | None, data: dict[str, str], made: Native, memo: Memo
    ) -> Delivered:
        """Write all files at once: pods see all of them or none."""
        record = case.record
        restored = _restored(facts, memo, made.file)
        owner = self._owner(case)
        try:
            if facts is None:
                answer = await self._api.create(
                    CONFIG_MAPS.path(record.namespace), config_map(record, owner, data), field_manager=MANAGER
                )
            else:
                answer = await self._patch(case, facts, {"data": {**data, **made.stale(facts)}}, owner)
        except Conflict as error:
            if not error.exists:
                return replace(self._judge(case, memo), missed=True)
            return await self._settle_name(case, owner, data, made, memo)
        except KubeError as error:
            return replace(self._judge(case, memo), problem=problem_of(error))
        self._note(answer, data, made, case, memo)
        return replace(self._judge(case, memo), written=True, restored=restored)

    async def _settle_name(self, case: Case, owner: Body, data: dict[str, str], made: Native, memo: Memo) -> Delivered:
        """A ConfigMap of the name exists that no LIST shows: newer than it, ours without its label, or foreign."""
        name = settings_name(case.record)
        path = CONFIG_MAPS.path(case.record.namespace, name)
        try:
            found = await self._api.get(path)
            owners = {each["uid"] for each in found["metadata"].get("ownerReferences") or ()}
            if is_ours(found["metadata"]):
                return replace(self._judge(case, memo), missed=True)
            if owner["uid"] in owners:
                body = config_map(case.record, owner, data)
                body["metadata"] |= {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
                answer = await self._api.patch(path, body, content_type=MERGE, field_manager=MANAGER)
                self._note(answer, data, made, case, memo)
                return replace(self._judge(case, memo), written=True)
        except (Conflict, NotFound):
            return replace(self._judge(case, memo), missed=True)
        except KubeError as error:
            return replace(self._judge(case, memo), problem=problem_of(error))
        memo.name_taken_at = case.now
        return self._without_a_name(case, memo)

    def _without_a_name(self, case: Case, memo: Memo) -> Delivered:
        message = f"ConfigMap {settings_name(case.record)} is not ours: delete or rename it"
        return replace(self._judge(case, memo), problem=Problem(Reason.NAME_TAKEN, message, stalled=True))

    @staticmethod
    def _note(answer: Body, data: dict[str, str], made: Native, case: Case, memo: Memo) -> None:
        memo.wrote_config_map(answer, case.now)
        memo.native, memo.native_file = made.text, made.file
        memo.tuning, memo.tuning_written_at, memo.waiting_since = data[SETTINGS_FILE], case.now, case.now
        # Pods that are still to be made start with it.
        memo.touches = 0 if case.live.deployment is not None else MOST_TOUCHES

    async def _owned(self, case: Case, facts: ConfigMapFacts, memo: Memo) -> Delivered:
        """Settings are as they should be; the owner may not be, after the AgentDeployment or the target came anew."""
        owner = self._owner(case)
        if facts.owner == owner["uid"]:
            return self._judge(case, memo)
        try:
            answer = await self._patch(case, facts, {}, owner)
        except Conflict:
            return replace(self._judge(case, memo), missed=True)
        except KubeError as error:
            return replace(self._judge(case, memo), problem=problem_of(error))
        memo.wrote_config_map(answer, case.now)
        return replace(self._judge(case, memo), written=True)

    async def _patch(self, case: Case, facts: ConfigMapFacts, body: Body, owner: Body) -> Body:
        metadata = {"uid": facts.uid, "resourceVersion": facts.resource_version, "ownerReferences": [owner]}
        path = CONFIG_MAPS.path(case.record.namespace, settings_name(case.record))
        return await self._api.patch(path, {**body, "metadata": metadata}, content_type=MERGE, field_manager=MANAGER)

    def _owner(self, case: Case) -> Body:
        deployment = case.live.deployment
        if case.record.adopts and deployment is not None:
            return adopted_owner(deployment.name, deployment.uid)
        return owner_of(case.record)

    def _judge(self, case: Case, memo: Memo) -> Delivered:
        """What pods say of the settings as they stand."""
        generation = _generation(memo.tuning) or None
        if generation is None:
            return Delivered(_delivered(None, Reason.WAITING_FOR_REPORT, "no settings are written yet"))
        deployment, spec = case.live.deployment, case.record.spec
        choice = delivery_choice(spec) if spec is not None else None
        applied = case.observation.value(SignalName.APPLIED_GENERATION)
        base = Delivered(
            _delivered(True, Reason.REPORTED, "every ready pod reports the current settings"),
            generation,
            memo.tuning,
            None if applied is None else int(applied),
        )
        if choice is not None and choice.restart:
            base = replace(base, **self._restart(case, generation))
        if deployment is not None and deployment.replicas == 0:
            return replace(base, condition=_delivered(True, Reason.NOT_NEEDED, "there are no pods"))
        if deployment is not None and not case.live.settings_mounted:
            advice = mount_advice(case.record, case.live.container)
            message = f"the target does not mount the settings: {advice}"
            return replace(base, condition=_delivered(False, Reason.NOT_MOUNTED, message))
        if self._all_report(case, generation):
            memo.waiting_since, memo.delivered = None, generation
            return base
        if applied in {None, generation} and (memo.delivered == generation or _was_delivered(case, generation)):
            # Signals are away, which MetricsAvailable says, or a pod is new: it has read the current file at its start.
            return base
        if memo.waiting_since is None:
            memo.waiting_since = case.now
        missing = "there are no pods yet" if deployment is None else "not every ready pod reports the current settings"
        return replace(
            base,
            condition=_delivered(False, Reason.WAITING_FOR_REPORT, missing),
            waiting=True,
            overdue=case.now - memo.waiting_since > OVERDUE_SECONDS,
        )

    def _restart(self, case: Case, generation: int) -> Body:
        deployment = case.live.deployment
        current = deployment.restarted_for if deployment is not None else None
        if deployment is None or (current != generation and not self._restart_pending(case)):
            return {"restart_generation": generation, "restarts": deployment is not None}
        return {"restart_generation": current}

    def _all_report(self, case: Case, generation: int) -> bool:
        applied = case.observation.value(SignalName.APPLIED_GENERATION)
        reporting = case.observation.value(SignalName.PODS_REPORTING)
        ready = case.live.ready_replicas
        return ready > 0 and applied == generation and (reporting is None or reporting >= ready)


def _delivered(status: bool | None, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.DELIVERED, status, reason, message)


def _generation(text: str | None) -> int:
    return tuning_generation(text) or 0


def _by_restart(case: Case) -> bool:
    return case.record.spec is not None and delivery_choice(case.record.spec).restart


def _holds(text: str | None, settings: Settings) -> bool:
    """Whether a file holds exactly these settings."""
    return text is not None and tuning.settings_of(text) == replace(settings, replicas=0)


def _was_delivered(case: Case, generation: int) -> bool:
    """Whether status says so of this very generation: it outlives a restart of the operator."""
    status = case.record.status
    said = any(c.get("type") == "Delivered" and c.get("status") == "True" for c in status.get("conditions") or ())
    return said and (status.get("settings") or {}).get("generation") == generation


def remembered(record: Record, facts: ConfigMapFacts) -> str | None:
    """After a start: the file that status speaks of, or the live one where status is older than it by one write.

    A new object that finds settings (it adopts a Deployment that was adopted before) goes on from those.
    """
    settings, generation = tuning.from_status(record.status.get("settings") or {})
    live = facts.tuning or ""
    newer = facts.generation == generation + 1 or not generation
    if newer and tuning.settings_of(live):
        return live
    return tuning.text(settings, generation) if generation else None


def _restored(facts: ConfigMapFacts | None, memo: Memo, file: str) -> str:
    if memo.tuning is None:
        return ""
    if facts is None:
        return "the ConfigMap with the settings was gone and was written anew"
    changed = [SETTINGS_FILE] if facts.tuning != memo.tuning else []
    last = memo.last_native(file)
    if last is not None and facts.data.get(file) != last:
        changed.append(file)
    verb = "was" if len(changed) == 1 else "were"
    return f"{' and '.join(changed)} {verb} changed by somebody else and {verb} put back" if changed else ""
