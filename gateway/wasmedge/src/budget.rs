//! The CPU budget of a call, kept in slices of fuel.
//!
//! What: the metering pass makes the guest count down a global; below zero the guest calls
//! [`Budget::refill`], which looks at the thread's CPU clock and either hands out another slice
//! or ends the call. Why slices: between refills nothing looks at a clock, so a short call costs
//! no clock read at all.
//!
//! How exact: the clock starts at the first refill of a call, so a call may run for one slice
//! before its time counts, and it is ended at a refill, so it may overshoot by one more. Slices
//! start at [`FIRST_SLICE`] and then aim at a tenth of the budget by the pace measured so far. Whatever a guest
//! does to look quicker than it is, a call of a unit a nanosecond or more ends within three times its budget and
//! two first slices.
//! The clock is the thread's CPU time: a guest is not blamed for a busy machine. But that clock goes on while a
//! hypervisor has the processor, and while the kernel handles packets of others in an interrupt. So what one slice
//! of a call took beyond what guest code takes does not count: the worst one.

use crate::trap::Trap;
use rustix::time::ClockId;
use std::cell::Cell;
use std::time::Duration;

/// Fuel units before the clock is looked at for the first time: some 50 to 300 µs of guest code. A
/// function is charged for all its branches, so a callback of a header filter takes some 5 000 units
/// (4 µs for all six of an exchange take 22 000); with a slice of 50 000 the clock, a system call, was
/// read in every second exchange.
pub(crate) const FIRST_SLICE: i64 = 400_000;

/// Each slice is at most this many times the one before, so that one odd measurement (a cheap
/// stretch before a dear one) cannot hand out far too much.
const GROWTH: i64 = 8;

/// Nanoseconds that a unit takes at most, as a rule; 0.1 to 1 are common. What a slice took beyond that was not the
/// guest's, or was a host function's that does much for little: of those a call gains one slice.
const NANOS_PER_UNIT: u64 = 4;

/// The same for the first slice; but no more than a quarter of the budget, or what counts of a stretch in it would
/// be the most of a short one.
const FIRST_TAKES: u64 = FIRST_SLICE as u64 * NANOS_PER_UNIT;

/// The same for other slices, as a multiple of what the one before them took.
const VARIANCE: u64 = 4;

/// Units a nanosecond that a slice is made for at most. Quicker code is looked at more often, that is all; what only
/// looks quicker cannot run much longer than its budget.
const UNITS_PER_NANO_MAX: u64 = 8;

/// No slice is larger, whatever the clock says: the counter must not wrap.
const LARGEST_SLICE: i64 = 1 << 40;

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
    /// What the slice takes at most, as a rule.
    takes: u64,
    /// Units that were owed when the slice was handed out: of an operation that is done with it.
    owed: i64,
    /// Whether the guest has been told that little is left.
    told: bool,
    /// The longest that a slice took beyond `takes`; it does not count.
    stood: u64,
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
        self.refill_at(fuel, cpu_time())
    }

    fn refill_at(&self, fuel: i64, now: u64) -> Result<i64, Trap> {
        let debt = fuel.min(0).saturating_neg();
        let limit = self.limit.get();
        let clock = match self.clock.get() {
            None => Clock {
                started: now,
                last: now,
                slice: FIRST_SLICE,
                takes: FIRST_TAKES.min(limit / 4).saturating_add(allowance(debt)),
                owed: debt,
                told: false,
                stood: 0,
            },
            Some(clock) => clock.next(now, debt, limit),
        };
        // Noted even if the call ends here, so that `end` forgives the debt.
        self.clock.set(Some(clock));
        let (slice, spent) = (clock.slice, clock.spent());
        let left = limit.saturating_sub(spent);
        if left == 0 || debt.unsigned_abs() > left.max(FIRST_SLICE as u64) {
            return Err(Trap::Budget { spent: Duration::from_nanos(spent) });
        }
        self.adjust(slice - fuel);
        Ok(slice)
    }

    /// Whether three quarters of the time were gone at the last refill; true once for each call.
    pub(crate) fn take_low(&self) -> bool {
        let Some(clock) = self.clock.get().filter(|clock| !clock.told) else { return false };
        let limit = self.limit.get();
        let is_low = clock.spent() >= limit - limit / 4;
        if is_low {
            self.clock.set(Some(Clock { told: true, ..clock }));
        }
        is_low
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
    /// At a refill, with `debt` for what the guest is about to do: a slice of a tenth of the budget (or what is left, if
    /// less) at the pace since the last one.
    ///
    /// The pace is what the guest says it is: functions are charged for branches that they do not take. So no slice is
    /// longer than code of the quickest kind could use.
    fn next(self, now: u64, debt: i64, limit: u64) -> Self {
        let elapsed = now.saturating_sub(self.last).max(1);
        let consumed = self.slice.saturating_add(self.owed).unsigned_abs().max(1);
        let stood = self.stood.max(elapsed.saturating_sub(self.takes));
        let clock = Self { last: now, owed: debt, stood, ..self };
        let left = limit.saturating_sub(clock.spent());
        let target = (limit / 10).min(left).max(1);
        let slice = u128::from(consumed) * u128::from(target) / u128::from(elapsed);
        let ceiling = self.slice.saturating_mul(GROWTH).clamp(FIRST_SLICE, LARGEST_SLICE);
        let quickest = i64::try_from(target.saturating_mul(UNITS_PER_NANO_MAX)).unwrap_or(i64::MAX);
        let slice = i64::try_from(slice).unwrap_or(i64::MAX);
        let slice = slice.min(quickest).clamp(FIRST_SLICE / GROWTH, ceiling);
        let expected = u128::from(slice.unsigned_abs()) * u128::from(elapsed) / u128::from(consumed);
        let expected = u64::try_from(expected).unwrap_or(u64::MAX).saturating_mul(VARIANCE);
        Self { slice, takes: expected.saturating_add(allowance(debt)), ..clock }
    }

    /// Time of the call up to the last refill that counts.
    fn spent(self) -> u64 {
        self.last.saturating_sub(self.started).saturating_sub(self.stood)
    }
}

