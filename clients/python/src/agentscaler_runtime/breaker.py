"""The circuit breaker in front of the upstream."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from agentscaler_runtime.errors import CircuitOpenError
from agentscaler_runtime.metrics import Metrics
from agentscaler_runtime.settings import CircuitBreakerSettings
from agentscaler_runtime.upstream import UpstreamErrorKind, classify_error

WINDOW_CALLS = 30  # a minute of a busy pod holds so many good calls that an outage would take another minute to show
_RETRY_HALF_OPEN_SECONDS = 1.0
_TRIAL_KEPT_SECONDS = 30.0  # at least: a run may have something else to do before its first call

T = TypeVar("T")


class BreakerState(IntEnum):
    """The values of `agent_breaker_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(eq=False)
class Reservation:
    """A trial call kept for a run that was admitted while the breaker was half-open; its first call uses it up.

    Attributes:
        epoch: The half-open spell that it belongs to.
        made_at: When, in seconds of the breaker's clock.
        used: Whether its call was begun, or the trial was given back.
        answered: Whether the run's latest call that said something about the upstream succeeded: then it may go on.
    """

    epoch: int
    made_at: float
    used: bool = False
    answered: bool = False


# A run and the tasks that it starts share its reservation.
reservation_of_run: ContextVar[Reservation | None] = ContextVar("reservation_of_run", default=None)


class _Window:
    """Outcomes of finished calls, bounded by age and number."""

    def __init__(self, max_calls: int) -> None:
        self._max_calls = max_calls
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0

    def record(self, now: float, failed: bool) -> None:
        self._outcomes.append((now, failed))
        self._failures += failed
        if len(self._outcomes) > self._max_calls:
            self._drop_oldest()

    def counts(self, since: float) -> tuple[int, int]:
        """Calls that ended after that time, and the failures among them."""
        while self._outcomes and self._outcomes[0][0] <= since:
            self._drop_oldest()
        return len(self._outcomes), self._failures

    def _drop_oldest(self) -> None:
        _, failed = self._outcomes.popleft()
        self._failures -= failed


class CircuitBreaker:
    """Stops upstream calls while too many fail, then tries a few and resumes or stops again.

    A 429 counts as a failure, too: it is about rate, not health, but the remedy here is the same. What says nothing
    about the upstream (a cancelled call, a 400) counts neither way. Results of calls that began before the last change
    of state change nothing: they are old news.

    Not safe for threads: everything happens in one event loop.

    Args:
        settings: Thresholds and times.
        metrics: Where calls, errors and the state are reported.
        classify: Says how a call failed; None for exceptions that say nothing about the upstream.
        window_calls: The window holds at most so many of the latest calls, whatever their age.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        settings: CircuitBreakerSettings,
        metrics: Metrics,
        *,
        classify: Callable[[Exception], UpstreamErrorKind | None] = classify_error,
        window_calls: int = WINDOW_CALLS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if window_calls < 1:
            raise ValueError("window_calls must be at least 1")
        self._settings = settings
        self._metrics = metrics
        self._classify = classify
        self._window_calls = window_calls
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._window = _Window(window_calls)
        self._epoch = 0
        self._opened_at = 0.0
        self._trials_taken = 0  # reserved, under way or ended
        self._reservations: deque[Reservation] = deque()  # of this half-open spell, oldest first
        self._trials_failed = 0
        self._trials_succeeded = 0
        metrics.breaker_state.set_function(lambda: self.state)

    @property
    def state(self) -> BreakerState:
        """The state now; an open breaker whose wait is over is half-open."""
        if self._state is BreakerState.OPEN and self._open_seconds_left() <= 0:
            self._enter(BreakerState.HALF_OPEN)
        return self._state

    def retune(self, settings: CircuitBreakerSettings) -> None:
        """Puts other thresholds and times in force; state and window stay."""
        self._settings = settings
        if self._state is BreakerState.HALF_OPEN:
            self._judge_trials()  # fewer trials may be asked for now than have ended already

    def check(self) -> None:
        """Whether a new run could make calls now.

        Raises:
            CircuitOpenError: It could not.
        """
        state = self.state
        if state is BreakerState.OPEN:
            raise CircuitOpenError(self._open_seconds_left())
        if state is BreakerState.HALF_OPEN:
            self._lapse_reservations()
            if self._trials_taken >= self._settings.permitted_calls_in_half_open_state:
                raise CircuitOpenError(_RETRY_HALF_OPEN_SECONDS)

    def reserve(self) -> Reservation | None:
        """Like `check`; half-open, it keeps a trial call for the run, so that no more runs start than can call.

        Raises:
            CircuitOpenError: No call would be let through.
        """
        self.check()
        if self._state is not BreakerState.HALF_OPEN:
            return None
        self._trials_taken += 1
        self._reservations.append(Reservation(self._epoch, self._clock()))
        return self._reservations[-1]

    def cancel_reservation(self, reservation: Reservation | None) -> None:
        """Gives a trial call back that a run did not need."""
        if reservation is not None and not reservation.used:
            reservation.used = True
            self._return_trial(reservation.epoch)

    async def call(self, func: Callable[[], Awaitable[T]]) -> T:
        """Makes one upstream call, or refuses it.

        Args:
            func: The call. A time-out belongs inside of it: one around this method looks like a cancellation.

        Raises:
            CircuitOpenError: The call was refused; nothing was sent.
        """
        epoch = self._take_call()
        try:
            result = await func()
        except Exception as error:
            kind = None
            try:
                kind = self._classify(error)
            finally:  # also when `classify` fails: a trial without an end would keep the breaker half-open for ever
                self._ended(epoch, kind, succeeded=False)
            raise
        except BaseException:
            self._return_trial(epoch)  # cancelled: the upstream is not to blame
            raise
        self._ended(epoch, None, succeeded=True)
        return result

    def _take_call(self) -> int:
        reservation = reservation_of_run.get()
        if reservation is not None and reservation.epoch != self._epoch:
            reservation = None  # of an earlier spell
        if reservation is not None and not reservation.used:
            reservation.used = True
            return self._epoch
        # An answered run makes its other calls beyond the permitted ones: half done it would be lost.
        if reservation is None or not reservation.answered:
            self.check()
        if self._state is BreakerState.HALF_OPEN:
            self._trials_taken += 1
        return self._epoch

    def _ended(self, epoch: int, kind: UpstreamErrorKind | None, *, succeeded: bool) -> None:
        if kind is None and not succeeded:
            self._return_trial(epoch)
            return
        reservation = reservation_of_run.get()
        if reservation is not None:
            reservation.answered = succeeded
        self._metrics.upstream_calls.labels("success" if succeeded else "failure").inc()
        if kind is not None:
            self._metrics.upstream_errors.labels(kind.value).inc()
        if epoch != self._epoch:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._trials_succeeded += succeeded
            self._trials_failed += not succeeded
            self._judge_trials()
        else:
            self._closed_call_ended(succeeded=succeeded)

    def _closed_call_ended(self, *, succeeded: bool) -> None:
        now = self._clock()
        self._window.record(now, not succeeded)
        calls, failures = self._window.counts(now - self._settings.sliding_window_seconds)
        # A window of fewer calls than the minimum would never open.
        enough = calls >= min(self._settings.minimum_number_of_calls, self._window_calls)
        if enough and failures * 100 >= self._settings.failure_rate_threshold_percent * calls:
            self._enter(BreakerState.OPEN)

    def _judge_trials(self) -> None:
        trials = self._settings.permitted_calls_in_half_open_state
        bar = self._settings.failure_rate_threshold_percent * trials
        # The verdict comes as soon as the trials that are left cannot change it: no call is wasted on a lost cause.
        if self._trials_failed * 100 >= bar:
            self._enter(BreakerState.OPEN)
        elif (trials - self._trials_succeeded) * 100 < bar:
            self._enter(BreakerState.CLOSED)

    def _lapse_reservations(self) -> None:
        # A run that is busy with something else must not keep all the others out.
        kept_seconds = max(_TRIAL_KEPT_SECONDS, self._settings.wait_duration_in_open_state_seconds)
        lapsed_until = self._clock() - kept_seconds
        while self._reservations and self._reservations[0].made_at <= lapsed_until:
            self.cancel_reservation(self._reservations.popleft())

    def _return_trial(self, epoch: int) -> None:
        if epoch == self._epoch and self._state is BreakerState.HALF_OPEN:
            self._trials_taken -= 1

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._epoch += 1
        self._trials_taken = self._trials_failed = self._trials_succeeded = 0
        self._reservations.clear()
        if state is BreakerState.OPEN:
            self._opened_at = self._clock()
        elif state is BreakerState.CLOSED:
            self._window = _Window(self._window_calls)

    def _open_seconds_left(self) -> float:
        return self._opened_at + self._settings.wait_duration_in_open_state_seconds - self._clock()
