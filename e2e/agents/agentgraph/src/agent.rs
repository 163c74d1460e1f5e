//! What serves runs: workers, cache, breaker and memory gate, retuned while it runs.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};

use crate::breaker::{Breaker, Reservation};
use crate::cache::Cache;
use crate::failure::{Failure, Kind, Reason, Rejection};
use crate::limiter::{Limiter, Permit};
use crate::memory::{Block, Gate};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::shape::Job;
use crate::upstream::Upstream;

const EXCURSION_SHARE: f64 = 0.4; // of the time of the answer: memory peaks while results are put together
const MEMORY_WAIT: Duration = Duration::from_secs(30);
const TICK_INTERVAL: Duration = Duration::from_millis(250);
const RETRY_MEMORY: Duration = Duration::from_secs(5);

pub struct Agent {
    pub metrics: Arc<Metrics>,
    limiter: Arc<Limiter>,
    cache: Arc<Cache>,
    breaker: Breaker,
    upstream: Upstream,
    gate: Arc<Gate>,
    draining: AtomicBool,
    settings: Mutex<Settings>,
}

/// A run that got a worker.
pub struct Outcome {
    /// How long it waited for one.
    pub wait: Duration,
    /// Size of the context that the answer is made from.
    pub result: Result<u64, Failure>,
}

impl Agent {
    pub fn new(metrics: Metrics, upstream: Upstream, settings: Settings) -> Arc<Self> {
        let (metrics, gate) = (Arc::new(metrics), Arc::new(Gate::default()));
        let asked = gate.clone();
        let agent = Arc::new(Self {
            limiter: Limiter::new(move || asked.may_start(), metrics.queue_wait.clone()),
            cache: Cache::new(metrics.clone()),
            breaker: Breaker::new(metrics.clone()),
            draining: AtomicBool::new(false),
            settings: Mutex::new(settings),
            metrics,
            upstream,
            gate,
        });
        agent.retune(settings);
        agent
    }

    /// Puts other settings in force; no run is lost, refused or restarted by it.
    pub fn retune(&self, settings: Settings) {
        let now = Instant::now();
        *self.settings.lock().unwrap() = settings;
        self.gate.retune(settings.memory_limit_bytes);
        self.cache.retune(settings.cache_bytes, settings.cache_ttl, now);
        self.breaker.retune(settings.breaker, now);
        self.limiter.resize(settings.workers, settings.queue);
    }

    pub fn settings(&self) -> Settings {
        *self.settings.lock().unwrap()
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Writes what is true now into the gauges.
    pub fn measure(&self) {
        let (counts, (held, limit)) = (self.limiter.counts(), self.cache.sizes());
        let set = |gauge: &prometheus::IntGauge, value| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.metrics.worker_limit, counts.limit as u64);
        set(&self.metrics.inflight, counts.running as u64);
        set(&self.metrics.queue_depth, counts.waiting as u64);
        set(&self.metrics.cache_bytes, held);
        set(&self.metrics.cache_limit_bytes, limit);
        set(&self.metrics.breaker_state, self.breaker.state(Instant::now()) as u64);
    }

    /// Waits for a worker and does a job. Who drops the future gives up the run.
    pub async fn run(self: &Arc<Self>, job: &Job) -> Result<Outcome, Rejection> {
        let refuse = |rejection: &Rejection| self.metrics.run_rejected(rejection.reason);
        let mut run = self.admit().await.inspect_err(refuse)?;
        let (wait, settings) = (run.permit.wait, self.settings());
        let deadline = settings.run_timeout.map(|timeout| run.started_at + timeout);
        let work = self.work(job, run.kept.clone(), deadline);
        let result = match deadline {
            Some(deadline) => timeout_at(deadline.into(), work).await.unwrap_or(Err(Failure::TookTooLong)),
            None => work.await,
        };
        run.tokens = result.is_ok().then_some(job.tokens);
        Ok(Outcome { wait, result })
    }

    async fn admit(self: &Arc<Self>) -> Result<Run, Rejection> {
        let by_breaker = |retry_after| Rejection { reason: Reason::Breaker, retry_after };
        // An open breaker refuses at once: who waits for a worker to be told no has waited for nothing.
        self.breaker.check(Instant::now()).map_err(by_breaker)?;
        let permit = self.limiter.acquire().await?;
        let now = Instant::now();
        let kept = self.breaker.reserve(now).map_err(by_breaker)?; // it may have opened meanwhile
        Ok(Run { agent: self.clone(), permit, kept, started_at: now, tokens: None })
    }

