//! The metrics of AgentGraph's guide, and of the contract what the guide has no name for.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::failure::{Kind, Reason};

const BUCKETS_SECONDS: [f64; 16] =
    [0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.75, 3.0, 5.0, 10.0, 17.5, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Every series is there from the start.
pub struct Metrics {
    registry: Registry,
    started_at: Instant,
    requests_per_second: Gauge,
    response_time_ms: Histogram,
    token_usage: IntCounter,
    requests: IntCounterVec,
    rejected: IntCounterVec,
    calls: IntCounterVec,
    errors: IntCounterVec,
    pub queue_wait: Histogram,
    pub cache_hits: IntCounter,
    pub cache_misses: IntCounter,
    pub cache_evictions: IntCounter,
    pub cache_expired: IntCounter,
    pub worker_limit: IntGauge,
    pub inflight: IntGauge,
    pub queue_depth: IntGauge,
    pub cache_bytes: IntGauge,
    pub cache_limit_bytes: IntGauge,
    pub breaker_state: IntGauge,
}

impl Metrics {
    /// Registers all of them; those of the guide have the label `agent`.
    ///
    /// # Errors
    /// The registry has one of them already.
    pub fn new(registry: &Registry, agent: &str) -> Result<Self, prometheus::Error> {
        let make = Maker(registry);
        let ours = |name: &str, help: &str| Opts::new(name, help).const_label("agent", agent);
        // The guide has no bounds for this histogram: the contract's, in its unit.
        let bounds = BUCKETS_SECONDS.iter().map(|seconds| seconds * 1000.0).collect();
        let response_time =
            HistogramOpts::new("agent_response_time_ms", "Of a run that has a worker, in milliseconds.");
        let response_time = response_time.const_label("agent", agent).buckets(bounds);
        let wait = HistogramOpts::new("agent_queue_wait_seconds", "From arrival until the wait for a worker ended.");
        Ok(Self {
            started_at: Instant::now(),
            requests_per_second: make.kept(Gauge::with_opts(ours(
                "agent_requests_per_second",
                "Runs that ended, by the seconds since the start.",
            ))?)?,
            response_time_ms: make.kept(Histogram::with_opts(response_time)?)?,
            token_usage: make.kept(IntCounter::with_opts(ours("agent_token_usage", "Tokens of answered runs."))?)?,
            requests: make.counters(
                "agent_requests_total",
                "Runs that got a worker and ended.",
                "status",
                &["success", "error"],
            )?,
            rejected: make.counters(
                "agent_rejected_total",
                "Runs refused before they got a worker.",
                "reason",
                &Reason::ALL.map(Reason::name),
            )?,
            calls: make.counters(
                "agent_upstream_calls_total",
                "Upstream calls sent and ended.",
                "outcome",
                &["success", "failure"],
            )?,
            errors: make.counters(
                "agent_upstream_errors_total",
                "Upstream calls that failed.",
                "kind",
                &Kind::ALL.map(Kind::name),
            )?,
            queue_wait: make.kept(Histogram::with_opts(wait.buckets(BUCKETS_SECONDS.to_vec()))?)?,
            cache_hits: make.counter("agent_cache_hits_total", "Lookups answered without a load of their own.")?,
            cache_misses: make.counter("agent_cache_misses_total", "Lookups that had to load.")?,
            cache_evictions: make.counter("agent_cache_evictions_total", "Entries dropped to keep within the size.")?,
            cache_expired: make.counter("agent_cache_expired_total", "Entries dropped because of their age.")?,
            worker_limit: make.gauge("agent_worker_limit", "Workers in force.")?,
            inflight: make.gauge("agent_inflight_requests", "Runs that have a worker now.")?,
            queue_depth: make.gauge("agent_queue_depth", "Runs that wait for a worker now.")?,
            cache_bytes: make.gauge("agent_cache_bytes", "What the cache holds now.")?,
            cache_limit_bytes: make.gauge("agent_cache_limit_bytes", "Cache size in force.")?,
            breaker_state: make.gauge("agent_breaker_state", "0 closed, 1 half-open, 2 open.")?,
            registry: registry.clone(),
        })
    }

    /// A run that got a worker has ended; its tokens, where it was answered.
    pub fn run_ended(&self, took: Duration, tokens: Option<u64>) {
        let status = if tokens.is_some() { "success" } else { "error" };
        self.requests.with_label_values(&[status]).inc();
        self.response_time_ms.observe(took.as_secs_f64() * 1000.0);
        self.token_usage.inc_by(tokens.unwrap_or(0));
    }

    pub fn run_rejected(&self, reason: Reason) {
        self.rejected.with_label_values(&[reason.name()]).inc();
    }

    /// An upstream call has ended; by what it failed, if it did.
    pub fn upstream_call(&self, failure: Option<Kind>) {
        let outcome = if failure.is_some() { "failure" } else { "success" };
        self.calls.with_label_values(&[outcome]).inc();
        if let Some(kind) = failure {
            self.errors.with_label_values(&[kind.name()]).inc();
        }
    }

    /// The Prometheus text format.
    ///
    /// # Errors
    /// The registry holds what the format cannot express.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let ended: u64 =
            ["success", "error"].iter().map(|status| self.requests.with_label_values(&[*status]).get()).sum();
        self.requests_per_second.set(ended as f64 / self.started_at.elapsed().as_secs_f64());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    #[cfg(test)]
    pub fn upstream_calls(&self, outcome: &str) -> u64 {
        self.calls.with_label_values(&[outcome]).get()
    }
}

/// Makes metrics and registers them.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn kept<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.kept(IntCounter::new(name, help)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.kept(IntGauge::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let counters = self.kept(IntCounterVec::new(Opts::new(name, help), &[label])?)?;
        for value in values {
            counters.with_label_values(&[*value]);
        }
        Ok(counters)
    }
}
