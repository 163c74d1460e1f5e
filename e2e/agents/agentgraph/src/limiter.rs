//! A bounded queue, first in first out, in front of a number of workers that can change at any time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use prometheus::Histogram;
use tokio::sync::oneshot;

use crate::failure::{Reason, Rejection};

type Turn = Result<(), Rejection>;

pub struct Limiter {
    /// Asked before each start; a no leaves the run waiting until the next pump.
    may_start: Box<dyn Fn() -> bool + Send + Sync>,
    queue_wait: Histogram,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    limit: usize,
    queue: usize,
    running: usize,
    waiters: VecDeque<Waiter>,
    arrivals: u64,
    /// What whoever comes now is told; `None`: come in.
    refusing: Option<Rejection>,
}

struct Waiter {
    number: u64,
    arrived: Instant,
    turn: oneshot::Sender<Turn>,
}

/// Workers in force, runs that have one, and runs that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub limit: usize,
    pub running: usize,
    pub waiting: usize,
}

/// A worker, until it is dropped.
pub struct Permit {
    limiter: Arc<Limiter>,
    /// How long it was waited for.
    pub wait: Duration,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.give_back();
    }
}

impl Limiter {
    pub fn new(may_start: impl Fn() -> bool + Send + Sync + 'static, queue_wait: Histogram) -> Arc<Self> {
        Arc::new(Self { may_start: Box::new(may_start), queue_wait, state: Mutex::default() })
    }

    /// Waits for a worker. Who drops the future gives up the place in the queue.
    pub async fn acquire(self: &Arc<Self>) -> Result<Permit, Rejection> {
        let Some(mut place) = self.enter()? else {
            self.queue_wait.observe(0.0);
            return Ok(Permit { limiter: self.clone(), wait: Duration::ZERO });
        };
        let turn = (&mut place.turn).await.expect("a waiter is told before it is dropped");
        place.told = true;
        turn.map(|()| Permit { limiter: self.clone(), wait: place.arrived.elapsed() })
    }

    /// `None`: a worker is free.
    fn enter(self: &Arc<Self>) -> Result<Option<Place>, Rejection> {
        let mut state = self.lock();
        if let Some(rejection) = state.refusing {
            return Err(rejection);
        }
        // Who waits already comes first, even if a worker is free while memory is short.
        if state.waiters.is_empty() && state.running < state.limit && (self.may_start)() {
            state.running += 1;
            return Ok(None);
        }
        if state.waiters.len() >= state.queue {
            return Err(Rejection { reason: Reason::QueueFull, retry_after: Duration::from_secs(1) });
        }
        state.arrivals += 1;
        let (number, arrived) = (state.arrivals, Instant::now());
        let (sender, turn) = oneshot::channel();
        state.waiters.push_back(Waiter { number, arrived, turn: sender });
        Ok(Some(Place { limiter: self.clone(), number, arrived, turn, told: false }))
    }

    /// Changes the workers and the queue: more start waiting runs at once, fewer let the running ones finish.
    pub fn resize(&self, limit: usize, queue: usize) {
        let mut state = self.lock();
        (state.limit, state.queue) = (limit, queue);
        self.start_waiting(&mut state);
    }

    /// Starts runs that wait, as far as workers and memory allow.
    pub fn pump(&self) {
        self.start_waiting(&mut self.lock());
    }

    /// Tells the runs that have waited for so long to come back later.
    pub fn refuse(&self, why: Rejection, waited: Duration) {
        let mut state = self.lock();
        while state.waiters.front().is_some_and(|first| first.arrived.elapsed() >= waited) {
            if let Some(first) = state.waiters.pop_front() {
                let _ = first.turn.send(Err(why)); // whoever has just left need not hear it
            }
        }
    }

    /// Refuses what waits and whatever comes from now on.
    pub fn shut(&self, why: Rejection) {
        self.lock().refusing = Some(why);
        self.refuse(why, Duration::ZERO);
    }

    pub fn counts(&self) -> Counts {
        let state = self.lock();
        Counts { limit: state.limit, running: state.running, waiting: state.waiters.len() }
    }

    fn start_waiting(&self, state: &mut State) {
        while !state.waiters.is_empty() && state.running < state.limit && (self.may_start)() {
            if let Some(first) = state.waiters.pop_front() {
                // Who has left meanwhile takes no worker with it.
                state.running += usize::from(first.turn.send(Ok(())).is_ok());
            }
        }
    }

