//! Governor: its GCRA decides, and our shards are its state store.
//!
//! Governor hands its store a closure from the arrival time stored to the outcome and the arrival
//! time to store. Those times are relative to the creation of the limiter, so a limiter that a
//! reload keeps must be kept whole.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

pub use governor::clock::Clock;
#[cfg(test)]
pub(crate) use governor::clock::FakeRelativeClock;

use super::keys::Key;
use super::shard::{Figures, Shard};
use crate::policy::filter::{Period, RateLimit};

/// A shard holds about this many keys, so that a lock is held for a short time even while a table grows.
const KEYS_PER_SHARD: usize = 2048;
const SHARDS_MAX: usize = 1024;
/// Buckets that a sweep looks at under one lock.
const SWEEP_STEPS: usize = 512;
/// The longest time that a bucket may take to refill: 100 years. Keeps all sums of nanoseconds
/// within 64 bits.
const REFILL_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The buckets of one limiter.
pub(super) struct Buckets<C: Clock> {
    gcra: RateLimiter<Lookup, Shards, C, NoOpMiddleware<C::Instant>>,
    shards: Arc<[PaddedShard]>,
    quota: Quota,
}

/// What became of a request.
pub(super) enum Charge {
    /// It passes; so long until the bucket is full again, from the moment it was charged.
    Allowed { refill: Duration },
    /// It does not; so long until one would, if nothing else is charged.
    Denied { wait: Duration },
}

impl<C: Clock> Buckets<C> {
    /// Full buckets for the definition; the clock starts now.
    pub(super) fn new(definition: &RateLimit, clock: C) -> Self {
        let quota = quota(definition);
        let keys_max = usize::try_from(definition.keys_max.get()).unwrap_or(usize::MAX);
        let shards = shards(keys_max);
        Self { gcra: RateLimiter::new(quota, Shards(Arc::clone(&shards)), clock), shards, quota }
    }

    /// Charges one request to a key.
    pub(super) fn charge(&self, key: Key) -> Charge {
        let lookup = Lookup { key, refill: Cell::new(Nanos::default()) };
        match self.gcra.check_key(&lookup) {
            Ok(()) => Charge::Allowed { refill: Duration::from(lookup.refill.get()) + self.interval() },
            Err(until) => Charge::Denied { wait: until.wait_time_from(self.gcra.clock().now()) },
        }
    }

    /// Drops every full bucket, a few under each lock, and gives memory back. For the control thread.
    pub(super) fn sweep(&self) {
        self.gcra.retain_recent();
        self.gcra.shrink_to_fit();
    }

    /// How long one token takes to come back.
    pub(super) fn interval(&self) -> Duration {
        self.quota.replenish_interval()
    }

    /// How many tokens a full bucket holds.
    pub(super) fn burst(&self) -> u32 {
        self.quota.burst_size().get()
    }

    pub(super) fn figures(&self) -> Figures {
        self.shards.iter().fold(Figures::default(), |mut sum, shard| {
            sum += shard.lock().figures();
            sum
        })
    }
}

impl<C: Clock> fmt::Debug for Buckets<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

/// Governor's terms for a definition: an interval rounded up to whole nanoseconds, so that no
/// rounding lets more pass, and a burst.
fn quota(definition: &RateLimit) -> Quota {
    let nanos = period(definition.period).as_nanos() as u64;
    // At least 1: neither the period nor the rate is zero.
    let interval = nanos.div_ceil(u64::from(definition.rate.get()));
    let burst_max = u32::try_from(REFILL_MAX.as_nanos() as u64 / interval).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(burst_max).map_or(definition.burst, |max| definition.burst.min(max));
    match Quota::with_period(Duration::from_nanos(interval)) {
        Some(quota) => quota.allow_burst(burst),
        // Only for an interval of zero, which the line above rules out; one a second is the strictest rate.
        None => Quota::per_second(NonZeroU32::MIN).allow_burst(burst),
    }
}

/// A period's length.
pub(super) fn period(period: Period) -> Duration {
    Duration::from_secs(match period {
        Period::Second => 1,
        Period::Minute => 60,
        Period::Hour => 3600,
    })
}

/// Enough shards for `keys_max`, a power of two, that together hold no more than that.
fn shards(keys_max: usize) -> Arc<[PaddedShard]> {
    let count = (keys_max / KEYS_PER_SHARD).next_power_of_two().min(SHARDS_MAX);
    (0..count).map(|_| PaddedShard(Mutex::new(Shard::new(keys_max / count)))).collect()
}

/// A shard on cache lines of its own, so that workers on different shards do not disturb each other.
#[repr(align(128))]
struct PaddedShard(Mutex<Shard>);

impl PaddedShard {
    fn lock(&self) -> MutexGuard<'_, Shard> {
        // A shard is consistent after each of its steps, so one whose holder panicked is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key on its way through governor, which keeps the new arrival time to itself: the store notes
/// here how far the bucket was from full before the request.
#[derive(Clone, PartialEq, Eq)]
struct Lookup {
    key: Key,
    refill: Cell<Nanos>,
}

impl Hash for Lookup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

struct Shards(Arc<[PaddedShard]>);

impl Shards {
    fn of(&self, key: Key) -> &PaddedShard {
        // The count is a power of two, never zero, so the mask keeps the index in bounds.
        &self.0[key.shard_bits() & (self.0.len() - 1)]
    }
}

impl StateStore for Shards {
    type Key = Lookup;

    fn measure_and_replace<T, F, E>(&self, lookup: &Lookup, gcra: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // GCRA never refuses a bucket that was not used yet.
        let (_, full_after) = gcra(None)?;
        let step =
            |arrival| gcra(Some(Nanos::new(arrival))).map(|(outcome, after)| (outcome, after.as_u64()));
        let charged = self.of(lookup.key).lock().charge(lookup.key, full_after.as_u64(), step);
        charged.map(|(outcome, after)| {
            lookup.refill.set(Nanos::new(after).saturating_sub(full_after));
            outcome
        })
    }
}

impl ShrinkableKeyedStateStore<Lookup> for Shards {
    fn retain_recent(&self, drop_below: Nanos) {
        for shard in &*self.0 {
            let mut left = shard.lock().len();
            while left > 0 {
                let steps = left.min(SWEEP_STEPS);
                shard.lock().drop_full(steps, |arrival| arrival <= drop_below.as_u64());
                left -= steps;
            }
        }
    }

    fn shrink_to_fit(&self) {
        self.0.iter().for_each(|shard| shard.lock().shrink());
    }

    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
