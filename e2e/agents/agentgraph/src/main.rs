//! An agent as AgentGraph's performance guide describes one: variables and structs that a start reads, `tuning.json`
//! while it runs, and the guide's metrics. Its work has the measured shape of agent calls.

mod agent;
mod breaker;
mod cache;
mod failure;
mod limiter;
mod memory;
mod metrics;
mod server;
mod settings;
mod shape;
mod upstream;

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentscaler_tuning::{Cache, CircuitBreaker, InForce, Native, Settings as Tuning, Watcher, Workers};
use clap::Parser;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::settings::{AtStart, FILE_NAME, ProductionConfig, Structs};
use crate::shape::Shape;
use crate::upstream::Upstream;

const CALL_TIMEOUT_SECONDS: f64 = 120.0; // before the time scale; above the longest call of a healthy upstream
const CACHE_BYTES: f64 = 268_435_456.0; // before the memory scale
const LAST_ANSWERS: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(about = "An agent with the settings and metrics of AgentGraph's performance guide")]
#[command(args_override_self = true)] // those of a pod come after those of the image, and win
struct Arguments {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Directory with agentgraph.env and tuning.json (default: AGENTSCALER_SETTINGS_DIR)
    #[arg(long)]
    settings_dir: Option<PathBuf>,
    /// The guide's structs; it may be missing
    #[arg(long, default_value = "agentgraph.toml")]
    config: PathBuf,
    /// URL of the model provider
    #[arg(long)]
    upstream: String,
    /// Value of the label agent
    #[arg(long, default_value = "agent")]
    agent_name: String,
    #[arg(long, default_value_t = 0.05)]
    time_scale: f64,
    /// Of one upstream call, not scaled (default: 120 times the time scale)
    #[arg(long)]
    call_timeout_seconds: Option<f64>,
    #[arg(long, default_value_t = 0.05)]
    memory_scale: f64,
    /// Default: MEMORY_LIMIT_MB, else the container's limit
    #[arg(long)]
    memory_limit_bytes: Option<u64>,
    /// Rarer peaks of memory are cut to it
    #[arg(long, default_value_t = 0.9)]
    memory_tail_quantile: f64,
    /// Of every run, before the time scale (default: as measured)
    #[arg(long)]
    run_seconds: Option<f64>,
    /// Used where neither the files nor the environment say it
    #[arg(long, default_value_t = 8)]
    workers: u64,
    #[arg(long, default_value_t = 500)]
    queue_size: usize,
    #[arg(long, default_value_t = 1.0)]
    drain_delay_seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    drain_linger_seconds: f64,
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    env_logger::Builder::new().filter_level(log::LevelFilter::Info).parse_default_env().init();
    let arguments = Arguments::parse();
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;

    let defaults = Tuning {
        workers: Workers { max_concurrent: arguments.workers },
        cache: Cache { max_bytes: (CACHE_BYTES * arguments.memory_scale) as u64, ttl_seconds: 900 },
        circuit_breaker: CircuitBreaker {
            failure_rate_threshold_percent: 50,
            wait_duration_in_open_state_seconds: 30,
            sliding_window_seconds: 60,
            minimum_number_of_calls: 10,
            permitted_calls_in_half_open_state: 2,
        },
    };
    let at_start = AtStart {
        environment: ProductionConfig::from_variables(std::env::vars())?,
        file: ProductionConfig::default(),
        structs: structs(&arguments.config)?,
        call_timeout: Duration::try_from_secs_f64(
            arguments.call_timeout_seconds.unwrap_or(CALL_TIMEOUT_SECONDS * arguments.time_scale),
        )?,
        queue: arguments.queue_size,
        memory_limit_bytes: arguments.memory_limit_bytes,
    };
    let metrics = Metrics::new(&registry, &arguments.agent_name)?;
    let agent = Agent::new(metrics, Upstream::new(&arguments.upstream)?, at_start.with(&defaults));
    follow_settings(arguments.settings_dir, defaults, at_start, &registry, agent.clone())?;
    tokio::spawn(agent.clone().tend());

    let shape = Shape::new(
        arguments.time_scale,
        arguments.memory_scale,
        arguments.memory_tail_quantile,
        arguments.run_seconds,
        arguments.seed,
    );
    let delay = Duration::try_from_secs_f64(arguments.drain_delay_seconds)?;
    let linger = Duration::try_from_secs_f64(arguments.drain_linger_seconds)?;
    let address: SocketAddr = format!("{}:{}", arguments.host, arguments.port).parse()?;
    let listener = TcpListener::bind(address).await?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let server = Server { agent: agent.clone(), shape: Arc::new(shape) };
    let drained = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        agent.drain(delay, linger).await;
        // The last runs have ended; their answers may still be on the way, and idle connections stay open for long.
        tokio::spawn(async {
            tokio::time::sleep(LAST_ANSWERS).await;
            std::process::exit(0);
        });
    };
    axum::serve(listener, server.router()).with_graceful_shutdown(drained).await?;
    Ok(())
}

/// A missing file says nothing.
fn structs(path: &Path) -> Result<Structs, Box<dyn Error + Send + Sync>> {
    match std::fs::read_to_string(path) {
        Ok(content) => Structs::from_toml(&content).map_err(|error| format!("{}: {error}", path.display()).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Structs::default()),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

/// Puts the delivered settings in force, now and whenever they change.
///
/// Of `agentgraph.env` this process keeps what stands there now: the guide's agents read their environment once. Where
/// a later one would lead to other settings, the generation is not reported: it needs a new process.
fn follow_settings(
    directory: Option<PathBuf>,
    defaults: Tuning,
    at_start: AtStart,
    registry: &Registry,
    agent: Arc<Agent>,
) -> Result<(), prometheus::Error> {
    let native = Native { name: FILE_NAME, parse: ProductionConfig::from_file };
    let started = Arc::new(AtomicBool::new(false));
    let (starts_over, kept) = (started.clone(), Mutex::new(at_start));
    let apply = move |tuning: &Tuning, file: Option<&ProductionConfig>| {
        let mut kept = kept.lock().unwrap();
        let wanted = AtStart { file: file.cloned().unwrap_or_default(), ..kept.clone() };
        if !starts_over.load(SeqCst) {
            *kept = wanted.clone();
        }
        let settings = kept.with(tuning);
        agent.retune(settings);
        if settings == wanted.with(tuning) { InForce::All } else { InForce::AfterRestart }
    };
    let mut watcher = Watcher::new(directory, defaults, Some(native), registry, apply)?;
    watcher.poll();
    started.store(true, SeqCst);
    std::thread::spawn(|| watcher.run());
    Ok(())
}
