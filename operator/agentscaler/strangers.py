"""Pods that answer their scrape and export nothing that their framework would: found, asked about once, and told."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from agentscaler.api.conditions import Reason
from agentscaler.core.observation import Health, Observation, SignalName
from agentscaler.frameworks.signature import stranger
from agentscaler.signals.collector import Collector
from agentscaler.signals.request import SignalRequest

PATIENCE_SECONDS: Final = 60.0
"""For so long nothing may come of pods that answer: some export a metric with its first event."""
AGAIN_SECONDS: Final = 600.0
"""Between two questions about one object."""
MOST_AT_ONCE: Final = 5
"""Questions in one tick: after a change of the scrape configuration all objects may be strangers."""


@dataclass(slots=True)
class _Note:
    request: SignalRequest
    since: float
    asked_at: float = float("-inf")
    told: str = ""


class Strangers:
    """What is known of such objects."""

    def __init__(self, collector: Collector) -> None:
        """Ask nothing yet.

        Args:
            collector: Asks the servers.
        """
        self._collector = collector
        self._notes: dict[str, _Note] = {}

    async def tell(
        self, requests: Collection[SignalRequest], observations: Mapping[str, Observation], now: float
    ) -> dict[str, Observation]:
        """The observations, with the problem of those whose pods export something else.

        Args:
            requests: Of the objects of this tick.
            observations: By uid.
            now: Unix seconds.
        """
        told = dict(observations)
        due: list[_Note] = []
        for request in requests:
            seen = observations.get(request.uid)
            if seen is None or not _is_silent(seen):
                self._notes.pop(request.uid, None)
                continue
            note = self._notes.get(request.uid)
            if note is None or note.request != request:
                note = self._notes[request.uid] = _Note(request, now)
            if now - note.since >= PATIENCE_SECONDS and now - note.asked_at >= AGAIN_SECONDS:
                due.append(note)
        await asyncio.gather(*(self._ask(note, now) for note in due[:MOST_AT_ONCE]))
        for request in requests:
            note = self._notes.get(request.uid)
            if note is not None and note.told:
                seen = told[request.uid]
                problem = (str(Reason.WRONG_FRAMEWORK), note.told)
                told[request.uid] = replace(seen, problems=(problem, *seen.problems))
        return told

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._notes.pop(uid, None)

    async def _ask(self, note: _Note, now: float) -> None:
        note.asked_at = now
        names = await self._collector.agent_names(note.request, now)
        if names is not None:
            note.told = stranger(note.request.preset, names)


def _is_silent(seen: Observation) -> bool:
    """Whether pods answer, and there is no series of any run, not even an old one."""
    empty = all(
        seen.signal(name).health is Health.EMPTY for name in (SignalName.IN_FLIGHT, SignalName.REQUEST_RATE_600)
    )
    return empty and (seen.value(SignalName.TARGETS_UP) or 0) > 0
