//! Stops upstream calls while too many fail, then tries a few and resumes or stops again.
//!
//! It is the contract's breaker: judged by the share of failures in a window, at admission. The one of AgentGraph's
//! guide counts failures in a row, which an upstream that fails half of its calls rarely reaches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agentscaler_tuning::CircuitBreaker as Settings;

use crate::failure::Failure;
use crate::metrics::Metrics;

const WINDOW_CALLS: usize = 30; // a minute of a busy pod holds so many good calls that an outage would take a minute to show
const TRIAL_KEPT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Closed,
    HalfOpen,
    Open,
}

/// A trial call kept for a run that was admitted while the breaker was half-open.
pub struct Reservation {
    epoch: u64,
    made_at: Instant,
    /// Its call was begun, or the trial given back. These two are written under the breaker's lock.
    used: AtomicBool,
    /// The run's latest call succeeded: then it may go on.
    answered: AtomicBool,
}

pub struct Breaker {
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    settings: Settings,
    state: State,
    /// Results of calls from before the last change of state change nothing.
    epoch: u64,
    opened_at: Option<Instant>,
    /// Finished calls, and whether they failed; the oldest first.
    window: VecDeque<(Instant, bool)>,
    /// Of this half-open spell, the oldest first.
    reservations: VecDeque<Arc<Reservation>>,
    /// Trials of this spell: begun or kept, and ended.
    taken: u64,
    failed: u64,
    succeeded: u64,
}

impl Breaker {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, inner: Mutex::default() }
    }

    pub fn retune(&self, settings: Settings, now: Instant) {
        let mut inner = self.lock();
        inner.settings = settings;
        if inner.state == State::HalfOpen {
            inner.judge_trials(now); // fewer trials may be asked for now than have ended already
        }
    }

    /// The state now; an open breaker whose wait is over is half-open.
    pub fn state(&self, now: Instant) -> State {
        let mut inner = self.lock();
        inner.advance(now);
        inner.state
    }

    /// Whether a new run could make calls now; else the time after which it may ask again.
    pub fn check(&self, now: Instant) -> Result<(), Duration> {
        self.lock().admit(now)
    }

    /// A check that keeps a trial call for the run while half-open, so that no more runs start than can call.
    pub fn reserve(&self, now: Instant) -> Result<Arc<Reservation>, Duration> {
        let mut inner = self.lock();
        inner.admit(now)?;
        let half_open = inner.state == State::HalfOpen;
        let kept = Arc::new(Reservation {
            epoch: inner.epoch,
            made_at: now,
            used: AtomicBool::new(!half_open),
            answered: AtomicBool::new(false),
        });
        if half_open {
            inner.taken += 1;
            inner.reservations.push_back(kept.clone());
        }
        Ok(kept)
    }

    /// Gives a trial call back that a run did not need.
    pub fn cancel(&self, kept: &Reservation) {
        self.lock().give_back(kept);
    }

    /// Makes one upstream call of a run, or refuses it.
    pub async fn call(
        &self,
        kept: &Reservation,
        send: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let mut call = self.begin(kept, Instant::now()).map_err(Failure::CircuitOpen)?;
        let result = send.await;
        call.end(kept, &result, Instant::now());
        result
    }

    fn begin(&self, kept: &Reservation, now: Instant) -> Result<Call<'_>, Duration> {
        let mut inner = self.lock();
        let ours = kept.epoch == inner.epoch; // else of an earlier spell
        if !ours || kept.used.swap(true, Relaxed) {
            // An answered run makes its other calls beyond the permitted ones: half done it would be lost.
            if !ours || !kept.answered.load(Relaxed) {
                inner.admit(now)?;
            }
            inner.taken += u64::from(inner.state == State::HalfOpen);
        }
        Ok(Call { breaker: self, epoch: inner.epoch, counted: false })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// A call under way; dropped before its end it was cancelled, and the upstream is not to blame.
struct Call<'a> {
    breaker: &'a Breaker,
    epoch: u64,
    counted: bool,
}

