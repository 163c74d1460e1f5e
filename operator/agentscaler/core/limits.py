"""The last word: rate policies, the user's bounds, modes."""

from __future__ import annotations

from agentscaler.api.conditions import Reason
from agentscaler.core.policy import BreakerPolicy, CachePolicy, Mode, Policy, Range
from agentscaler.core.settings import Breaker, Cache, Knob, Settings, with_knob
from agentscaler.core.shape import limited
from agentscaler.core.situation import Draft, Situation
from agentscaler.core.values import replace


def limit_rate(s: Situation, d: Draft) -> Draft:
    """The policies of `behavior`, with the HPA's meaning. Without `behavior` there is no rate limit."""
    behavior = s.policy.replicas.behavior
    wanted = d.settings.replicas
    if behavior is None or wanted == s.current.replicas:
        return d
    rules = behavior.scale_up if wanted > s.current.replicas else behavior.scale_down
    allowed = limited(s.current.replicas, wanted, rules, s.memory.changes, s.now)
    if allowed == wanted:
        return d
    d = d.replicas("limit-rate", allowed, Reason.POLICY_LIMITED, f"scaling policies allow {allowed} now, not {wanted}")
    return d.limit(Reason.POLICY_LIMITED, "scaling policies slow the way to what demand asks for")


def keep_bounds(s: Situation, d: Draft) -> Draft:
    """No knob ever leaves the user's bounds."""
    policy = s.policy
    bounds = Range(policy.replicas.min, policy.replicas.max)
    d = _note(s, d, Knob.REPLICAS, d.settings.replicas, bounds)
    d = d.replicas("keep-bounds", _clamp(d.settings.replicas, bounds), *_why(d.settings.replicas, bounds))
    if d.settings.workers is not None:
        bounds = Range(policy.workers.min, policy.workers.max)
        d = d.workers("keep-bounds", _clamp(d.settings.workers, bounds), *_why(d.settings.workers, bounds))
    settings = replace(
        d.settings, cache=_bounded_cache(d.settings.cache, policy), breaker=_bounded_breaker(d.settings.breaker, policy)
    )
    for knob in (Knob.CACHE, Knob.CIRCUIT_BREAKER):
        moved = with_knob(d.settings, knob, settings)
        d = d.set("keep-bounds", knob, moved, Reason.BOUNDED_MAX, "outside of the bounds that the resource sets")
    return d


def _note(s: Situation, d: Draft, knob: Knob, wanted: int, bounds: Range) -> Draft:
    if wanted > bounds.max and s.policy.replicas.mode is Mode.AUTO:
        return d.limit(Reason.BOUNDED_MAX, f"demand asks for more than the maximum of {bounds.max} {knob}")
    return d


def _why(value: int, bounds: Range) -> tuple[Reason, str]:
    if value > bounds.max:
        return Reason.BOUNDED_MAX, f"the maximum is {bounds.max}"
    return Reason.BOUNDED_MIN, f"the minimum is {bounds.min}"


def _clamp(value: int, bounds: Range) -> int:
    return min(max(value, bounds.min), bounds.max)


def _bounded_cache(cache: Cache, policy: Policy) -> Cache:
    size, ttl = policy.cache.max_bytes, policy.cache.ttl_seconds
    return Cache(_maybe(cache.max_bytes, size), _maybe(cache.ttl_seconds, ttl))


def _bounded_breaker(breaker: Breaker, policy: Policy) -> Breaker:
    p = policy.breaker
    return replace(
        breaker,
        failure_rate_threshold_percent=_maybe(breaker.failure_rate_threshold_percent, p.failure_rate_threshold_percent),
        wait_duration_in_open_state_seconds=_maybe(
            breaker.wait_duration_in_open_state_seconds, p.wait_duration_in_open_state_seconds
        ),
    )


def _maybe(value: int | None, bounds: Range | None) -> int | None:
    return _clamp(value, bounds) if value is not None and bounds is not None else None


def obey_modes(policy: Policy, current: Settings, recommended: Settings, *, keep_replicas: bool) -> Settings:
    """What is applied of what is recommended.

    Auto: the recommendation. Recommend: what is. Off: what the user wrote as `initial`, else nothing.
    Replicas not Auto: `spec.replicas` is law. Under somebody else's hand, or on an adopted target whose size the
    resource has not named yet (`keep_replicas`): what is.
    """
    replicas = recommended.replicas if policy.replicas.mode is Mode.AUTO else policy.replicas.manual
    settings = replace(recommended, replicas=current.replicas if keep_replicas else replicas)
    if policy.workers.mode is not Mode.AUTO:
        kept = current.workers if policy.workers.mode is Mode.RECOMMEND else None
        settings = replace(settings, workers=kept if policy.workers.initial is None else policy.workers.initial)
    if policy.cache.mode is not Mode.AUTO:
        settings = replace(settings, cache=off_cache(policy.cache))
    if policy.breaker.mode is not Mode.AUTO:
        settings = replace(settings, breaker=off_breaker(policy.breaker))
    return settings


def off_cache(policy: CachePolicy) -> Cache:
    """What mode Off and Recommend render: the user's initial values."""
    return Cache(_initial(policy.max_bytes), _initial(policy.ttl_seconds))


def off_breaker(policy: BreakerPolicy) -> Breaker:
    """What mode Off and Recommend render: the user's initial values."""
    return Breaker(
        _initial(policy.failure_rate_threshold_percent), _initial(policy.wait_duration_in_open_state_seconds)
    )


def _initial(bounds: Range | None) -> int | None:
    return bounds.initial if bounds is not None else None
