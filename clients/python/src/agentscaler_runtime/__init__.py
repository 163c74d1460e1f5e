"""Workers, cache, circuit breaker, memory gate and drain for asyncio agents, retuned live by Agentscaler."""

from agentscaler_runtime.breaker import BreakerState, CircuitBreaker
from agentscaler_runtime.cache import Cache
from agentscaler_runtime.errors import CircuitOpenError, RejectedError, RejectReason, TuningError
from agentscaler_runtime.metrics import CONTENT_TYPE, Metrics
from agentscaler_runtime.runtime import Run, Runtime
from agentscaler_runtime.settings import CacheSettings, CircuitBreakerSettings, Settings, WorkerSettings
from agentscaler_runtime.upstream import UpstreamErrorKind, classify_error

__all__ = [
    "CONTENT_TYPE",
    "BreakerState",
    "Cache",
    "CacheSettings",
    "CircuitBreaker",
    "CircuitBreakerSettings",
    "CircuitOpenError",
    "Metrics",
    "RejectReason",
    "RejectedError",
    "Run",
    "Runtime",
    "Settings",
    "TuningError",
    "UpstreamErrorKind",
    "WorkerSettings",
    "classify_error",
]
