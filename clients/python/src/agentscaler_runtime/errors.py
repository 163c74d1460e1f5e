"""What the runtime raises."""

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a run was refused; the label `reason` of `agent_rejected_total`."""

    QUEUE_FULL = "queue_full"
    MEMORY = "memory"
    BREAKER = "breaker"
    DRAINING = "draining"


class RejectedError(Exception):
    """A run was refused before it got a worker. Nothing was started: the caller may try again elsewhere.

    Attributes:
        reason: Why it was refused.
        retry_after_seconds: When another attempt makes sense, in seconds; fit for the header `Retry-After`.
    """

    def __init__(self, reason: RejectReason, retry_after_seconds: float) -> None:
        super().__init__(f"run refused: {reason}, retry after {retry_after_seconds:.1f} s")
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class CircuitOpenError(Exception):
    """The circuit breaker refused an upstream call; nothing was sent.

    Attributes:
        retry_after_seconds: When the breaker may let a call through, in seconds.
    """

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"circuit breaker is open, retry after {retry_after_seconds:.1f} s")
        self.retry_after_seconds = retry_after_seconds


class TuningError(ValueError):
    """A `tuning.json` is not JSON or breaks the schema; the message names the key and the mend."""
