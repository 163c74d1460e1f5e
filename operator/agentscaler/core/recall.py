"""After a restart: fill the windows again from what Prometheus still knows."""

from __future__ import annotations

from agentscaler.core.assess import assess
from agentscaler.core.capacity import base_workers, needed_replicas, needed_workers, reachable_workers
from agentscaler.core.memory import Learned, Memory, Moments, Sample
from agentscaler.core.observation import Observation
from agentscaler.core.policy import Policy
from agentscaler.core.settings import Settings
from agentscaler.core.target import Target
from agentscaler.core.values import replace


def recall(
    policy: Policy,
    target: Target,
    history: tuple[Observation, ...],
    memory: Memory,
    *,
    in_force: Settings | None = None,
) -> Memory:
    """The memory with its windows rebuilt.

    Args:
        policy: the effective policy.
        target: live facts.
        history: past observations, oldest first; the demand signals suffice.
        memory: what status held, or `Memory()`.
        in_force: settings that pods are known to work under (from the live ConfigMap); they weigh more than status,
            which may be a decision older.

    Returns:
        A memory under which the next decision is never lower than it would have been: the recalled needs hold peaks,
        the forecasts know what they got wrong, and `known_since` is unset, so that a full window passes before anything
        shrinks.
    """
    if in_force is not None:
        memory = replace(memory, settings=in_force)
    fresh = memory.learned == Learned()
    needs: list[Sample] = []
    worker_needs: list[Sample] = []
    for past in history:
        s = assess(policy, target, past, memory, past.evaluated_at)
        # What status holds has seen these minutes already. The past has no cache sizes, so it teaches no memory law.
        taught = replace(
            s.memory.learned, memory=Moments(), memory_excess_bytes=0.0, run_bytes=0.0, present_run_bytes=0.0
        )
        memory = replace(
            memory,
            learned=taught if fresh else memory.learned,
            decided_at=past.evaluated_at,
            rates_since=s.memory.rates_since,
            foresight=s.memory.foresight,
        )
        if s.demand is None:
            continue
        base, reach = base_workers(s), reachable_workers(s)
        needs.append(Sample(past.evaluated_at, float(needed_replicas(s, s.demand, base))))
        worker_needs.append(Sample(past.evaluated_at, float(needed_workers(s, s.demand, base, reach))))
    if history:
        # The present size is the last recommendation, as for the HPA: a full stabilization window follows.
        needs.append(Sample(history[-1].evaluated_at, float(target.replicas)))
    return replace(memory, needs=tuple(needs), worker_needs=tuple(worker_needs), known_since=None)
