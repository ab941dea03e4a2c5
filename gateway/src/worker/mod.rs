//! Workers: one thread per core, each whole in itself.
//!
//! A worker has its own runtime, its own SO_REUSEPORT listeners, its own upstream pools and its own
//! Wasm instances; a request lives and dies on it, without a lock or a hop to another thread.
//!
//! * `pool`: [`Workers`], the control side's handle: prepare, commit, replace, drain.
//! * `thread`: a worker's life: commands, accepting, sweeping, draining.
//! * `candidate`: the policy on trial, if there is one; `shadow`: the one in shadow.
//! * `listener`, `serve`, `connection`, `io`: sockets and the connections on them; `parking`: those that
//!   have had no request for a while; `ebb`: when their memory goes back to the system; `refusal`: heads that
//!   are none.
//!
//! A panic in a task of a connection ends that connection. One in what the worker itself does, accepting
//! and sweeping included, ends the worker: `loss` tells, and the control side puts another in its place.
//!
//! Limits: connections over all workers (`limits.connections`), idle time, time to read a head.

mod candidate;
mod command;
mod connection;
mod ebb;
mod io;
mod listener;
mod loss;
mod parking;
mod pool;
mod refusal;
mod serve;
mod shadow;
mod state;
mod sweep;
mod thread;
mod unread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

pub use candidate::{Assigned, Beside, OnTrial};
pub use connection::ConnectionState;
pub use pool::{Commit, Drained, PrepareError, ReplaceError, StartError, Workers};
pub use shadow::{Attention, Shadow, ShadowPlan};
pub use state::Worker;

use crate::filter::wasm::Guests;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

/// What all workers, and the control side, share for the life of the process.
pub struct Shared {
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Lines.
    pub access_log: AccessLog,
    /// Shared data and metrics of guests.
    pub guests: Arc<Guests>,
    /// Client connections open now.
    pub connections: AtomicU32,
    /// The number of the next client connection, of either kind.
    pub connection_numbers: AtomicU64,
}
