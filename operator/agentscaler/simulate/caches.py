"""The cache of each pod: least recently used goes first, and it starts cold."""

from __future__ import annotations

from agentscaler.simulate import state as c
from agentscaler.simulate.compiled import compiled
from agentscaler.simulate.state import State

NOT_HELD = -1


@compiled
def has_cache(s: State, p: int) -> bool:
    """Whether caches are simulated, and for this pod."""
    return bool(s.constants[c.ITEM_MB] > 0 and p < s.newer.shape[0])


@compiled
def holds(s: State, p: int, r: int) -> bool:
    """Whether the pod holds the first item of request `r`."""
    first = s.item_offsets[r]
    if not has_cache(s, p) or first == s.item_offsets[r + 1]:
        return False
    return bool(s.older[p, s.items[first]] != NOT_HELD)


@compiled
def clear_cache(s: State, p: int) -> None:
    """A pod that starts has nothing. The last place of the lists is their end, both ways."""
    s.pods[p, c.CACHE_MB] = 0.0
    if not has_cache(s, p):
        return
    end = s.newer.shape[1] - 1
    for item in range(end):
        s.older[p, item] = NOT_HELD
    s.older[p, end] = end
    s.newer[p, end] = end


@compiled
def _take_out(s: State, p: int, item: int) -> None:
    older, newer = s.older[p, item], s.newer[p, item]
    s.newer[p, older] = newer
    s.older[p, newer] = older
    s.older[p, item] = NOT_HELD
    s.pods[p, c.CACHE_MB] -= s.constants[c.ITEM_MB]


@compiled
def shrink_cache(s: State, p: int) -> None:
    """Keep within the limit that is in force."""
    if not has_cache(s, p):
        return
    end = s.newer.shape[1] - 1
    while s.pods[p, c.CACHE_MB] > s.world[c.CACHE_LIMIT_MB] and s.newer[p, end] != end:
        _take_out(s, p, s.newer[p, end])
        s.counters[p, c.CACHE_EVICTIONS] += 1


@compiled
def look_up(s: State, p: int, r: int) -> float:
    """Input tokens that the cache spares request `r`: those of the leading items that are held.

    All items of the request are the most recently used ones afterwards.
    """
    if not has_cache(s, p):
        return float(s.base_cached[r])
    end = s.newer.shape[1] - 1
    leading, spared = True, 0.0
    for at in range(s.item_offsets[r], s.item_offsets[r + 1]):
        item = s.items[at]
        held = s.older[p, item] != NOT_HELD
        leading = leading and held
        if leading:
            spared += s.item_tokens[r]
        if held:
            _take_out(s, p, item)
            s.counters[p, c.CACHE_HITS] += 1
        else:
            s.counters[p, c.CACHE_MISSES] += 1
        newest = s.older[p, end]
        s.older[p, item], s.newer[p, item] = newest, end
        s.newer[p, newest] = item
        s.older[p, end] = item
        s.pods[p, c.CACHE_MB] += s.constants[c.ITEM_MB]
    shrink_cache(s, p)
    return float(min(spared, s.input_tokens[r]))