    fn give_back(&self) {
        let mut state = self.lock();
        state.running -= 1;
        self.start_waiting(&mut state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// A place in the queue, until it is dropped.
struct Place {
    limiter: Arc<Limiter>,
    number: u64,
    arrived: Instant,
    turn: oneshot::Receiver<Turn>,
    told: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limiter.queue_wait.observe(self.arrived.elapsed().as_secs_f64());
        if self.told {
            return;
        }
        self.limiter.lock().waiters.retain(|each| each.number != self.number);
        self.turn.close();
        if let Ok(Ok(())) = self.turn.try_recv() {
            self.limiter.give_back(); // a turn that came in the same moment is handed on
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    fn limiter(limit: usize, queue: usize) -> Arc<Limiter> {
        let histogram = Histogram::with_opts(prometheus::HistogramOpts::new("waits", "help")).unwrap();
        let limiter = Limiter::new(|| true, histogram);
        limiter.resize(limit, queue);
        limiter
    }

    /// A run that waits: its future has been polled until it stands in the queue.
    async fn waiting(limiter: &Arc<Limiter>) -> tokio::task::JoinHandle<Result<Permit, Rejection>> {
        let (before, mine) = (limiter.counts().waiting, limiter.clone());
        let run = tokio::spawn(async move { mine.acquire().await });
        while limiter.counts().waiting == before {
            tokio::task::yield_now().await;
        }
        run
    }

    #[tokio::test]
    async fn runs_start_in_the_order_of_their_arrival_and_a_full_queue_refuses() {
        let limiter = limiter(1, 2);
        let first = limiter.acquire().await.unwrap();
        let (second, third) = (waiting(&limiter).await, waiting(&limiter).await);
        let refused = limiter.acquire().await.err().unwrap();
        assert_eq!(refused.reason, Reason::QueueFull);
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(limiter.counts(), Counts { limit: 1, running: 1, waiting: 1 });
        drop(second);
        drop(third.await.unwrap().unwrap());
        assert_eq!(limiter.counts(), Counts { limit: 1, running: 0, waiting: 0 });
        assert_eq!(limiter.queue_wait.get_sample_count(), 3, "refused on arrival is no wait");
    }

    #[tokio::test]
    async fn more_workers_start_waiting_runs_and_fewer_interrupt_none() {
        let limiter = limiter(1, 10);
        let first = limiter.acquire().await.unwrap();
        let (second, third) = (waiting(&limiter).await, waiting(&limiter).await);
        limiter.resize(3, 10);
        let (second, third) = (second.await.unwrap().unwrap(), third.await.unwrap().unwrap());
        limiter.resize(1, 10);
        let fourth = waiting(&limiter).await;
        drop((first, second));
        assert_eq!(limiter.counts(), Counts { limit: 1, running: 1, waiting: 1 });
        drop(third);
        drop(fourth.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_queue_and_loses_no_worker() {
        let limiter = limiter(1, 10);
        let first = limiter.acquire().await.unwrap();
        let (second, third) = (waiting(&limiter).await, waiting(&limiter).await);
        second.abort();
        assert!(second.await.is_err());
        assert_eq!(limiter.counts().waiting, 1);
        // A turn that has come and was not taken yet goes to the next.
        let mut fourth = Box::pin(limiter.acquire());
        assert!(fourth.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(first);
        drop(third.await.unwrap().unwrap());
        assert_eq!(limiter.counts(), Counts { limit: 1, running: 1, waiting: 0 });
        drop(fourth);
        assert_eq!(limiter.counts(), Counts { limit: 1, running: 0, waiting: 0 });
        assert_eq!(limiter.queue_wait.get_sample_count(), 4);
    }

    #[tokio::test]
    async fn shut_refuses_who_waits_and_who_comes() {
        let limiter = limiter(1, 10);
        let first = limiter.acquire().await.unwrap();
        let second = waiting(&limiter).await;
        let why = Rejection { reason: Reason::Draining, retry_after: Duration::from_secs(1) };
        limiter.shut(why);
        assert_eq!(second.await.unwrap().err(), Some(why));
        assert_eq!(limiter.acquire().await.err(), Some(why));
        drop(first);
        assert_eq!(limiter.counts().running, 0);
    }
}
