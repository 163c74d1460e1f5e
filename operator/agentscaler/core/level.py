"""How many runs a pod is sized for: the learned law of memory decides, not a guess.

The most that is safe, its tail included, is W. Replicas are sized for less than W by the reserve that bursts need, so
the level climbs towards W over the reserve: a step at a time, while nothing is wrong, and back at once when W falls.
"""

from __future__ import annotations

from agentscaler.core.capacity import RESERVE, busy_level, cache_bytes_in_force, safe_workers
from agentscaler.core.decision import Diagnosis
from agentscaler.core.memory import Memory
from agentscaler.core.observation import SignalName
from agentscaler.core.policy import Mode
from agentscaler.core.situation import Knowledge, Situation
from agentscaler.core.values import replace

STEP_SECONDS = 90.0
"""Between two steps upwards: a step shows in memory and waits within that time."""
STEP_SHARE = 0.1
CALM = frozenset({Diagnosis.STEADY, Diagnosis.OVERSIZED})


def remember_level(s: Situation, memory: Memory) -> Memory:
    """Move the level where it may move."""
    if s.policy.workers.mode is not Mode.AUTO or s.law is None or not s.law.learned or s.memory_budget_bytes is None:
        return memory
    learned, level = memory.learned, busy_level(s)
    start = s.policy.workers.initial or s.memory.base_workers
    if start is None:
        return memory
    # A surplus fades within minutes, a level comes back within an hour: replicas heed the surplus by themselves.
    lasting = replace(s, law=replace(s.law, surplus_bytes=0.0)) if s.law.surplus_bytes else s
    wanted = int(safe_workers(lasting, cache_bytes_in_force(s)) / RESERVE)
    if wanted < level:
        lowest = min(start, level)
        if memory.worker_cap is not None and _was_cut(s, memory):
            # The start is a person's guess: where memory broke its objective in spite of it, the law is right.
            lowest = min(lowest, memory.worker_cap)
        return replace(memory, learned=replace(learned, busy_level=max(wanted, lowest), busy_level_at=s.now))
    # Where no pod can be saved, a higher level gains nothing and costs a write at each step.
    if wanted == level or s.current.replicas <= s.policy.replicas.min or not _is_calm(s):
        return memory
    if s.now - max(learned.busy_level_at, s.memory.relieved_at) < STEP_SECONDS:
        return memory
    step = max(1, int(STEP_SHARE * level))
    return replace(memory, learned=replace(learned, busy_level=min(wanted, level + step), busy_level_at=s.now))


def _was_cut(s: Situation, memory: Memory) -> bool:
    """Whether memory takes workers away in this tick."""
    cap = memory.worker_cap
    return cap is not None and memory.relieved_at == s.now and cap < (s.current.workers or 0)


def _is_calm(s: Situation) -> bool:
    latency, promised = s.value(SignalName.LATENCY), s.policy.objectives.latency
    slow = latency is not None and promised is not None and latency > promised.target_seconds
    return s.knowledge is Knowledge.KNOWN and s.diagnosis in CALM and not slow and s.memory.worker_cap is None