impl Call<'_> {
    fn end(&mut self, kept: &Reservation, result: &Result<(), Failure>, now: Instant) {
        let failure = match result {
            Ok(()) => None,
            Err(Failure::Upstream(kind)) => Some(*kind),
            Err(_) => return, // a 400 for one
        };
        self.counted = true;
        self.breaker.metrics.upstream_call(failure);
        let mut inner = self.breaker.lock();
        kept.answered.store(failure.is_none(), Relaxed);
        if self.epoch != inner.epoch {
            return;
        }
        match (inner.state, failure) {
            (State::HalfOpen, None) => inner.succeeded += 1,
            (State::HalfOpen, Some(_)) => inner.failed += 1,
            _ => return inner.judge_window(failure.is_some(), now),
        }
        inner.judge_trials(now);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.counted {
            self.breaker.lock().return_trial(self.epoch);
        }
    }
}

impl Inner {
    fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        self.advance(now);
        if self.state == State::Open {
            return Err(self.open_left(now));
        }
        if self.state == State::HalfOpen {
            self.lapse(now);
            if self.taken >= self.settings.permitted_calls_in_half_open_state {
                return Err(Duration::from_secs(1));
            }
        }
        Ok(())
    }

    fn advance(&mut self, now: Instant) {
        if self.state == State::Open && self.open_left(now).is_zero() {
            self.enter(State::HalfOpen, now);
        }
    }

    fn open_left(&self, now: Instant) -> Duration {
        let since = self.opened_at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        Duration::from_secs(self.settings.wait_duration_in_open_state_seconds).saturating_sub(since)
    }

    /// Takes trials back from runs that are busy with something else: they must not keep all the others out.
    fn lapse(&mut self, now: Instant) {
        let kept = TRIAL_KEPT.max(Duration::from_secs(self.settings.wait_duration_in_open_state_seconds));
        while self.reservations.front().is_some_and(|oldest| now - oldest.made_at >= kept) {
            if let Some(oldest) = self.reservations.pop_front() {
                self.give_back(&oldest);
            }
        }
    }

    fn give_back(&mut self, kept: &Reservation) {
        if !kept.used.swap(true, Relaxed) {
            self.return_trial(kept.epoch);
        }
    }

    fn return_trial(&mut self, epoch: u64) {
        if epoch == self.epoch && self.state == State::HalfOpen {
            self.taken -= 1;
        }
    }

    fn judge_window(&mut self, failed: bool, now: Instant) {
        self.window.push_back((now, failed));
        let age = Duration::from_secs(self.settings.sliding_window_seconds);
        while self.window.len() > WINDOW_CALLS || self.window.front().is_some_and(|(at, _)| now - *at >= age) {
            self.window.pop_front();
        }
        let calls = self.window.len() as u64;
        let failures = self.window.iter().filter(|(_, failed)| *failed).count() as u64;
        // A window of fewer calls than the minimum would never open.
        let enough = calls >= self.settings.minimum_number_of_calls.min(WINDOW_CALLS as u64);
        if enough && failures * 100 >= self.settings.failure_rate_threshold_percent * calls {
            self.enter(State::Open, now);
        }
    }

    /// Gives the verdict as soon as the trials that are left cannot change it.
    fn judge_trials(&mut self, now: Instant) {
        let trials = self.settings.permitted_calls_in_half_open_state;
        let bar = self.settings.failure_rate_threshold_percent * trials;
        if self.failed * 100 >= bar {
            self.enter(State::Open, now);
        } else if trials.saturating_sub(self.succeeded) * 100 < bar {
            self.enter(State::Closed, now);
        }
    }

    fn enter(&mut self, state: State, now: Instant) {
        let opened_at = if state == State::Open { Some(now) } else { self.opened_at };
        let window = if state == State::Closed { VecDeque::new() } else { std::mem::take(&mut self.window) };
        let (settings, epoch) = (self.settings, self.epoch + 1);
        *self = Self { settings, state, epoch, opened_at, window, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
