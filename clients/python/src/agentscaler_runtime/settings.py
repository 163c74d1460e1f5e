"""The settings that can be tuned while an agent runs. Names, units and bounds are those of docs/tuning.schema.json."""

from dataclasses import dataclass, field, fields


def _bounded(default: int, minimum: int, maximum: int) -> int:
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


@dataclass(frozen=True, kw_only=True)
class _Section:
    """Whole numbers, each within its bounds.

    Raises:
        ValueError: A value is not a whole number or out of bounds.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int:  # bool is an int to Python, and 12.0 equals 12: neither is meant
                raise ValueError(f"{each.name} must be a whole number, not {value!r}")
            minimum, maximum = each.metadata["minimum"], each.metadata["maximum"]
            if not minimum <= value <= maximum:
                raise ValueError(f"{each.name} must be from {minimum} to {maximum}, not {value}")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(_Section):
    """Concurrent runs.

    Attributes:
        max_concurrent: Runs carried out at a time.
    """

    max_concurrent: int = _bounded(8, 1, 10_000)


@dataclass(frozen=True, kw_only=True)
class CacheSettings(_Section):
    """Cache bounds.

    Attributes:
        max_bytes: Bytes held at most; 0 stores nothing.
        ttl_seconds: Age in seconds at which an entry is no longer used.
    """

    max_bytes: int = _bounded(64 * 2**20, 0, 2**40)
    ttl_seconds: int = _bounded(900, 1, 604_800)


@dataclass(frozen=True, kw_only=True)
class CircuitBreakerSettings(_Section):
    """When upstream calls stop and how they resume; words as in resilience4j.

    Attributes:
        failure_rate_threshold_percent: Share of failed calls in the window at which the breaker opens.
        wait_duration_in_open_state_seconds: How long an open breaker refuses before it tries again, in seconds.
        sliding_window_seconds: Age in seconds up to which finished calls count.
        minimum_number_of_calls: Fewer calls than this in the window never open the breaker.
        permitted_calls_in_half_open_state: Trial calls after the wait.
    """

    failure_rate_threshold_percent: int = _bounded(50, 1, 100)
    wait_duration_in_open_state_seconds: int = _bounded(30, 1, 3_600)
    sliding_window_seconds: int = _bounded(60, 1, 3_600)
    minimum_number_of_calls: int = _bounded(10, 1, 10_000)
    permitted_calls_in_half_open_state: int = _bounded(2, 1, 1_000)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one agent process.

    Attributes:
        workers: Concurrent runs.
        cache: Cache bounds.
        circuit_breaker: When upstream calls stop and how they resume.
    """

    workers: WorkerSettings = WorkerSettings()
    cache: CacheSettings = CacheSettings()
    circuit_breaker: CircuitBreakerSettings = CircuitBreakerSettings()
