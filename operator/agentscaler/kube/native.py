"""The framework's own settings file of one object: what it is to hold, and what a person should know of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from agentscaler.api.conditions import Condition, ConditionType, Reason
from agentscaler.core.observation import Observation, SignalName
from agentscaler.core.settings import Settings
from agentscaler.frameworks import choices, derive
from agentscaler.frameworks.adapter import Adapter
from agentscaler.frameworks.errors import BrokenFile
from agentscaler.frameworks.registry import PRESETS
from agentscaler.frameworks.render import Rendered, entry_bytes_of, render
from agentscaler.kube import tuning
from agentscaler.kube.case import Case
from agentscaler.kube.live import BaseFacts, ConfigMapFacts

_FILES = {preset.adapter.file for preset in PRESETS.values() if preset.adapter is not None}


def _told(status: bool | None, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.NATIVE_SETTINGS, status, reason, message)


NO_FILE: Final = _told(True, Reason.NOT_NEEDED, "the framework has no settings file of its own")


@dataclass(frozen=True, slots=True)
class Native:
    """The file of one object. Both are empty where the framework has none."""

    file: str = ""
    text: str | None = None
    """What it is to hold; None: there must be none, since nothing is known to start from."""
    based: bool = False
    """It is made from a file of the user's."""
    condition: Condition = NO_FILE
    """What a person should know of it."""

    def data(self) -> dict[str, str]:
        """As the ConfigMap holds it."""
        return {} if self.text is None else {self.file: self.text}

    def stale(self, facts: ConfigMapFacts) -> dict[str, None]:
        """Files of other frameworks that are left over."""
        return {name: None for name in facts.data if name in _FILES - {self.file if self.text is not None else ""}}

    def stands(self, facts: ConfigMapFacts) -> bool:
        """Whether the ConfigMap has it already."""
        return not self.stale(facts) and facts.data.get(self.file) == self.text


def file_of(case: Case) -> str:
    """Name of the file; empty where the framework has none."""
    adapter = _adapter(case)
    return adapter.file if adapter is not None else ""


def native(case: Case, settings: Settings, last_good: str | None, last_tuning: str | None) -> Native:
    """The file for some settings.

    Args:
        case: The object in this tick.
        settings: What is to be delivered.
        last_good: The file that was written last, to go on from while the user's own one is broken or away.
        last_tuning: The `tuning.json` that was written with it.
    """
    adapter, spec = _adapter(case), case.record.spec
    if adapter is None or spec is None:
        return Native()
    restart, base = choices.delivery(spec).restart, case.live.base
    entry_bytes = _entry_bytes(adapter, case.observation, last_good, last_tuning, restart=restart)
    settings = replace(settings, replicas=0)  # they are in no file
    wrong: Condition | None = None
    if base is not None and base.text is None:
        wrong = _told(False, Reason.BASE_NOT_FOUND, f"{base.missing}; the last good file stays in force")
    else:
        try:
            made = render(adapter, settings, (base.text or "") if base else "", entry_bytes, restart=restart)
            return Native(
                adapter.file,
                made.text,
                based=base is not None,
                condition=_rendered(case, adapter, made, restart=restart),
            )
        except BrokenFile as error:
            assert base is not None  # an empty file is never broken
            wrong = _broken(base, error)
    if last_good is None:
        return Native(adapter.file, condition=wrong)
    try:
        text = render(adapter, settings, last_good, entry_bytes, restart=restart).text
    except BrokenFile:
        text = last_good
    return Native(adapter.file, text, based=True, condition=wrong)


def condition(case: Case) -> Condition:
    """What is told of the file where nothing was looked at: as before, or that it is not known."""
    for each in case.record.status.get("conditions") or ():
        if each.get("type") == ConditionType.NATIVE_SETTINGS:
            status = {"True": True, "False": False}.get(each["status"])
            return Condition(ConditionType.NATIVE_SETTINGS, status, Reason(each["reason"]), each["message"])
    return NO_FILE


