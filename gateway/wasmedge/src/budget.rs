//! The CPU budget of a call, kept in slices of fuel.
//!
//! What: the metering pass makes the guest count down a global; below zero the guest calls
//! [`Budget::refill`], which looks at the thread's CPU clock and either hands out another slice
//! or ends the call. Why slices: between refills nothing looks at a clock, so a short call costs
//! no clock read at all.
//!
//! How exact: the clock starts at the first refill of a call, so a call may run for one slice
//! before its time counts, and it is ended at a refill, so it may overshoot by one more. Slices
//! start at [`FIRST_SLICE`] and then aim at a tenth of the budget by the pace measured so far.
//! The clock is the thread's CPU time: a guest is not blamed for a busy machine.

use crate::trap::Trap;
use rustix::time::ClockId;
use std::cell::Cell;
use std::time::Duration;

/// Fuel units before the clock is looked at for the first time: some 20 to 100 µs of guest code.
pub(crate) const FIRST_SLICE: i64 = 50_000;

/// Each slice is at most this many times the one before, so that one odd measurement (a cheap
/// stretch before a dear one) cannot hand out far too much.
const GROWTH: i64 = 8;

/// The state of one instance's budget. Units are fuel; times are CPU nanoseconds.
pub(crate) struct Budget {
    limit: Cell<u64>,
    /// Set from the first refill of a call to its end.
    clock: Cell<Option<Clock>>,
    /// All fuel ever handed to the guest. Used fuel is this less what the guest still holds.
    granted: Cell<u64>,
    /// Fuel that host functions have used and the guest's counter does not show yet.
    pending: Cell<u64>,
}

#[derive(Clone, Copy)]
struct Clock {
    started: u64,
    last: u64,
    slice: i64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { limit: Cell::new(0), clock: Cell::new(None), granted: Cell::new(0), pending: Cell::new(0) }
    }

    /// Starts a call. Touches no clock and not the guest's counter.
    #[inline]
    pub(crate) fn begin(&self, budget: Duration) {
        self.limit.set(u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX));
        self.clock.set(None);
    }

    /// Whether the call looked at the clock, so that [`Self::end`] has something to do.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.clock.get().is_some()
    }

    /// Ends a timed call that left the guest `fuel`, and returns what it may keep: a slice made
    /// for a long budget must not carry over into a call with a short one.
    pub(crate) fn end(&self, fuel: i64) -> i64 {
        self.clock.set(None);
        let kept = fuel.clamp(0, FIRST_SLICE);
        self.adjust(kept - fuel);
        kept
    }

    /// The guest's counter fell to `fuel`, below zero. Returns its new value.
    ///
    /// # Errors
    /// [`Trap::Budget`] if the time is up, or if what the guest is about to do (one large bulk
    /// operation) would by itself take longer than what is left, at one unit a nanosecond.
    pub(crate) fn refill(&self, fuel: i64) -> Result<i64, Trap> {
        let debt = fuel.min(0).saturating_neg();
        let now = cpu_time();
        let limit = self.limit.get();
        let (started, slice) = match self.clock.get() {
            None => (now, FIRST_SLICE),
            Some(clock) => (clock.started, clock.next_slice(now, debt, limit)),
        };
        let spent = now.saturating_sub(started);
        let left = limit.saturating_sub(spent);
        if left == 0 || debt.unsigned_abs() > left.max(FIRST_SLICE as u64) {
            return Err(Trap::Budget { spent: Duration::from_nanos(spent) });
        }
        self.clock.set(Some(Clock { started, last: now, slice }));
        self.adjust(slice - fuel);
        Ok(slice)
    }

    /// Notes fuel used by the host on the guest's behalf.
    #[inline]
    pub(crate) fn charge(&self, units: u64) {
        self.pending.set(self.pending.get().saturating_add(units));
    }

    /// Takes the host's charges if they are at least `threshold`, to be taken off the counter.
    #[inline]
    pub(crate) fn take_pending(&self, threshold: u64) -> Option<i64> {
        let pending = self.pending.get();
        if pending < threshold {
            return None;
        }
        self.pending.set(0);
        // One settlement is at most what the counter can lose without wrapping.
        Some(pending.min(1 << 40) as i64)
    }

    /// Fuel used since the instance was made, given what the guest still holds.
    pub(crate) fn used(&self, fuel: i64) -> u64 {
        self.granted.get().wrapping_sub(fuel as u64).wrapping_add(self.pending.get())
    }

    fn adjust(&self, by: i64) {
        self.granted.set(self.granted.get().wrapping_add(by as u64));
    }
}

impl Clock {
    /// A tenth of the budget (or what is left, if less) at the pace since the last refill.
    fn next_slice(self, now: u64, debt: i64, limit: u64) -> i64 {
        let elapsed = now.saturating_sub(self.last).max(1);
        let left = limit.saturating_sub(now.saturating_sub(self.started));
        let target = (limit / 10).min(left).max(1);
        let consumed = self.slice.saturating_add(debt).unsigned_abs();
        let slice = u128::from(consumed) * u128::from(target) / u128::from(elapsed);
        let ceiling = self.slice.saturating_mul(GROWTH);
        i64::try_from(slice).unwrap_or(i64::MAX).clamp(FIRST_SLICE / GROWTH, ceiling.max(FIRST_SLICE))
    }
}

/// CPU time of this thread in nanoseconds.
fn cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
