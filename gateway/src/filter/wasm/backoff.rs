//! How soon a VM that failed is built again.
//!
//! Failures in a row count; one exchange that went well ends the row. The first three are mended at
//! once, so that a filter that traps on some requests serves the others; from then on the filter
//! rests, twice as long each time. While it rests its circuit is open: no guest code runs, and the
//! exchange ends by the filter's `on_failure`. The first exchange after a rest is the probe.

use std::time::{Duration, Instant};

/// Failures in a row that are mended at once.
const FREE: u32 = 3;
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// The failures of one VM.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    in_a_row: u32,
    resting_until: Option<Instant>,
}

impl Backoff {
    /// Another failure.
    pub(super) fn failed(&mut self, now: Instant) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row > FREE {
            let doublings = (self.in_a_row - FREE - 1).min(16);
            let rest = FIRST_REST.saturating_mul(1 << doublings).min(LONGEST_REST);
            self.resting_until = Some(now + rest);
        }
    }

    /// An exchange went well.
    pub(super) fn went_well(&mut self) {
        *self = Self::default();
    }

    /// Whether the VM may be built and called.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| now < until)
    }

    /// Whether it failed too often to be trusted yet.
    pub(super) fn is_open(&self) -> bool {
        self.resting_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_until_something_goes_well() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..FREE {
            backoff.failed(start);
            assert!(!backoff.is_resting(start));
        }
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            backoff.failed(start);
            let rest = backoff.resting_until.unwrap() - start;
            assert!(rest >= last && rest <= LONGEST_REST && rest >= FIRST_REST);
            assert!(backoff.is_resting(start) && !backoff.is_resting(start + rest));
            last = rest;
        }
        assert_eq!(last, LONGEST_REST);
        backoff.went_well();
        assert!(!backoff.is_open() && !backoff.is_resting(start));
    }
}
