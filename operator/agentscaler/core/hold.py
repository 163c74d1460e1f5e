"""How long a need is kept, and how often replicas may change: peaks come back, and every change has a price."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.capacity import base_workers, needed_for_forecast, recent
from agentscaler.core.margin import is_broken
from agentscaler.core.memory import Memory, Sample
from agentscaler.core.policy import ScalingRules
from agentscaler.core.shape import HPA_TOLERANCE, stabilized, within_tolerance
from agentscaler.core.situation import Draft, Situation
from agentscaler.core.values import replace

LEAST_HOLD_SECONDS = 120.0
LONGEST_HOLD_SECONDS = 900.0
LONGEST_LEARNED_SECONDS, LONGEST_WHILE_BROKEN_SECONDS = 420.0, 1800.0
"""A longer hold costs more than the wait that it spares; the second while more are late than was promised."""
HELD_START_UPS = 4
REGRET_SECONDS = 1800.0
"""A size that is needed again within this time was given up too soon."""
REGRET_FACTOR = 1.1
FORGET_HALF_LIFE_SECONDS = 4 * 3600.0
MOST_TOKENS = 6.0
TOKENS_PER_SECOND = 15 / 3600.0
BAND, SCARCE_BAND = 0.04, 0.25
"""A need inside this share of the size is not worth a change; the second where changes have become scarce."""
DEAR_BAND = 0.25
"""What may go although no change is left for this hour."""
TURN_SECONDS = 300.0
TURN_BAND = 0.5
"""What may go although pods came within `TURN_SECONDS`: after a burst, and not for noise."""
TURN_UP_BAND = 0.15
"""One pod that is a smaller share does not come for its own sake within `TURN_SECONDS` of pods that went."""
WORKER_HOLD_SECONDS = 120.0


def hold_peaks(s: Situation, d: Draft) -> Draft:
    """Capacity falls only to the largest need of the window, and rises only to the smallest one where the user asks.

    With `behavior` the windows and tolerances have the HPA's meaning; without, peaks are held as long as this
    service's peaks have taught, and small changes wait while changes are scarce.
    """
    if s.demand is None:
        return d
    behavior = s.policy.replicas.behavior
    current, wanted = s.current.replicas, d.settings.replicas
    up_window = behavior.scale_up.stabilization_window_seconds if behavior else 0
    down_window = behavior.scale_down.stabilization_window_seconds if behavior else hold_seconds(s)
    held = stabilized(
        current,
        wanted,
        ups=s.memory.needs,
        downs=s.memory.needs,
        up_window_seconds=up_window,
        down_window_seconds=down_window,
        now=s.now,
    )
    d = d.replicas(
        "hold-peaks", held, Reason.STABILIZED, f"the stabilization window asks for {held} instead of {wanted}"
    )
    if behavior:
        rules: ScalingRules = behavior.scale_up if held > current else behavior.scale_down
        tolerance = HPA_TOLERANCE if rules.tolerance is None else rules.tolerance
        worth = not within_tolerance(current, held, tolerance)
    else:
        worth = _worth_a_change(s, held)
    if held != current and not worth:
        d = d.replicas("hold-peaks", current, Reason.WITHIN_TOLERANCE, f"{held} is within tolerance of {current}")
    if d.settings.workers is None or s.current.workers is None:
        return d
    peak = max([d.settings.workers, *(int(n.value) for n in recent(s.memory.worker_needs, s.now, WORKER_HOLD_SECONDS))])
    kept = min(peak, s.current.workers) if d.settings.workers < s.current.workers else d.settings.workers
    return d.workers("hold-peaks", kept, Reason.STABILIZED, f"{kept} workers were needed within the last two minutes")


def hold_seconds(s: Situation) -> float:
    """Without `behavior`: what takes long to come back, or has come back soon before, is held longer."""
    start_ups = HELD_START_UPS * s.memory.learned.start_up_seconds
    learned = min(s.memory.learned.hold_seconds, LONGEST_WHILE_BROKEN_SECONDS)
    return max(min(max(LEAST_HOLD_SECONDS, start_ups), LONGEST_HOLD_SECONDS), learned)


def _worth_a_change(s: Situation, wanted: int) -> bool:
    """Whether a change is worth one of the few that an hour should have. A surge is worth any."""
    current = s.current.replicas
    if current in {wanted, 0}:
        return True
    if wanted > current and s.demand is not None and s.demand.surge:
        return True
    tokens = s.memory.action_tokens
    scarcity = 1.0 - min(tokens, MOST_TOKENS) / MOST_TOKENS
    band = BAND + (SCARCE_BAND - BAND) * scarcity
    turns = any(
        change.amount * (wanted - current) < 0 and s.now - change.at < TURN_SECONDS for change in s.memory.changes
    )
    if wanted > current:
        return (wanted - current) > max(band * current, min(1.0, TURN_UP_BAND * current) if turns else 0.0)
    if turns:
        return (current - wanted) > TURN_BAND * current
    return (current - wanted) > (band if tokens >= 1.0 else DEAR_BAND) * current


def remember_changes(s: Situation, replicas: int, memory: Memory) -> Memory:
    """Pay for a change, and learn from a size that was given up and is needed again.

    `replicas`: what is ordered now. Advice that nobody follows costs nothing.
    """
    elapsed = max(s.now - s.memory.decided_at, 0.0) if s.memory.decided_at else 0.0
    before, after = s.target.replicas, replicas
    tokens = min(memory.action_tokens + elapsed * TOKENS_PER_SECOND, MOST_TOKENS)
    if after != before:
        tokens = max(tokens - 1.0, 0.0)
    learned = memory.learned
    hold = LEAST_HOLD_SECONDS + (learned.hold_seconds - LEAST_HOLD_SECONDS) * 0.5 ** (
        elapsed / FORGET_HALF_LIFE_SECONDS
    )
    given_up = recent(memory.shrunk_from, s.now, REGRET_SECONDS)
    if s.demand is not None and s.demand.surge:
        # Only what hurts is regretted: a size of five that was four for a while is noise.
        need = needed_for_forecast(s, s.demand, base_workers(s))
        regretted = [each for each in given_up if need >= each.value]
        if regretted:
            # How long it would have had to be held, if that is not dearer than the wait.
            lasting = REGRET_FACTOR * (s.now - max(each.at for each in regretted) + hold)
            broken = is_broken(s.memory.learned, s.policy.objectives)
            longest = LONGEST_WHILE_BROKEN_SECONDS if broken else LONGEST_LEARNED_SECONDS
            hold = max(hold, lasting) if lasting <= longest else hold
            given_up = tuple(each for each in given_up if each not in regretted)
    if after < before:
        given_up = (*given_up, Sample(s.now, float(before)))
    return replace(memory, action_tokens=tokens, shrunk_from=given_up, learned=replace(learned, hold_seconds=hold))