    /// Looks up the context of a prompt, then asks the upstream for the answer.
    async fn work(
        self: &Arc<Self>,
        job: &Job,
        kept: Arc<Reservation>,
        deadline: Option<Instant>,
    ) -> Result<u64, Failure> {
        let _held = Block::of(job.held_bytes).await.map_err(no_memory)?;
        let (agent, reserved) = (self.clone(), kept.clone());
        let (seconds, bytes) = (job.context_seconds, job.result_bytes);
        let fetch = async move {
            agent.ask(seconds, &reserved, deadline).await?;
            Ok(Arc::new(Block::of(bytes).await.map_err(no_memory)?))
        };
        let context = self.cache.get(&job.key, fetch).await?;
        let answering: f64 = job.answer_seconds.iter().sum();
        let excursion = Block::of(job.excursion_bytes).await.map_err(no_memory)?;
        let peak = async move {
            sleep(Duration::from_secs_f64(EXCURSION_SHARE * answering)).await;
            drop(excursion);
            std::future::pending::<Failure>().await
        };
        let answer = async {
            for seconds in &job.answer_seconds {
                self.ask(*seconds, &kept, deadline).await?;
            }
            Ok(context.bytes())
        };
        tokio::select! {
            result = answer => result,
            failure = peak => Err(failure),
        }
    }

    /// Makes one call, and again after a pause where the settings allow more attempts.
    async fn ask(&self, seconds: f64, kept: &Reservation, deadline: Option<Instant>) -> Result<(), Failure> {
        let settings = self.settings();
        let mut attempt = 1;
        loop {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            let call = self.upstream.complete(seconds, settings.call_timeout.min(left));
            let result = self.breaker.call(kept, call).await;
            if !matches!(result, Err(Failure::Upstream(_))) || attempt >= settings.attempts {
                return result;
            }
            attempt += 1;
            sleep(settings.retry_delay).await;
        }
    }

    /// Does what is due four times a second: old entries go, and runs that wait for memory start or are refused.
    pub async fn tend(self: Arc<Self>) {
        let mut shut_since: Option<Instant> = None;
        loop {
            sleep(TICK_INTERVAL).await;
            self.cache.sweep(Instant::now());
            if self.gate.open() {
                shut_since = None;
                self.limiter.pump();
                continue;
            }
            let shut_for = shut_since.get_or_insert_with(Instant::now).elapsed();
            let counts = self.limiter.counts();
            // While others run, their ends free memory.
            if counts.waiting == 0 || counts.running > 0 && shut_for < MEMORY_WAIT / 2 {
                continue;
            }
            self.cache.halve();
            if shut_for > MEMORY_WAIT {
                let why = Rejection { reason: Reason::Memory, retry_after: RETRY_MEMORY };
                self.limiter.refuse(why, MEMORY_WAIT);
            }
        }
    }

    /// Makes the agent unready; after the delay it admits nothing, and this returns when the last run has ended.
    pub async fn drain(&self, delay: Duration, linger: Duration) {
        self.draining.store(true, Relaxed);
        log::info!("draining, {} runs", self.limiter.counts().running);
        sleep(delay).await; // whoever sends runs needs a moment to see that
        self.limiter.shut(Rejection { reason: Reason::Draining, retry_after: Duration::from_secs(1) });
        sleep(linger).await; // late callers get a refusal, not a closed port
        while self.limiter.counts().running > 0 {
            sleep(TICK_INTERVAL / 10).await;
        }
    }
}

/// A run that has a worker. However it ends, also when its caller hangs up, it is counted and gives back what it has.
struct Run {
    agent: Arc<Agent>,
    permit: Permit,
    kept: Arc<Reservation>,
    started_at: Instant,
    /// `None`: it has no answer.
    tokens: Option<u64>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.agent.breaker.cancel(&self.kept);
        self.agent.metrics.run_ended(self.started_at.elapsed(), self.tokens);
    }
}

impl Failure {
    /// What a caller is told, as the reference agent says it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CircuitOpen(_) => "circuit_open",
            Self::Upstream(kind) => kind.name(),
            Self::TookTooLong => Kind::Timeout.name(),
            Self::Other(_) => "upstream",
        }
    }
}

fn no_memory(error: std::io::Error) -> Failure {
    Failure::Other(format!("no memory: {error}"))
}

#[cfg(test)]
mod tests;
