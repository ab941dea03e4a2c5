//! Counters of one pool. Plain cells: the worker that owns the pool publishes them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// What happened in one pool, over its life, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// Requests sent on a connection that was kept.
    pub reused: u64,
    /// Connections made.
    pub connected: u64,
    /// Connection attempts that failed: refused, unreachable, timed out, not resolved.
    pub connect_failures: u64,
    /// Requests sent again because the kept connection had been closed.
    pub stale_retries: u64,
    /// Requests that got no response head in time.
    pub response_timeouts: u64,
    /// Idle connections now.
    pub idle: u64,
    /// Endpoints that are skipped now because they refused a connection.
    pub paused_endpoints: u64,
}

/// Which pool counted: no other of this process has or had the same, unlike an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolId(u64);

impl Default for PoolId {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The counting side.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) pool: PoolId,
    pub(super) reused: Counter,
    pub(super) connected: Counter,
    pub(super) connect_failures: Counter,
    pub(super) stale_retries: Counter,
    pub(super) response_timeouts: Counter,
}

/// One counter.
#[derive(Default)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.set(self.0.get().wrapping_add(1));
    }

    pub(super) fn get(&self) -> u64 {
        self.0.get()
    }
}
