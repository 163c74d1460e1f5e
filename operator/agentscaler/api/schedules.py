"""Bounds of replicas by the clock on the wall."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field

from agentscaler.api.rules import Checked, Model, Rule, ordered
from agentscaler.api.values import DnsLabel

MAX_SCHEDULES: Final = 16
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIME: Final = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
_ZONE: Final = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"


def _is_time(value: str) -> bool:
    return re.fullmatch(_TIME, value) is not None


def _is_zone(value: str) -> bool:
    return re.fullmatch(_ZONE, value) is not None


TimeOfDay = Annotated[
    str,
    Field(max_length=5),
    Checked(
        rules=(
            Rule(
                f"self.matches('{_TIME}')",
                'a time of day is written with hours and minutes: "08:30", and "24:00" for the end of the day',
                _is_time,
            ),
        )
    ),
]
"""Hours and minutes of a day."""

TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Checked(
        rules=(
            Rule(
                f"self.matches('{_ZONE}')",
                "timeZone must be a name of the time zone database: write it as Europe/Berlin or UTC",
                _is_zone,
            ),
        )
    ),
]
"""Name of a time zone; whether it exists, only the operator can tell."""


class Schedule(Model):
    """Other bounds of replicas, at times that come back."""

    rules = (
        *ordered(initial=False),
        Rule(
            "has(self.min) || has(self.max)",
            "a schedule needs min or max: say which bound it sets",
            lambda schedule: schedule.min is not None or schedule.max is not None,
        ),
        Rule(
            "self.start != self.end && self.start != '24:00'",
            'start must differ from end and come before "24:00": write a whole day as start "00:00", end "24:00"',
            lambda schedule: schedule.start not in (schedule.end, "24:00"),
            ".start",
        ),
    )

    name: DnsLabel | None = None
    """What conditions and decisions call it. Effective default: its place in the list, such as schedule-0."""
    days: (
        Annotated[
            tuple[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ...],
            Field(strict=False, min_length=1, max_length=7),
        ]
        | None
    ) = None
    """Days on which it begins. Effective default: all."""
    start: TimeOfDay
    """First minute, such as "08:30". One that a change of the clock skips counts as long after midnight as on other
    days; of one that comes twice the first counts."""
    end: TimeOfDay
    """First minute after it; if not later than start, that of the next day."""
    time_zone: TimeZone | None = None
    """Zone of start and end, a name such as Europe/Berlin. Effective default: UTC."""
    min: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Fewest pods while it lasts. 0: none where there was no run for ten minutes; nothing but externalDemand, a person
    or the end of the schedule brings them back, since no request waits for a pod. Effective default: that of
    replicas, or max where that is lower."""
    max: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Most pods while it lasts; 0 stops the service. Effective default: that of replicas, or min where that is
    higher."""