def _shadowed(case: Case, adapter: Adapter, *, restart: bool) -> list[str]:
    """Variables of the agent's container that may go before what is written; those of an adopted target are not known.

    What is not written since only a start reads it is the user's to set, there as well as in the file.
    """
    pod = (case.record.spec_raw.get("template") or {}).get("spec") or {}
    mine = [each for each in pod.get("containers") or () if each.get("name") == case.live.container]
    given = {str(each.get("name")).lower() for container in mine for each in container.get("env") or ()}
    variables = (
        adapter.variable(setting) for setting in adapter.settings if setting.written and (setting.hot or restart)
    )
    return [variable for variable in variables if variable.lower() in given]


def _rendered(case: Case, adapter: Adapter, made: Rendered, *, restart: bool) -> Condition:
    if shadowed := _shadowed(case, adapter, restart=restart):
        mend = f"remove them from the env of container {case.live.container}"
        message = f"the pod template sets {', '.join(shadowed)}, which many agents take before the file: {mend}"
        return _told(None, Reason.SHADOWED, message)
    if made.withheld:
        names = ", ".join(adapter.name(each) for each in made.withheld)
        mend = "set delivery.mode: Restart, or set them yourself"
        return _told(False, Reason.RESTART_NEEDED, f"only a start of the agent reads {names}: {mend}")
    if narrowed := (case.effective.get("delivery") or {}).get("limits"):
        return _told(True, Reason.FRAMEWORK_LIMITS, "; ".join(narrowed))
    return _told(True, Reason.RENDERED, f"{adapter.file} holds what was decided")


def _adapter(case: Case) -> Adapter | None:
    spec = case.record.spec
    preset = PRESETS.get(choices.framework(spec)) if spec is not None else None
    return preset.adapter if preset is not None else None


def _broken(base: BaseFacts, error: BrokenFile) -> Condition:
    line = f", line {error.line}" if error.line is not None else ""
    place = f"ConfigMap {base.name}, key {base.key}{line}"
    return _told(False, Reason.BASE_BROKEN, f"{place}: {error}: correct it there; the last good file stays in force")


def _entry_bytes(
    adapter: Adapter, observation: Observation, last_good: str | None, last_tuning: str | None, *, restart: bool
) -> float:
    """Mean bytes of a cache entry; the one of the last file outlives a moment without metrics."""
    size, entries = observation.value(SignalName.CACHE_BYTES), observation.value(SignalName.CACHE_ENTRIES)
    learned = size / entries if size and entries else None
    last = tuning.settings_of(last_tuning) if last_tuning else None
    kept: float | None = None
    if last_good and last is not None:
        kept = entry_bytes_of(adapter, last_good, last.cache.max_bytes, restart=restart)
    return derive.mean_entry(learned, kept, adapter.entry_bytes)


def base_facts(name: str, key: str, data: Mapping[str, Any] | None, own: str) -> BaseFacts:
    """What a ConfigMap says of the user's own file.

    Args:
        name: Of the ConfigMap.
        key: Of the file.
        data: Of the ConfigMap, bytes for what is not UTF-8; None: there is none.
        own: Name of the ConfigMap that the operator writes.
    """
    text = (data or {}).get(key)
    if name == own:
        return BaseFacts(name, key, None, f"ConfigMap {name} is the operator's own: name another in baseConfigMap")
    if data is None:
        return BaseFacts(name, key, None, f"ConfigMap {name} does not exist: create it, or correct baseConfigMap.name")
    if isinstance(text, bytes):
        why = f"key {key} of ConfigMap {name} is not text in UTF-8: save the file as UTF-8 and put it in anew"
        return BaseFacts(name, key, None, why)
    if not isinstance(text, str):
        return BaseFacts(name, key, None, f"ConfigMap {name} has no key {key}: add it, or correct baseConfigMap.key")
    return BaseFacts(name, key, text)