/// Nanoseconds that `units` take at most, as a rule.
const fn allowance(units: i64) -> u64 {
    units.unsigned_abs().saturating_mul(NANOS_PER_UNIT)
}

/// CPU time of this thread in nanoseconds.
fn cpu_time() -> u64 {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Runs a guest that uses `pace` units a nanosecond under `limit` until it is stopped.
    /// Returns the CPU time it had and how often the clock was read.
    fn run_until_stopped(limit: u64, pace: u64) -> (u64, u64) {
        let budget = Budget::new();
        budget.begin(Duration::from_nanos(limit));
        let (mut now, mut fuel, mut reads) = (7 * MS, 0, 0);
        loop {
            match budget.refill_at(-1, now) {
                Ok(slice) => fuel = slice,
                Err(trap) => {
                    assert!(matches!(trap, Trap::Budget { .. }));
                    assert_eq!(budget.end(-1), 0);
                    assert!(fuel > 0);
                    return (now - 7 * MS, reads);
                }
            }
            reads += 1;
            now += fuel as u64 / pace + 1;
        }
    }

    #[test]
    fn the_budget_is_kept_to_a_slice_and_the_clock_is_read_seldom() {
        for pace in [1, 2, 5, 20] {
            let (time, reads) = run_until_stopped(10 * MS, pace);
            assert!((10 * MS..12 * MS).contains(&time), "pace {pace}: {time}");
            assert!(reads < 40, "pace {pace}: {reads}");
        }
    }

    #[test]
    fn the_guest_is_told_once_when_little_is_left() {
        let budget = Budget::new();
        for _ in 0..2 {
            budget.begin(Duration::from_nanos(10 * MS));
            assert!(!budget.take_low());
            let told = |now| {
                budget.refill_at(-1, now).unwrap();
                budget.take_low()
            };
            // A tenth of the budget each.
            let when: Vec<_> = (0..10).filter(|ms| told(ms * MS)).collect();
            assert_eq!(when, [8]);
            budget.end(0);
        }
    }

    #[test]
    fn a_machine_that_stands_still_is_forgiven_once() {
        let budget = Budget::new();
        for _ in 0..2 {
            budget.begin(Duration::from_nanos(2 * MS));
            budget.refill_at(-1, 0).unwrap();
            // Its first slice takes 100 us, and so would the second.
            budget.refill_at(-1, MS / 10).unwrap();
            let stalled = MS / 10 + 50 * MS;
            budget.refill_at(-1, stalled).unwrap();
            assert!(matches!(budget.refill_at(-1, stalled + 50 * MS), Err(Trap::Budget { .. })));
            budget.end(0);
        }
    }

    /// It may stand still early, long before the time is up.
    #[test]
    fn a_stretch_is_forgiven_whenever_it_was() {
        let budget = Budget::new();
        budget.begin(Duration::from_nanos(2 * MS));
        let mut now = 0;
        budget.refill_at(-1, now).unwrap();
        now += MS / 10;
        budget.refill_at(-1, now).unwrap();
        now += 14 * MS / 10;
        budget.refill_at(-1, now).unwrap();
        for _ in 0..4 {
            now += MS / 10;
            budget.refill_at(-1, now).unwrap();
            assert!(!budget.take_low(), "{now}");
        }
    }

    /// Nor is a guest with a short budget told that little is left, for what it did not use.
    #[test]
    fn of_a_long_stretch_a_quarter_counts_at_most() {
        for limit in [MS / 10, MS, 2 * MS, 10 * MS] {
            let budget = Budget::new();
            budget.begin(Duration::from_nanos(limit));
            budget.refill_at(-1, 0).unwrap();
            let mut now = 100 * MS;
            budget.refill_at(-1, now).unwrap();
            assert!(!budget.take_low(), "{limit}");
            now += limit / 10;
            budget.refill_at(-1, now).unwrap();
            assert!(!budget.take_low(), "{limit}");
        }
    }

    /// Functions are charged for branches that they do not take, so a guest can look quicker than anything.
    #[test]
    fn who_pretends_to_be_quick_gains_little() {
        let budget = Budget::new();
        budget.begin(Duration::from_nanos(2 * MS));
        let (mut now, mut slice) = (0, 0);
        // A million units a nanosecond, for as long as slices grow.
        for _ in 0..12 {
            slice = budget.refill_at(-1, now).unwrap();
            now += 1;
        }
        // A fifth of a millisecond is the target: at a unit a nanosecond this one takes 1.6.
        assert_eq!(slice, 1_600_000);
    }

    proptest::proptest! {
        /// Whatever the pace of each slice, from a unit a nanosecond up.
        #[test]
        fn no_pace_gets_much_more_than_the_budget(
            limit in 100_000_u64..1_000_000_000,
            paces in proptest::collection::vec(0_u32..20, 1..64),
        ) {
            let budget = Budget::new();
            budget.begin(Duration::from_nanos(limit));
            let (mut now, mut paces) = (0, paces.into_iter().cycle());
            for _ in 0..1_000_000 {
                let Ok(slice) = budget.refill_at(-1, now) else { break };
                let pace = 1_u64 << paces.next().unwrap_or(0);
                now += slice as u64 / pace + 1;
            }
            proptest::prop_assert!(budget.refill_at(-1, now).is_err(), "it goes on after {now}");
            proptest::prop_assert!(now <= 3 * limit + 2 * FIRST_SLICE as u64, "{now} ns of {limit}");
        }
    }

    #[test]
    fn one_large_operation_is_no_stall() {
        let budget = Budget::new();
        budget.begin(Duration::from_nanos(2 * MS));
        budget.refill_at(-1, 0).unwrap();
        let slow = MS / 10;
        budget.refill_at(-1_800_000, slow).unwrap();
        // It takes what it was charged for, and is not forgiven.
        assert!(matches!(budget.refill_at(-1, slow + 2 * MS), Err(Trap::Budget { .. })));
    }

    #[test]
    fn who_is_slow_all_the_time_gains_one_slice() {
        // 50 ns a unit: nothing but calls of a host function that does much.
        let budget = Budget::new();
        budget.begin(Duration::from_nanos(10 * MS));
        let (mut now, mut fuel) = (0, 0);
        while let Ok(slice) = budget.refill_at(-1, now) {
            fuel = slice;
            now += slice as u64 * 50;
        }
        assert!(fuel > 0 && now < 3 * 50 * FIRST_SLICE as u64, "{now}");
    }

    #[test]
    fn a_short_budget_ends_at_its_first_slices() {
        let (time, _) = run_until_stopped(1, 1);
        assert!(time <= 2 * FIRST_SLICE as u64, "{time}");
    }

    #[test]
    fn a_debt_beyond_what_is_left_ends_the_call_and_is_forgiven() {
        let budget = Budget::new();
        budget.begin(Duration::from_nanos(MS));
        assert!(budget.refill_at(-2_000_000, 0).is_err());
        assert!(budget.is_timed());
        assert_eq!(budget.end(-2_000_000), 0);
        assert_eq!(budget.used(0), 2_000_000);
        budget.begin(Duration::from_nanos(MS));
        assert_eq!(budget.refill_at(-5, 0), Ok(FIRST_SLICE));
        assert_eq!(budget.used(FIRST_SLICE), 2_000_005);
    }

    #[test]
    fn what_is_used_survives_every_grant() {
        let budget = Budget::new();
        budget.begin(Duration::from_secs(1));
        let (mut fuel, mut used) = (0, 0);
        for step in 0..50 {
            used += fuel + 17;
            fuel = budget.refill_at(-17, step * 1000).unwrap();
            assert_eq!(budget.used(fuel), used as u64);
        }
        let kept = budget.end(fuel);
        assert!(kept <= FIRST_SLICE);
        assert_eq!(budget.used(kept), used as u64);
    }
}
