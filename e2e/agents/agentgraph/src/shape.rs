//! The measured shape of agent work, as e2e/agents/reference/shape.py has it; a test holds both against the same
//! measurements. Seconds and bytes are those of the real thing; the scales are applied last.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use std::sync::Mutex;

const MEGABYTE: f64 = 1e6;
const NEW_TOKENS: u64 = 710; // the medians of a call
const CACHED_TOKENS: u64 = 98_752;
const BASE_SECONDS: f64 = 1.240;
const SECONDS_PER_OUTPUT_TOKEN: f64 = 0.01488;
const INPUT_SECONDS: f64 = 0.0301 / 1000.0 * NEW_TOKENS as f64 + 0.0144 / 1000.0 * CACHED_TOKENS as f64;
const OUTPUT_TOKENS_MEDIAN: f64 = 218.0;
const OUTPUT_TOKENS_SIGMA: f64 = 1.19;
const DURATION_SIGMA: f64 = 0.27;
const LONGEST_SECONDS: f64 = 100.0;
const MEMORY_MEDIAN_BYTES: f64 = 210.0 * MEGABYTE;
const MEMORY_SIGMA: f64 = 0.15;
const PEAK_MEGABYTES_AT: [(f64, f64); 5] = [(0.0, 210.0), (0.5, 291.0), (0.9, 441.0), (0.99, 2_050.0), (1.0, 4_060.0)];
const KEYS: usize = 20_000;
const ZIPF_EXPONENT: f64 = 0.9;
const RESULT_MEDIAN_BYTES: f64 = 1_048_576.0;
const RESULT_SIGMA: f64 = 0.5;
const CACHEABLE_SHARE: f64 = 0.3;
const TWO_ANSWERS_SHARE: f64 = 0.3;

/// One run's work, scaled.
#[derive(Debug, Clone)]
pub struct Job {
    /// What the cacheable part depends on.
    pub key: String,
    /// Upstream time of the cacheable part.
    pub context_seconds: f64,
    /// Size of what is cached.
    pub result_bytes: u64,
    /// Upstream time of each call that makes the answer.
    pub answer_seconds: Vec<f64>,
    /// Memory held during the whole run.
    pub held_bytes: u64,
    /// Memory held on top of it for a part of the run.
    pub excursion_bytes: u64,
    /// Tokens that the model reads and writes for it.
    pub tokens: u64,
}

/// Draws jobs.
pub struct Shape {
    time_scale: f64,
    memory_scale: f64,
    /// Rarer peaks of memory are cut to it.
    tail_quantile: f64,
    /// Of every run, before the time scale; `None`: as measured.
    run_seconds: Option<f64>,
    random: Mutex<StdRng>,
    /// Sums of the keys' shares, the most popular first.
    popularity: Vec<f64>,
}

impl Shape {
    pub fn new(
        time_scale: f64,
        memory_scale: f64,
        tail_quantile: f64,
        run_seconds: Option<f64>,
        seed: Option<u64>,
    ) -> Self {
        let random = Mutex::new(seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64));
        let shares = (1..=KEYS).map(|rank| (rank as f64).powf(-ZIPF_EXPONENT));
        let popularity = shares.scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        });
        Self { time_scale, memory_scale, tail_quantile, run_seconds, random, popularity: popularity.collect() }
    }

    /// One job; a key that is not given is drawn, too, and `memory_factor` is times the usual memory.
    pub fn draw(&self, key: Option<String>, memory_factor: f64) -> Job {
        let random = &mut *self.random.lock().unwrap();
        let key = key.unwrap_or_else(|| {
            let drawn = random.random::<f64>() * self.popularity[KEYS - 1];
            format!("prompt-{}", self.popularity.partition_point(|sum| *sum < drawn))
        });
        let output_tokens = OUTPUT_TOKENS_MEDIAN * log_normal(random, OUTPUT_TOKENS_SIGMA);
        let whole = BASE_SECONDS + SECONDS_PER_OUTPUT_TOKEN * output_tokens + INPUT_SECONDS;
        let measured = (whole * log_normal(random, DURATION_SIGMA)).min(LONGEST_SECONDS);
        let seconds = self.run_seconds.unwrap_or(measured) * self.time_scale;
        let peak = peak_bytes(random.random::<f64>().min(self.tail_quantile));
        let held = peak.min(MEMORY_MEDIAN_BYTES * log_normal(random, MEMORY_SIGMA));
        let memory = self.memory_scale * memory_factor;
        let answers = if random.random::<f64>() < TWO_ANSWERS_SHARE { 2 } else { 1 };
        // The same key has the same size every time and everywhere.
        let of_key = &mut StdRng::seed_from_u64(fnv1a(&key));
        let result_bytes = (RESULT_MEDIAN_BYTES * log_normal(of_key, RESULT_SIGMA) * self.memory_scale) as u64;
        Job {
            key,
            context_seconds: seconds * CACHEABLE_SHARE,
            result_bytes,
            answer_seconds: vec![seconds * (1.0 - CACHEABLE_SHARE) / f64::from(answers); answers as usize],
            held_bytes: (held * memory) as u64,
            excursion_bytes: ((peak - held) * memory) as u64,
            tokens: NEW_TOKENS + CACHED_TOKENS + output_tokens as u64,
        }
    }
}

fn log_normal(random: &mut StdRng, sigma: f64) -> f64 {
    let normal: f64 = StandardNormal.sample(random);
    (sigma * normal).exp()
}

/// The maximum of memory at a quantile, log-linear between the measured ones.
fn peak_bytes(quantile: f64) -> f64 {
    let above = PEAK_MEGABYTES_AT.partition_point(|(at, _)| *at < quantile).clamp(1, PEAK_MEGABYTES_AT.len() - 1);
    let ((low, low_megabytes), (high, high_megabytes)) = (PEAK_MEGABYTES_AT[above - 1], PEAK_MEGABYTES_AT[above]);
    let share = (quantile - low) / (high - low);
    ((1.0 - share) * low_megabytes.ln() + share * high_megabytes.ln()).exp() * MEGABYTE
}

/// A hash that is the same in every process, which those of the standard library do not promise.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_has_the_measured_shape() {
        let shape = Shape::new(1.0, 1.0, 1.0, None, Some(1));
        let jobs: Vec<_> = (0..100_000).map(|_| shape.draw(None, 1.0)).collect();
        let sorted = |value: fn(&Job) -> f64| {
            let mut values: Vec<_> = jobs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let seconds = sorted(|job| job.context_seconds + job.answer_seconds.iter().sum::<f64>());
        let held = sorted(|job| job.held_bytes as f64 / MEGABYTE);
        let peak = sorted(|job| (job.held_bytes + job.excursion_bytes) as f64 / MEGABYTE);
        for (values, quantile, measured) in [
            (&seconds, 0.5, 6.1),
            (&seconds, 0.95, 28.0),
            (&seconds, 0.99, 60.0),
            (&held, 0.5, 210.0),
            (&peak, 0.5, 291.0),
            (&peak, 0.9, 441.0),
            (&peak, 0.99, 2_050.0),
        ] {
            let got: f64 = values[(quantile * 100_000.0) as usize];
            assert!((got / measured - 1.0).abs() < 0.08, "quantile {quantile} is {got}, measured {measured}");
        }
        let size = || shape.draw(Some("same".to_owned()), 1.0).result_bytes;
        assert_eq!(size(), size());
    }
}
