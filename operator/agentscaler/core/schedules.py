"""Bounds of replicas that hold at certain times, and a service that rests without pods.

Times are those of the clock on the wall. Each window is worked out as two instants, by the rule of calendars
(RFC 5545): a time that the clock skips counts by the offset before the change, of one that comes twice the first
counts. So no window flickers when the clock changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from agentscaler.api.conditions import Reason
from agentscaler.core.external import external_replicas, is_external_known
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Policy, ReplicaPolicy, Schedule
from agentscaler.core.situation import Draft, Knowledge, Situation
from agentscaler.core.values import replace

DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """The bounds that the schedules of a moment set together, and their names."""

    min: int
    max: int
    names: tuple[str, ...]


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo | None:
    """The time zone of that name; None when there is none. UTC needs no database of time zones."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return None


def is_active(schedule: Schedule, now: float) -> bool:
    """Whether the schedule holds; never in a time zone that is not known."""
    where = zone(schedule.time_zone)
    if where is None:
        return False
    today = datetime.fromtimestamp(now, where).date()
    start, end = schedule.start_minute, schedule.end_minute
    if end > start:
        return _holds(schedule, where, today, end, now)
    # One that began yesterday may last until today.
    return any(_holds(schedule, where, day, end + DAY_MINUTES, now) for day in (today, today - timedelta(days=1)))


def _holds(schedule: Schedule, where: tzinfo, day: date, end: int, now: float) -> bool:
    if day.weekday() not in schedule.days:
        return False
    return _instant(day, schedule.start_minute, where) <= now < _instant(day, end, where)


def _instant(day: date, minute: int, where: tzinfo) -> float:
    """Unix seconds of a time of day. Adding to an aware time moves the clock on the wall, whatever its offset."""
    return (datetime(day.year, day.month, day.day, tzinfo=where) + timedelta(minutes=minute)).timestamp()


def window(replicas: ReplicaPolicy, now: float) -> Window | None:
    """The bounds of now; None while no schedule holds.

    Of several schedules the highest `min` and the lowest `max` count; where these cross, `min` wins. A bound that no
    schedule gives is the ordinary one, and gives way to the one that is given.
    """
    active = [schedule for schedule in replicas.schedules if is_active(schedule, now)]
    if not active:
        return None
    names = tuple(schedule.name for schedule in active)
    lows, highs = _given(each.min for each in active), _given(each.max for each in active)
    if not lows:
        return Window(min(replicas.min, *highs), min(highs), names)
    low = max(lows)
    return Window(low, max(low, min(highs) if highs else replicas.max), names)


def _given(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def heed_schedules(policy: Policy, replicas: int, now: float) -> Policy:
    """The policy with the bounds of now in the place of the ordinary ones.

    A pause stretches them to the present size as far as any window reaches: what begins or ends during a pause moves
    nothing in the direction that is paused.

    Args:
        policy: The effective policy.
        replicas: What the target's spec asks for now.
        now: Unix seconds.
    """
    bounds = policy.replicas
    if not bounds.schedules:
        return policy
    found = window(bounds, now)
    low, high = (found.min, found.max) if found else (bounds.min, bounds.max)
    if policy.paused_scale_in:
        widest = max([bounds.max, *_given(each.max for each in bounds.schedules)])
        high = max(high, min(replicas, widest))
    if policy.paused_scale_out:
        narrowest = min([bounds.min, *_given(each for s in bounds.schedules for each in (s.min, s.max))])
        low = min(low, max(replicas, narrowest))
    return replace(policy, replicas=replace(bounds, min=low, max=high))


def unknown_zone(policy: Policy) -> str:
    """What to mend where a schedule cannot be read; empty when all can."""
    for index, schedule in enumerate(policy.replicas.schedules):
        if zone(schedule.time_zone) is None:
            return (
                f"spec.tuning.replicas.schedules[{index}].timeZone: there is no time zone {schedule.time_zone}, "
                "so that this schedule is left out; write a name such as Europe/Berlin"
            )
    return ""


def is_resting(s: Situation) -> bool:
    """Whether a schedule allows that there are no pods, and there are none."""
    return s.policy.replicas.min == 0 and s.current.replicas == 0


def rest(s: Situation, d: Draft) -> Draft:
    """Where a schedule's minimum is zero, a service that has had no run for ten minutes needs no pods.

    External demand alone brings them back: what is still seen of running work are pods that leave.
    """
    if s.policy.replicas.min > 0 or d.settings.replicas == 0:
        return d
    external = external_replicas(s)
    if is_resting(s):
        why = "there are no pods, and the schedule asks for none"
        return d.replicas("rest", min(external or 0, d.settings.replicas), Reason.SCHEDULED, why)
    if external != 0 or not is_external_known(s):
        return d
    if s.demand is None or s.knowledge is not Knowledge.KNOWN or s.value(SignalName.REQUEST_RATE_600) != 0:
        return d
    if s.demand.busy_runs + s.demand.queued_runs + s.demand.arrival_rate > 0:
        return d
    return d.replicas("rest", 0, Reason.SCHEDULED, "no run for ten minutes, and the schedule allows no pods")


def keep_schedule(s: Situation, d: Draft) -> Draft:
    """The bounds of the schedules of now, under their names."""
    low, high, wanted = s.policy.replicas.min, s.policy.replicas.max, d.settings.replicas
    found = window(s.policy.replicas, s.now) if not low <= wanted <= high else None
    if found is None:
        return d
    names = ", ".join(found.names)
    if wanted > high:
        d = d.limit(Reason.SCHEDULED, f"demand asks for more than the {high} replicas that schedule {names} allows")
    kept = min(max(wanted, low), high)
    return d.replicas("keep-schedule", kept, Reason.SCHEDULED, f"schedule {names} sets {low}..{high} replicas")
