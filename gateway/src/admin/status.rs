//! What `/status` shows.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::history::{Pin, Summary};
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::LastFailure;

/// The gateway at a glance.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The gateway's version.
    pub version: &'static str,
    /// When the process started.
    pub started: Timestamp,
    /// Worker threads.
    pub workers: usize,
    /// The policy in force; none while the first one is being prepared.
    pub generation: Option<GenerationStatus>,
    /// Generations replaced but still serving their last requests.
    pub generations_retiring: usize,
    /// Set while a kept policy serves because the policy's own files cannot.
    pub degraded: Option<Degraded>,
    /// Set while the gateway stands by a policy that it was told to go back to.
    pub pinned: Option<Pin>,
    /// The policies that it could go back to.
    pub history: Summary,
    /// The policy on trial, if there is one.
    pub rollout: Option<super::RolloutStatus>,
    /// The last policy that was refused, if none was applied since.
    pub last_error: Option<RejectedStatus>,
    /// Filters of the policy in force, in its order.
    pub filters: Vec<FilterStatus>,
    /// Upstreams of the policy in force, in its order.
    pub upstreams: Vec<UpstreamStatus>,
}

/// A kept policy serves because the policy's own files cannot.
#[derive(Debug, Clone, Serialize)]
pub struct Degraded {
    /// Since when.
    pub since: Timestamp,
    /// The generation that had the policy before.
    pub serves: u64,
    /// What is wrong with the files, in one line.
    pub reason: String,
}

/// The policy in force.
#[derive(Debug, Clone, Serialize)]
pub struct GenerationStatus {
    /// Its number. The first is 1; numbers go on after a restart.
    pub number: u64,
    /// When every worker had it.
    pub committed: Timestamp,
    /// The file it was read from.
    pub source: String,
    /// SHA-256 of all that makes it up, in hexadecimal.
    pub digest: String,
    /// What made the gateway read it.
    pub trigger: Trigger,
    /// How long each phase took.
    pub phases: Phases,
}

/// What made the gateway read a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The start of the process.
    Start,
    /// A change of a file.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /policy/reload`.
    Admin,
    /// Faster code of its modules: the same policy once more.
    Recompiled,
    /// `POST /policy/rollback`, or a restart of a gateway that was told so.
    Rollback,
    /// A start with a kept policy, as the policy's own files could not be served.
    Fallback,
}

impl Trigger {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Admin => "admin",
            Self::Recompiled => "recompiled",
            Self::Rollback => "rollback",
            Self::Fallback => "fallback",
        }
    }
}

/// How long each phase of a swap took; none if it was not reached. In JSON in milliseconds, each
/// with `_ms` behind its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    /// Reading and checking the text.
    #[serde(rename = "parse_ms", serialize_with = "milliseconds")]
    pub parse: Option<Duration>,
    /// Metering and compiling modules, or fetching them from the cache.
    #[serde(rename = "compile_ms", serialize_with = "milliseconds")]
    pub compile: Option<Duration>,
    /// Building the new generation on every worker.
    #[serde(rename = "prepare_ms", serialize_with = "milliseconds")]
    pub prepare: Option<Duration>,
    /// From the first worker pointed to it to the last.
    #[serde(rename = "commit_ms", serialize_with = "milliseconds")]
    pub commit: Option<Duration>,
    /// From commit to the end of the old generation's last request.
    #[serde(rename = "retire_ms", serialize_with = "milliseconds")]
    pub retire: Option<Duration>,
}

/// A policy that was refused.
#[derive(Debug, Clone, Serialize)]
pub struct RejectedStatus {
    /// When.
    pub at: Timestamp,
    /// What made the gateway read it.
    pub trigger: Trigger,
    /// Why it was refused.
    #[serde(flatten)]
    pub refusal: super::Refusal,
}

/// A filter.
#[derive(Debug, Clone, Serialize)]
pub struct FilterStatus {
    /// Its name.
    pub name: Arc<str>,
    /// `wasm`, `rate_limit` or `headers`.
    pub kind: &'static str,
    /// How it is, the worst over all workers.
    pub state: FilterState,
    /// Routes and TCP listeners that run it.
    pub routes: usize,
    /// Failures since the process started, over all workers.
    pub failures: u64,
    /// Instances built to replace one that failed, over all workers.
    pub restarts: u64,
    /// Workers on which its circuit is open: it failed too often and is not called for a while.
    pub circuits_open: usize,
    /// When the first of them lets an exchange through again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What it failed at last, and when, on any worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
}

/// How a filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterState {
    /// It runs.
    Ok,
    /// It failed too often; the next exchange decides whether it runs again.
    HalfOpen,
    /// It failed too often and is not called for a while.
    CircuitOpen,
}

/// An upstream.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints, in the policy's order.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointStatus {
    /// `host:port`.
    pub address: Arc<str>,
    /// Whether any worker skips it since it refused a connection.
    pub skipped: bool,
}

fn milliseconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds: a float that shows at most three decimals.
    duration.map(|duration| duration.as_micros() as f64 / 1000.0).serialize(serializer)
}
