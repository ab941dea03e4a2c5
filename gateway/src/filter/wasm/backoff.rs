//! How soon a VM that failed is built again.
//!
//! Failures are weighed against exchanges that went well: a trap costs little more than the VM that
//! replaces the failed one, a spent budget has held up the whole worker. As long as the balance is
//! bearable a VM is mended at once, so that a filter that traps on some requests serves the others,
//! however they are mixed. Beyond that the filter rests, twice as long each time. While it rests its
//! circuit is open: no guest code runs, and the exchange ends by the filter's `on_failure`. The first
//! exchange after a rest is the probe: if it goes well, all is forgiven.

use std::time::{Duration, Instant};

use tollgate_proxy_wasm::Failure;

/// What may be owed before the first rest: some thirty traps more than exchanges that went well, or
/// three spent budgets.
const BEARABLE: u32 = 32;
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// What a failure has cost the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// The callback ended early.
    Trap,
    /// It ran until its budget was spent, or the VM could not even be started.
    Time,
}

impl Cost {
    /// What this failure has cost.
    pub(super) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Budget { .. } => Self::Time,
            Failure::Trap { .. } | Failure::Broken | Failure::UnknownContext | Failure::Reentered => {
                Self::Trap
            }
        }
    }

    /// Exchanges that must go well to make up for it.
    fn weight(self) -> u32 {
        match self {
            Self::Trap => 1,
            Self::Time => 10,
        }
    }
}

/// The failures of one VM.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    owed: u32,
    /// Rests since an exchange went well.
    rests: u32,
    resting_until: Option<Instant>,
}

impl Backoff {
    /// Another failure.
    pub(super) fn failed(&mut self, cost: Cost, now: Instant) {
        self.owed = self.owed.saturating_add(cost.weight());
        if self.owed > BEARABLE {
            let rest = FIRST_REST.saturating_mul(1 << self.rests.min(16)).min(LONGEST_REST);
            self.rests = self.rests.saturating_add(1);
            self.resting_until = Some(now + rest);
        }
    }

    /// An exchange went well.
    pub(super) fn went_well(&mut self) {
        if self.resting_until.is_some() {
            *self = Self::default();
        } else {
            self.owed = self.owed.saturating_sub(1);
        }
    }

    /// Whether the VM may not be built and called.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| now < until)
    }

    /// Whether nothing is owed.
    pub(super) fn is_clear(&self) -> bool {
        self.owed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures_until_rest(cost: Cost) -> u32 {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let mut count = 0;
        while !backoff.is_resting(now) {
            backoff.failed(cost, now);
            count += 1;
        }
        count
    }

    #[test]
    fn lost_time_weighs_more_than_a_trap() {
        assert_eq!((failures_until_rest(Cost::Trap), failures_until_rest(Cost::Time)), (33, 4));
    }

    #[test]
    fn a_tenth_that_traps_never_rests_however_it_is_bunched() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..1000 {
            for _ in 0..20 {
                backoff.failed(Cost::Trap, now);
                assert!(!backoff.is_resting(now));
            }
            (0..180).for_each(|_| backoff.went_well());
        }
        assert!(backoff.is_clear());
    }

    #[test]
    fn more_failures_than_not_come_to_a_rest() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..100 {
            (0..3).for_each(|_| backoff.failed(Cost::Trap, now));
            if backoff.is_resting(now) {
                return;
            }
            backoff.went_well();
        }
        panic!("three failures of four are bearable");
    }

    #[test]
    fn rests_grow_until_something_goes_well() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        (0..3).for_each(|_| backoff.failed(Cost::Time, start));
        assert!(!backoff.is_resting(start));
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            backoff.failed(Cost::Time, start);
            let rest = backoff.resting_until.unwrap() - start;
            assert!(rest >= last && rest <= LONGEST_REST && rest >= FIRST_REST);
            assert!(backoff.is_resting(start) && !backoff.is_resting(start + rest));
            last = rest;
        }
        assert_eq!(last, LONGEST_REST);
        backoff.went_well();
        assert!(backoff.is_clear() && !backoff.is_resting(start));
    }
}
