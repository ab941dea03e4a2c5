//! What limiters take the time from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::buckets::Clock;

/// The clock of a limiter.
#[derive(Debug, Clone, Default)]
pub enum LimitClock {
    /// The machine's monotonic clock.
    #[default]
    Machine,
    /// One that stands still until it is moved, for test cases of policies.
    Held(HeldClock),
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct HeldClock {
    start: Instant,
    moved_nanos: Arc<AtomicU64>,
}

impl Default for HeldClock {
    fn default() -> Self {
        Self { start: Instant::now(), moved_nanos: Arc::default() }
    }
}

impl HeldClock {
    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.moved_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for LimitClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        match self {
            Self::Machine => Instant::now(),
            Self::Held(held) => held.start + Duration::from_nanos(held.moved_nanos.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_clock_moves_only_when_it_is_moved() {
        let held = HeldClock::default();
        let clock = LimitClock::Held(held.clone());
        let before = clock.now();
        assert_eq!(clock.now(), before);
        held.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), before + Duration::from_secs(3));
    }
}
