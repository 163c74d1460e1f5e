//! Reads the settings that Agentscaler delivers to an agent, while the agent runs.
//!
//! The contract that it keeps is `docs/contract.md` of the Agentscaler repository.

mod settings;
mod watcher;

pub use settings::{Broken, Cache, CircuitBreaker, Settings, Tuning, Workers, parse};
pub use watcher::{InForce, Native, Watcher};
