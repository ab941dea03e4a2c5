//! The circuit of a filter: how soon one that failed runs again.
//!
//! Failures are weighed against exchanges that went well: a trap costs little more than the VM that
//! replaces the failed one, a spent budget has held up the whole worker. As long as the balance is
//! bearable a VM is mended at once, so that a filter that traps on some requests serves the others,
//! however they are mixed. Beyond that the circuit opens: the filter rests, twice as long each time. No
//! guest code runs, and exchanges end by the filter's `on_failure`. After a rest the circuit is half
//! open: one exchange goes through, the probe. If it goes well all is forgiven; if not, or anything
//! else of the filter fails meanwhile, it rests again. A probe that takes longer than the last rest
//! was keeps nobody waiting: another is let through.

use std::time::{Duration, Instant};

use tollgate_proxy_wasm::{Failure, FaultKind};

use crate::policy::fault::Circuit;

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

    /// What a fault that the guest told of has cost.
    pub(super) const fn of_fault(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Error => Self::Trap,
            FaultKind::Budget => Self::Time,
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

/// An exchange that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// One of many.
    Ordinary,
    /// The one by which the circuit closes, or does not.
    Probe,
}

/// The failures of one filter, or of one VM.
#[derive(Debug)]
pub(super) struct Backoff {
    circuit: Circuit,
    owed: u32,
    /// Rests since a probe went well.
    rests: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// It rests, or the probe is yet to come.
    Open {
        until: Instant,
    },
    /// The probe is under way, since then.
    HalfOpen {
        since: Instant,
    },
}

/// How a circuit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CircuitState {
    Closed,
    /// Until then nothing runs.
    Open {
        until: Instant,
    },
    /// The next exchange, or one under way, decides.
    HalfOpen,
}

impl Backoff {
    /// A closed circuit.
    pub(super) fn new(circuit: Circuit) -> Self {
        Self { circuit, owed: 0, rests: 0, state: State::Closed }
    }

    /// Another failure. One of an exchange from before, while the filter rests, adds nothing.
    pub(super) fn failed(&mut self, cost: Cost, now: Instant) {
        self.owed = self.owed.saturating_add(cost.weight());
        let rests_anew = match self.state {
            State::Closed => self.owed >= self.circuit.failures.get(),
            State::Open { until } => now >= until,
            State::HalfOpen { .. } => true,
        };
        if rests_anew {
            self.rests = self.rests.saturating_add(1);
            self.state = State::Open { until: now + self.last_rest() };
        }
    }

    fn last_rest(&self) -> Duration {
        let doublings = self.rests.saturating_sub(1).min(31);
        self.circuit.rest.saturating_mul(1 << doublings).min(self.circuit.longest_rest)
    }

    /// Whether an exchange may go through, and as what.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Turn> {
        match self.state {
            State::Closed => return Some(Turn::Ordinary),
            State::Open { until } if now < until => return None,
            State::HalfOpen { since } if now < since + self.last_rest() => return None,
            State::Open { .. } | State::HalfOpen { .. } => {}
        }
        self.state = State::HalfOpen { since: now };
        Some(Turn::Probe)
    }

    /// An exchange went well.
    pub(super) fn went_well(&mut self, turn: Turn) {
        match turn {
            Turn::Probe if self.state != State::Closed => *self = Self::new(self.circuit),
            Turn::Probe | Turn::Ordinary => self.owed = self.owed.saturating_sub(1),
        }
    }

    /// An exchange came to nothing that says anything of the filter: another may be the probe.
    pub(super) fn was_cut_short(&mut self, turn: Turn) {
        if let (Turn::Probe, State::HalfOpen { since }) = (turn, self.state) {
            self.state = State::Open { until: since };
        }
    }

    /// Whether nothing may run.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        matches!(self.state, State::Open { until } if now < until)
    }

    /// How it is.
    pub(super) fn state(&self, now: Instant) -> CircuitState {
        match self.state {
            State::Closed => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open { until },
            State::Open { .. } | State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Whether nothing is owed, and everything may run.
    pub(super) fn is_clear(&self) -> bool {
        self.owed == 0 && self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Circuit::default())
    }

    fn failures_until_rest(cost: Cost) -> u32 {
        let (mut backoff, now) = (backoff(), Instant::now());
        let mut count = 0;
        while !backoff.is_resting(now) {
            backoff.failed(cost, now);
            count += 1;
        }
        count
    }

    #[test]
    fn lost_time_weighs_more_than_a_trap() {
        assert_eq!((failures_until_rest(Cost::Trap), failures_until_rest(Cost::Time)), (32, 4));
    }

    #[test]
    fn a_tenth_that_traps_never_rests_however_it_is_bunched() {
        let (mut backoff, now) = (backoff(), Instant::now());
        for _ in 0..1000 {
            for _ in 0..20 {
                backoff.failed(Cost::Trap, now);
                assert_eq!(backoff.admit(now), Some(Turn::Ordinary));
            }
            (0..180).for_each(|_| backoff.went_well(Turn::Ordinary));
        }
        assert!(backoff.is_clear());
    }

    #[test]
    fn more_failures_than_not_come_to_a_rest() {
        let (mut backoff, now) = (backoff(), Instant::now());
        for _ in 0..100 {
            (0..3).for_each(|_| backoff.failed(Cost::Trap, now));
            if backoff.is_resting(now) {
                return;
            }
            backoff.went_well(Turn::Ordinary);
        }
        panic!("three failures of four are bearable");
    }

    #[test]
    fn rests_double_until_a_probe_goes_well() {
        let circuit = Circuit {
            failures: NonZeroU32::new(2).unwrap(),
            rest: Duration::from_secs(1),
            longest_rest: Duration::from_secs(5),
        };
        let (mut backoff, mut now) = (Backoff::new(circuit), Instant::now());
        (0..2).for_each(|_| backoff.failed(Cost::Trap, now));
        for seconds in [1, 2, 4, 5, 5] {
            let until = now + Duration::from_secs(seconds);
            assert_eq!(backoff.state(now), CircuitState::Open { until });
            assert_eq!(backoff.admit(now), None);
            // A straggler from before the rest makes it no longer.
            backoff.failed(Cost::Time, now);
            now = until;
            assert_eq!(backoff.state(now), CircuitState::HalfOpen);
            assert_eq!((backoff.admit(now), backoff.admit(now)), (Some(Turn::Probe), None));
            backoff.failed(Cost::Trap, now);
        }
        now += Duration::from_secs(5);
        assert_eq!(backoff.admit(now), Some(Turn::Probe));
        backoff.went_well(Turn::Ordinary);
        assert_eq!(backoff.admit(now), None, "a straggler does not close it");
        backoff.went_well(Turn::Probe);
        assert!(backoff.is_clear());
        assert_eq!(backoff.admit(now), Some(Turn::Ordinary));
    }

    #[test]
    fn a_probe_that_says_nothing_makes_room_for_another() {
        let (mut backoff, now) = (backoff(), Instant::now());
        (0..4).for_each(|_| backoff.failed(Cost::Time, now));
        let now = now + Duration::from_millis(100);
        for _ in 0..3 {
            assert_eq!((backoff.admit(now), backoff.admit(now)), (Some(Turn::Probe), None));
            backoff.was_cut_short(Turn::Probe);
        }
        assert_eq!(backoff.admit(now), Some(Turn::Probe));
        let later = now + Duration::from_millis(100);
        assert_eq!((backoff.admit(later), backoff.admit(later)), (Some(Turn::Probe), None));
    }
}
