//! What AgentGraph's guide configures: variables that a start reads, and structs of its API.

use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use agentscaler_tuning::{Broken, CircuitBreaker, Settings as Tuning};
use serde::Deserialize;

pub const FILE_NAME: &str = "agentgraph.env";

/// The guide's `ProductionConfig`, from the environment; `None`: it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ProductionConfig {
    pub llm_provider: Option<String>,
    pub max_concurrent_agents: Option<NonZeroU32>,
    pub memory_limit_mb: Option<NonZeroU32>,
    pub cache_ttl_seconds: Option<NonZeroU32>,
    pub monitoring_enabled: Option<bool>,
}

impl ProductionConfig {
    /// Reads variables as the guide does.
    ///
    /// # Errors
    /// A value makes no sense.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Broken> {
        Ok(envy::from_iter(variables)?)
    }

    /// Reads an `agentgraph.env`: `NAME=value` lines.
    ///
    /// # Errors
    /// A line is none, or a value makes no sense.
    pub fn from_file(content: &[u8]) -> Result<Self, Broken> {
        let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
        let variables: Vec<_> = dotenvy::from_read_iter(io::Cursor::new(content))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("{FILE_NAME}: {error}"))?;
        Self::from_variables(variables).map_err(|error| format!("{FILE_NAME}: {error}").into())
    }

    /// What this says, else what the other one says.
    pub fn over(self, other: &Self) -> Self {
        Self {
            llm_provider: self.llm_provider.or_else(|| other.llm_provider.clone()),
            max_concurrent_agents: self.max_concurrent_agents.or(other.max_concurrent_agents),
            memory_limit_mb: self.memory_limit_mb.or(other.memory_limit_mb),
            cache_ttl_seconds: self.cache_ttl_seconds.or(other.cache_ttl_seconds),
            monitoring_enabled: self.monitoring_enabled.or(other.monitoring_enabled),
        }
    }
}

