//! One `rate_limit` filter of the policy.

use std::sync::Arc;
use std::time::Duration;

use super::buckets::{Buckets, Charge, Clock};
use super::clock::LimitClock;
use super::headers::Fields;
use super::keys::{Key, Keyer, Subject};
use super::shard::Figures;
use crate::policy::filter::RateLimit;

/// A token bucket for each key, shared by all workers.
///
/// `Send` and `Sync`; kept in an `Arc` by every generation whose policy has the same filter.
#[derive(Debug)]
pub struct Limiter<C: Clock = LimitClock> {
    name: Arc<str>,
    definition: RateLimit,
    keyer: Keyer,
    buckets: Buckets<C>,
    fields: Fields,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may, and took a token.
    Allowed {
        /// Requests that may follow at once.
        remaining: u32,
        /// How long until `remaining` grows by one.
        next_after: Duration,
        /// How long until the bucket is full.
        reset_after: Duration,
    },
    /// It may not, and took nothing.
    Denied {
        /// How long until a request may pass, if none is charged in between.
        retry_after: Duration,
    },
}

impl Limiter {
    /// A limiter on the machine's monotonic clock, all buckets full. `name` is the filter's.
    pub fn new(name: &Arc<str>, definition: &RateLimit) -> Self {
        Self::with_clock(name, definition, LimitClock::Machine)
    }
}

impl<C: Clock> Limiter<C> {
    /// A limiter on a clock of the caller's, all buckets full.
    pub fn with_clock(name: &Arc<str>, definition: &RateLimit, clock: C) -> Self {
        Self {
            name: Arc::clone(name),
            definition: definition.clone(),
            keyer: Keyer::new(definition.key.clone()),
            buckets: Buckets::new(definition, clock),
            fields: Fields::new(name, definition),
        }
    }

    /// The key of a request in this limiter.
    pub fn key(&self, subject: &Subject<'_>) -> Key {
        self.keyer.key(subject)
    }

    /// Takes a token from the key's bucket, if there is one.
    pub fn check(&self, key: &Key) -> Decision {
        match self.buckets.charge(*key) {
            Charge::Denied { wait } => Decision::Denied { retry_after: wait },
            Charge::Allowed { refill } => self.allowed(refill),
        }
    }

    /// Drops every bucket that has refilled and gives memory back. For the control thread, now and
    /// then; [`check`](Self::check) keeps to `keys_max` without it.
    pub fn sweep(&self) {
        self.buckets.sweep();
    }

    /// What was done since the limiter was made.
    pub fn figures(&self) -> Figures {
        self.buckets.figures()
    }

    /// The filter's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the policy says of it.
    pub fn definition(&self) -> &RateLimit {
        &self.definition
    }

    /// What clients are told.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    fn allowed(&self, refill: Duration) -> Decision {
        // One token comes back an interval, so a bucket that needs `refill` lacks this many, the
        // last of them partly there.
        let interval = self.buckets.interval().as_nanos().max(1);
        let lacking = refill.as_nanos().div_ceil(interval);
        let next = refill.as_nanos() - lacking.saturating_sub(1) * interval;
        Decision::Allowed {
            remaining: u32::try_from(lacking).map_or(0, |n| self.buckets.burst().saturating_sub(n)),
            next_after: Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)),
            reset_after: refill,
        }
    }
}
