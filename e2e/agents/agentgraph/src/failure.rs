//! How a run can end without an answer.

use std::time::Duration;

/// What an upstream call failed by, as in `agent_upstream_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    RateLimited,
    Broken,
    Timeout,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::RateLimited, Self::Broken, Self::Timeout];

    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "429",
            Self::Broken => "5xx",
            Self::Timeout => "timeout",
        }
    }
}

/// Why a run that had a worker failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The breaker let no call through.
    CircuitOpen(Duration),
    /// The upstream is to blame.
    Upstream(Kind),
    /// The run took longer than `CollaborationConfig.message_timeout`.
    TookTooLong,
    /// Something that tells nothing of the upstream's health.
    Other(String),
}

/// Why a run got no worker, as in `agent_rejected_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    QueueFull,
    Memory,
    Breaker,
    Draining,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::Memory, Self::Breaker, Self::Draining];

    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Memory => "memory",
            Self::Breaker => "breaker",
            Self::Draining => "draining",
        }
    }
}

/// A run that was refused before it got a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    pub retry_after: Duration,
}