/// The guide's structs, as an `agentgraph.toml` sets them; `None`: it does not say. A start reads them.
///
/// `MemoryConfig` and the heartbeat are read, so that a wrong type is told, and have nothing to act on in this agent:
/// it remembers no conversations, and has no other agents to hear from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Structs {
    pub llm: LlmConfig,
    pub memory: MemoryConfig,
    pub collaboration: CollaborationConfig,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LlmConfig {
    pub default_provider: Option<String>,
    /// Of one call, in seconds.
    pub timeout: Option<NonZeroU32>,
    /// After the first attempt.
    pub max_retries: Option<u32>,
    /// Pause before each of them, in milliseconds.
    pub retry_delay: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MemoryConfig {
    pub max_entries: Option<NonZeroU32>,
    pub embedding_model: Option<String>,
    pub similarity_threshold: Option<f64>,
    /// In seconds.
    pub cleanup_interval: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CollaborationConfig {
    /// Agents that work at a time.
    pub max_agents: Option<NonZeroU32>,
    /// Longest time of a run from when it has a worker, in seconds.
    pub message_timeout: Option<NonZeroU32>,
    /// In seconds.
    pub heartbeat_interval: Option<NonZeroU32>,
}

impl Structs {
    /// Keys that the guide does not have are logged and have no effect.
    ///
    /// # Errors
    /// It is no TOML, or has a wrong type.
    pub fn from_toml(content: &str) -> Result<Self, Broken> {
        let ignored = |path: serde_ignored::Path<'_>| log::warn!("agentgraph.toml: {path} is no key of the guide");
        Ok(serde_ignored::deserialize(toml::Deserializer::parse(content)?, ignored)?)
    }
}

/// What a start has read, and holds for as long as the process lives.
#[derive(Debug, Clone, Default)]
pub struct AtStart {
    /// Of the pod.
    pub environment: ProductionConfig,
    /// Of `agentgraph.env`, which goes before the pod's.
    pub file: ProductionConfig,
    pub structs: Structs,
    /// Used where the structs say nothing.
    pub call_timeout: Duration,
    pub queue: usize,
    /// Used where no variable says it; `None`: the container's.
    pub memory_limit_bytes: Option<u64>,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub workers: usize,
    pub queue: usize,
    pub cache_bytes: u64,
    pub cache_ttl: Duration,
    pub breaker: CircuitBreaker,
    pub call_timeout: Duration,
    pub attempts: u32,
    pub retry_delay: Duration,
    /// `None`: a run may take as long as it wants.
    pub run_timeout: Option<Duration>,
    /// Bytes that the process may hold; `None`: the container's limit.
    pub memory_limit_bytes: Option<u64>,
    pub monitoring: bool,
}

impl AtStart {
    /// What is in force with a `tuning.json`: a variable goes before it, since it is of the framework.
    pub fn with(&self, tuning: &Tuning) -> Settings {
        let own = self.file.clone().over(&self.environment);
        let Structs { llm, collaboration, .. } = &self.structs;
        let workers = own.max_concurrent_agents.map_or(tuning.workers.max_concurrent, |agents| agents.get().into());
        let most = collaboration.max_agents.map_or(u64::MAX, |agents| agents.get().into());
        let ttl_seconds = own.cache_ttl_seconds.map_or(tuning.cache.ttl_seconds, |seconds| seconds.get().into());
        let memory = own.memory_limit_mb.map(|mebibytes| u64::from(mebibytes.get()) << 20);
        let seconds = |value: NonZeroU32| Duration::from_secs(value.get().into());
        Settings {
            workers: usize::try_from(workers.min(most)).unwrap_or(usize::MAX),
            queue: self.queue,
            cache_bytes: tuning.cache.max_bytes,
            cache_ttl: Duration::from_secs(ttl_seconds),
            breaker: tuning.circuit_breaker,
            call_timeout: llm.timeout.map_or(self.call_timeout, seconds),
            attempts: llm.max_retries.unwrap_or(0).saturating_add(1),
            retry_delay: Duration::from_millis(llm.retry_delay.unwrap_or(1000).into()),
            run_timeout: collaboration.message_timeout.map(seconds),
            memory_limit_bytes: memory.or(self.memory_limit_bytes),
            monitoring: own.monitoring_enabled.unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use agentscaler_tuning::{Cache, Workers};

    use super::*;

    const TUNING: Tuning = Tuning {
        workers: Workers { max_concurrent: 8 },
        cache: Cache { max_bytes: 1000, ttl_seconds: 60 },
        circuit_breaker: CircuitBreaker {
            failure_rate_threshold_percent: 50,
            wait_duration_in_open_state_seconds: 30,
            sliding_window_seconds: 60,
            minimum_number_of_calls: 10,
            permitted_calls_in_half_open_state: 2,
        },
    };

    fn at_start(file: &str, structs: &str) -> AtStart {
        let environment = [("MAX_CONCURRENT_AGENTS", "3"), ("MEMORY_LIMIT_MB", "512"), ("PATH", "/bin")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        AtStart {
            environment: ProductionConfig::from_variables(environment).unwrap(),
            file: ProductionConfig::from_file(file.as_bytes()).unwrap(),
            structs: Structs::from_toml(structs).unwrap(),
            call_timeout: Duration::from_secs(9),
            ..AtStart::default()
        }
    }

    #[test]
    fn the_file_goes_before_the_environment_and_both_before_tuning_json() {
        let settings = AtStart::default().with(&TUNING);
        assert_eq!((settings.workers, settings.cache_ttl), (8, Duration::from_secs(60)));
        let settings = at_start("", "").with(&TUNING);
        assert_eq!((settings.workers, settings.memory_limit_bytes), (3, Some(512 << 20)));
        let file = "# ours\nexport MAX_CONCURRENT_AGENTS=\"20\"\nCACHE_TTL_SECONDS=900\nMONITORING_ENABLED=false\n";
        let settings = at_start(file, "").with(&TUNING);
        assert_eq!((settings.workers, settings.cache_ttl), (20, Duration::from_secs(900)));
        assert_eq!((settings.memory_limit_bytes, settings.monitoring), (Some(512 << 20), false));
        assert_eq!((settings.cache_bytes, settings.breaker), (1000, TUNING.circuit_breaker));
    }

    #[test]
    fn the_structs_of_the_guide_are_in_force_in_their_units() {
        let guide = "[llm]\ndefault_provider = 'openai'\ntimeout = 30\nmax_retries = 3\nretry_delay = 1000\n\
            [memory]\nmax_entries = 1000\nembedding_model = 'text-embedding-ada-002'\nsimilarity_threshold = 0.7\n\
            cleanup_interval = 3600\n[collaboration]\nmax_agents = 2\nmessage_timeout = 30\nheartbeat_interval = 10\n[agents]\nmax_concurrent_agents = 10";
        let settings = at_start("", guide).with(&TUNING);
        assert_eq!((settings.workers, settings.attempts), (2, 4));
        assert_eq!((settings.call_timeout, settings.retry_delay), (Duration::from_secs(30), Duration::from_secs(1)));
        assert_eq!(settings.run_timeout, Some(Duration::from_secs(30)));
        assert_eq!(at_start("", "").with(&TUNING).call_timeout, Duration::from_secs(9));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for content in [
            "MAX_CONCURRENT_AGENTS=many",
            "MAX_CONCURRENT_AGENTS=0",
            "MAX_CONCURRENT_AGENTS=-1",
            "MAX_CONCURRENT_AGENTS=2.5",
            "MAX_CONCURRENT_AGENTS=4294967296",
            "CACHE_TTL_SECONDS=15m",
            "MONITORING_ENABLED=perhaps",
            "MAX_CONCURRENT_AGENTS",
            "LLM_PROVIDER='openai",
            "LLM_PROVIDER=\u{0}\n=",
        ] {
            let read = ProductionConfig::from_file(content.as_bytes());
            assert!(read.is_err(), "{content:?} is accepted: {read:?}");
        }
        assert!(ProductionConfig::from_file(b"LLM_PROVIDER=\xff").is_err());
        for content in ["[llm", "[llm]\ntimeout = '30s'", "[llm]\ntimeout = 0", "llm = 3"] {
            assert!(Structs::from_toml(content).is_err(), "{content:?} is accepted");
        }
    }
}
