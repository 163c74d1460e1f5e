use std::error::Error;

use serde_json::{Map, Value};

const MAX_FILE_BYTES: usize = 64 * 1024; // a file of the operator has less than 1 KiB
const GENERATION_MAX: u64 = (1 << 53) - 1; // what every language's JSON numbers hold exactly

/// The values of `tuning.json` over the agent's own defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// How many runs at a time.
    pub workers: Workers,
    /// What is kept.
    pub cache: Cache,
    /// When upstream calls stop, and how they resume.
    pub circuit_breaker: CircuitBreaker,
}

/// Bounds concurrent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Workers {
    /// Runs carried out at a time.
    pub max_concurrent: u64,
}

/// Bounds what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cache {
    /// Bytes held at most; 0 stores nothing.
    pub max_bytes: u64,
    /// Age at which an entry is no longer used.
    pub ttl_seconds: u64,
}

/// Says when upstream calls stop and how they resume; words as in resilience4j.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CircuitBreaker {
    /// Share of failed calls in the window at which the breaker opens.
    pub failure_rate_threshold_percent: u64,
    /// How long an open breaker refuses before it tries again.
    pub wait_duration_in_open_state_seconds: u64,
    /// Age up to which finished calls count.
    pub sliding_window_seconds: u64,
    /// Fewer calls than this in the window never open the breaker.
    pub minimum_number_of_calls: u64,
    /// Trial calls after the wait.
    pub permitted_calls_in_half_open_state: u64,
}

/// One valid `tuning.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tuning {
    /// The writer's number of this file.
    pub generation: u64,
    /// The file's values over the agent's defaults.
    pub settings: Settings,
    /// Keys that this reader does not know, as paths with dots; they have no effect.
    pub unknown: Vec<String>,
}

/// Why a settings file cannot be used.
pub type Broken = Box<dyn Error + Send + Sync>;

/// Reads a `tuning.json`; an absent key leaves the default.
///
/// # Errors
/// The content is not JSON or breaks the schema.
pub fn parse(content: &[u8], defaults: &Settings) -> Result<Tuning, Broken> {
    if content.len() > MAX_FILE_BYTES {
        return Err(format!("tuning.json is larger than {MAX_FILE_BYTES} bytes").into());
    }
    let document = serde_json::from_slice(content).map_err(|error| format!("tuning.json: {error}"))?;
    let mut tuning = Tuning { settings: *defaults, ..Tuning::default() };
    tuning.read("", object("", &document)?)?;
    if tuning.generation == 0 {
        return Err("tuning.json: generation is missing".into());
    }
    Ok(tuning)
}

impl Tuning {
    fn read(&mut self, section: &str, found: &Map<String, Value>) -> Result<(), Broken> {
        for (key, value) in found {
            if let Some((target, minimum, maximum)) = self.leaf(section, key) {
                *target = whole(key, value, minimum, maximum)?;
            } else if section.is_empty() && matches!(key.as_str(), "workers" | "cache" | "circuitBreaker") {
                self.read(key, object(key, value)?)?;
            } else {
                self.unknown.push(format!("{section}.{key}").trim_start_matches('.').to_owned());
            }
        }
        Ok(())
    }

    /// What a key sets, and the bounds of docs/tuning.schema.json.
    fn leaf(&mut self, section: &str, key: &str) -> Option<(&mut u64, u64, u64)> {
        let Settings { workers, cache, circuit_breaker: breaker } = &mut self.settings;
        Some(match (section, key) {
            ("", "generation") => (&mut self.generation, 1, GENERATION_MAX),
            ("workers", "maxConcurrent") => (&mut workers.max_concurrent, 1, 10_000),
            ("cache", "maxBytes") => (&mut cache.max_bytes, 0, 1 << 40),
            ("cache", "ttlSeconds") => (&mut cache.ttl_seconds, 1, 604_800),
            ("circuitBreaker", _) => match key {
                "failureRateThresholdPercent" => (&mut breaker.failure_rate_threshold_percent, 1, 100),
                "waitDurationInOpenStateSeconds" => (&mut breaker.wait_duration_in_open_state_seconds, 1, 3_600),
                "slidingWindowSeconds" => (&mut breaker.sliding_window_seconds, 1, 3_600),
                "minimumNumberOfCalls" => (&mut breaker.minimum_number_of_calls, 1, 10_000),
                "permittedCallsInHalfOpenState" => (&mut breaker.permitted_calls_in_half_open_state, 1, 1_000),
                _ => return None,
            },
            _ => return None,
        })
    }
}

fn object<'a>(name: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Broken> {
    value.as_object().ok_or_else(|| format!("tuning.json: {name} is no object: {value}").into())
}

fn whole(key: &str, value: &Value, minimum: u64, maximum: u64) -> Result<u64, Broken> {
    // As a float, since JSON knows one kind of number: 12.0 is 12. What is quoted, true or null is none.
    let within = |number: &f64| number.fract() == 0.0 && (minimum as f64..=maximum as f64).contains(number);
    let why = || format!("tuning.json: {key} must be a whole number from {minimum} to {maximum}, not {value}");
    value.as_f64().filter(within).map(|number| number as u64).ok_or_else(|| why().into())
}
