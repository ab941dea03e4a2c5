//! The limiters of a policy, carried over by identity.

use std::collections::HashMap;
use std::sync::Arc;

use super::clock::LimitClock;
use super::limiter::Limiter;
use crate::policy::filter::{Filter, FilterKind};

/// The limiters of one policy, by the names of their filters.
#[derive(Debug, Default)]
pub struct LimiterSet {
    limiters: HashMap<Arc<str>, Arc<Limiter>>,
}

impl LimiterSet {
    /// The limiters that `filters` ask for. One whose name and definition are in `old` is the same
    /// as there, with its buckets as they are: a reload never refills a bucket. `old` is not changed,
    /// so a policy that is refused later has cost nothing.
    pub fn build(filters: &[Arc<Filter>], old: Option<&Self>) -> Self {
        Self::build_on(filters, old, &LimitClock::Machine)
    }

    /// The same; limiters that are new go by `clock`.
    pub fn build_on(filters: &[Arc<Filter>], old: Option<&Self>, clock: &LimitClock) -> Self {
        let limiters = filters.iter().filter_map(|filter| {
            let FilterKind::RateLimit(definition) = &filter.kind else { return None };
            let kept =
                old.and_then(|old| old.get(&filter.name)).filter(|kept| kept.definition() == definition);
            let limiter = match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(Limiter::with_clock(&filter.name, definition, clock.clone())),
            };
            Some((Arc::clone(&filter.name), limiter))
        });
        Self { limiters: limiters.collect() }
    }

    /// The limiter of a filter.
    pub fn get(&self, filter: &str) -> Option<&Arc<Limiter>> {
        self.limiters.get(filter)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.limiters.values()
    }

    /// Drops refilled buckets of all limiters. For the control thread, every few seconds.
    pub fn sweep(&self) {
        self.limiters.values().for_each(|limiter| limiter.sweep());
    }
}
