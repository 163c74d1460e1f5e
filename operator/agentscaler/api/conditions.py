"""Every condition type and every reason, a sentence each, so that status, events and docs never drift apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConditionType(StrEnum):
    """The conditions of an AgentDeployment. Ready, Reconciling and Stalled follow kstatus; the next three the HPA."""

    READY = "Ready"
    """The target is available, the settings are delivered and the required signals are Fresh or Idle."""
    RECONCILING = "Reconciling"
    """A change is on its way: a rollout, new pods, or settings that pods have not reported yet."""
    STALLED = "Stalled"
    """Nothing moves until a person acts; the message says what to do."""
    ABLE_TO_SCALE = "AbleToScale"
    """The target exists and takes writes."""
    SCALING_ACTIVE = "ScalingActive"
    """The knobs in mode Auto are being decided from signals."""
    SCALING_LIMITED = "ScalingLimited"
    """A bound, a policy or memory limits what demand asks for; or demand keeps more pods than a person named."""
    METRICS_AVAILABLE = "MetricsAvailable"
    """The required signals can be read."""
    DELIVERED = "Delivered"
    """Every ready pod reports the current settings generation."""
    NATIVE_SETTINGS = "NativeSettings"
    """The framework's own settings file holds everything that was decided for it."""
    CONFLICT = "Conflict"
    """Somebody else writes the same target; it is named and not fought."""
    OBJECTIVE_UNREACHABLE = "ObjectiveUnreachable"
    """The service time alone breaks the latency objective: no knob here can mend that."""


class Reason(StrEnum):
    """Machine-readable reasons of conditions, decision steps and events."""

    # resource and target
    AVAILABLE = "Available"
    INVALID_SPEC = "InvalidSpec"
    INVALID_TEMPLATE = "InvalidTemplate"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_UNAVAILABLE = "TargetUnavailable"
    CONTAINER_NOT_FOUND = "ContainerNotFound"
    NAME_TAKEN = "NameTaken"
    FORBIDDEN = "Forbidden"
    WRITE_FAILED = "WriteFailed"
    READY_TO_SCALE = "ReadyToScale"
    ROLLING_OUT = "RollingOut"
    PODS_STARTING = "PodsStarting"
    PODS_NOT_COMING = "PodsNotComing"
    STABLE = "Stable"
    PROGRESSING = "Progressing"
    INTERNAL_ERROR = "InternalError"
    # delivery
    REPORTED = "Reported"
    WAITING_FOR_REPORT = "WaitingForReport"
    NOT_MOUNTED = "NotMounted"
    NOT_NEEDED = "NotNeeded"
    RESTORED = "Restored"
    RENDERED = "Rendered"
    BASE_NOT_FOUND = "BaseNotFound"
    BASE_BROKEN = "BaseBroken"
    RESTART_NEEDED = "RestartNeeded"
    SHADOWED = "Shadowed"
    FRAMEWORK_LIMITS = "FrameworkLimits"
    # conflict
    NO_CONFLICT = "NoConflict"
    FOREIGN_AUTOSCALER = "ForeignAutoscaler"
    FOREIGN_WRITER = "ForeignWriter"
    TARGET_SHARED = "TargetShared"
    # signals
    SIGNALS_FRESH = "SignalsFresh"
    SIGNALS_IDLE = "SignalsIdle"
    SIGNALS_STALE = "SignalsStale"
    SIGNALS_EMPTY = "SignalsEmpty"
    SIGNALS_INVALID = "SignalsInvalid"
    SIGNALS_PARTIAL = "SignalsPartial"
    QUERY_FAILED = "QueryFailed"
    QUERY_REFUSED = "QueryRefused"
    UNKNOWN_PROMETHEUS = "UnknownPrometheus"
    SERVER_NOT_CONFIGURED = "ServerNotConfigured"
    TOO_MANY_QUERIES = "TooManyQueries"
    TARGETS_DOWN = "TargetsDown"
    WRONG_FRAMEWORK = "WrongFramework"
    DUPLICATE_SCRAPE = "DuplicateScrape"
    HISTOGRAM_SATURATED = "HistogramSaturated"
    HISTOGRAM_COARSE = "HistogramCoarse"
    # decision
    DEMAND = "Demand"
    BURST = "Burst"
    EXTERNAL_DEMAND = "ExternalDemand"
    ECONOMY = "Economy"
    STEADY = "Steady"
    INITIAL = "Initial"
    MANUAL = "Manual"
    RESTARTED_FROM_SIZE = "RestartedFromSize"
    SCALED_TO_ZERO = "ScaledToZero"
    SCHEDULED = "Scheduled"
    INVALID_SCHEDULE = "InvalidSchedule"
    PAUSED = "Paused"
    RECOMMEND_ONLY = "RecommendOnly"
    SWITCHED_OFF = "SwitchedOff"
    HOLDING_UNKNOWN = "HoldingUnknown"
    FALLBACK = "Fallback"
    HOLDING_RECOVERY = "HoldingRecovery"
    HOLDING_DEPENDENCY = "HoldingDependency"
    HOLDING_ROLLOUT = "HoldingRollout"
    HOLDING_STATE = "HoldingState"
    HOLDING_ERRORS = "HoldingErrors"
    HOLDING_CONFLICT = "HoldingConflict"
    MEMORY_PRESSURE = "MemoryPressure"
    MEMORY_LIMITED = "MemoryLimited"
    NO_MEMORY_LIMIT = "NoMemoryLimit"
    RATE_LIMITED = "RateLimited"
    UPSTREAM_FAILING = "UpstreamFailing"
    UPSTREAM_RECOVERED = "UpstreamRecovered"
    BOUNDED_MIN = "BoundedMin"
    BOUNDED_MAX = "BoundedMax"
    WITHIN_RANGE = "WithinRange"
    WITHIN_TOLERANCE = "WithinTolerance"
    DRAINING = "Draining"
    STABILIZED = "Stabilized"
    POLICY_LIMITED = "PolicyLimited"
    CREDITED = "Credited"
    CACHE_EVICTING = "CacheEvicting"
    CACHE_OVERSIZED = "CacheOversized"
    CACHE_EXPIRING = "CacheExpiring"
    TRIAL_FAILED = "TrialFailed"
    SERVICE_TIME = "ServiceTime"
    REACHABLE = "Reachable"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, without its transition time: that belongs to the writer of status, who knows the last one.

    The message holds no number that changes from tick to tick, or each tick would be a write.
    """

    type: ConditionType
    status: bool | None
    """None is Unknown."""
    reason: Reason
    message: str
