//! What is counted while two policies share the traffic: of each, how its requests ended. Workers add to
//! cells of a rollout ([`RolloutCells`]); control sums them ([`Tally`]), judges by them, and adds them up
//! over all rollouts for the exposition ([`RolloutMetrics`]).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cells::{Counter, Gauge};
use super::encode::Page;
use super::sharded::{Handle, Sharded};

/// Two of the policies, by what they are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutSide {
    /// The one in force.
    Base,
    /// The one that may take its place.
    Candidate,
}

/// How a request ended, as far as a rollout is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// How the client fared.
    pub fate: Fate,
    /// Whether any filter failed.
    pub has_trapped: bool,
    /// From the end of the request's head to the last byte of the answer.
    pub took: Duration,
}

/// How the client fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was answered, or went away.
    Served,
    /// The gateway or a filter refused.
    Denied,
    /// The answer was 5xx, or broke off.
    Failed,
}

/// One rollout's cells of one worker.
#[derive(Debug, Default)]
pub struct RolloutCells([SideCells; RolloutSide::ALL.len()]);

#[derive(Debug)]
struct SideCells {
    requests: Counter,
    failed: Counter,
    denied: Counter,
    trapped: Counter,
    durations: Box<[Counter]>,
}

/// The requests of one policy in a stretch of time, over all workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub requests: u64,
    /// Answered by 5xx, or not to the end.
    pub failed: u64,
    /// Refused by the gateway or a filter.
    pub denied: u64,
    /// In which a filter failed.
    pub trapped: u64,
    /// How many took how long.
    pub durations: Durations,
}

/// Durations by size: eight classes for each doubling, so that a bound is exact to an eighth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations(Vec<u64>);

/// 2³⁰ µs are 18 minutes; what takes longer counts as that.
const OCTAVES: usize = 31;
const CLASSES: usize = OCTAVES * 8;

impl RolloutSide {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Base, Self::Candidate];

    fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Candidate => "candidate",
        }
    }
}

impl Default for SideCells {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            failed: Counter::default(),
            denied: Counter::default(),
            trapped: Counter::default(),
            durations: (0..CLASSES).map(|_| Counter::default()).collect(),
        }
    }
}

impl RolloutCells {
    /// Counts a request that one of the policies served.
    pub fn count(&self, side: RolloutSide, ending: &Ending) {
        let cells = &self.0[side as usize];
        cells.requests.inc();
        match ending.fate {
            Fate::Served => {}
            Fate::Denied => cells.denied.inc(),
            Fate::Failed => cells.failed.inc(),
        }
        if ending.has_trapped {
            cells.trapped.inc();
        }
        if let Some(class) = cells.durations.get(class_of(ending.took)) {
            class.inc();
        }
    }
}

/// The class of a duration: its octave in microseconds and the three bits below the highest.
fn class_of(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
    let octave = micros.ilog2();
    let eighth = if octave >= 3 { micros >> (octave - 3) } else { micros << (3 - octave) } & 7;
    (octave as usize * 8 + eighth as usize).min(CLASSES - 1)
}

/// The least duration above a class.
fn end_of(class: usize) -> Duration {
    let (octave, eighth) = (class / 8, class as u64 % 8);
    // Nanoseconds, since the first octaves are less than eight microseconds wide.
    Duration::from_nanos(((1000_u64 << octave) / 8) * (9 + eighth))
}

impl Durations {
    /// The duration that so many hundredths of all do not exceed, rounded up; zero if there are none.
    #[must_use]
    pub fn percentile(&self, hundredths: u64) -> Duration {
        let all: u64 = self.0.iter().sum();
        let mut left = (all * hundredths).div_ceil(100);
        for (class, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            if *count >= left {
                return end_of(class);
            }
            left -= count;
        }
        Duration::ZERO
    }

    /// How many are longer than `bound`, those in its own class not counted.
    #[must_use]
    pub fn longer_than(&self, bound: Duration) -> u64 {
        self.0.iter().skip(class_of(bound) + 1).sum()
    }
}

impl Tally {
    /// All that a policy has served in this rollout.
    #[must_use]
    pub fn of(cells: &Sharded<RolloutCells>, side: RolloutSide) -> Self {
        let sum = |value: fn(&SideCells) -> &Counter| cells.sum(|part| value(&part.0[side as usize]).get());
        let mut durations = vec![0; CLASSES];
        for part in cells.parts() {
            for (total, class) in durations.iter_mut().zip(&part.0[side as usize].durations) {
                *total += class.get();
            }
        }
        Self {
            requests: sum(|cells| &cells.requests),
            failed: sum(|cells| &cells.failed),
            denied: sum(|cells| &cells.denied),
            trapped: sum(|cells| &cells.trapped),
            durations: Durations(durations),
        }
    }

    /// What has come since `earlier`, a tally of the same policy.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |class: usize| earlier.durations.0.get(class).copied().unwrap_or(0);
        let durations = self.durations.0.iter().enumerate();
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            denied: self.denied.saturating_sub(earlier.denied),
            trapped: self.trapped.saturating_sub(earlier.trapped),
            durations: Durations(durations.map(|(i, count)| count.saturating_sub(before(i))).collect()),
        }
    }
}

/// How a rollout ended, or that it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutEvent {
    /// It began.
    Begun,
    /// It went on to its next step.
    Stepped,
    /// The policy is in force whole.
    Promoted,
    /// The policy was taken back since it departed from the one in force.
    TakenBack,
    /// Somebody asked for its end.
    Aborted,
    /// Another policy came.
    Replaced,
}

impl RolloutEvent {
    const ALL: [Self; 6] =
        [Self::Begun, Self::Stepped, Self::Promoted, Self::TakenBack, Self::Aborted, Self::Replaced];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Stepped => "stepped",
            Self::Promoted => "promoted",
            Self::TakenBack => "taken_back",
            Self::Aborted => "aborted",
            Self::Replaced => "replaced",
        }
    }
}

/// All rollouts of the process.
#[derive(Debug, Default)]
pub struct RolloutMetrics {
    events: [Counter; RolloutEvent::ALL.len()],
    share: Gauge,
    sides: [SideSums; RolloutSide::ALL.len()],
}

#[derive(Debug, Default)]
struct SideSums {
    requests: Counter,
    failed: Counter,
    denied: Counter,
    trapped: Counter,
}

impl RolloutMetrics {
    /// Counts what happened to a rollout.
    pub fn event(&self, event: RolloutEvent) {
        self.events[event as usize].inc();
    }

    /// What the candidate serves from now on, in hundredths of a percent; 0: there is none.
    pub fn set_share(&self, hundredths: u16) {
        self.share.set(hundredths.into());
    }

    /// Adds what a policy has served since the last time.
    pub fn add(&self, side: RolloutSide, served: &Tally) {
        let sums = &self.sides[side as usize];
        sums.requests.add(served.requests);
        sums.failed.add(served.failed);
        sums.denied.add(served.denied);
        sums.trapped.add(served.trapped);
    }
}

/// Writes the families of rollouts.
pub(super) fn encode(page: &mut Page<'_>, rollouts: &RolloutMetrics) -> fmt::Result {
    page.counters("rollout_events", "What happened to rollouts of policies", |family| {
        RolloutEvent::ALL.into_iter().try_for_each(|event| {
            family.add(&[("event", event.as_str())], rollouts.events[event as usize].get())
        })
    })?;
    page.gauges(
        "rollout_share",
        "Share that a policy on trial serves, in hundredths of a percent",
        |family| family.single(rollouts.share.get()),
    )?;
    page.counters("rollout_requests", "Requests ended while two policies shared the traffic", |family| {
        RolloutSide::ALL.into_iter().try_for_each(|side| {
            family.add(&[("side", side.as_str())], rollouts.sides[side as usize].requests.get())
        })
    })?;
    page.counters(
        "rollout_faults",
        "Those of them that failed, were denied, or had a filter fail",
        |family| {
            RolloutSide::ALL.into_iter().try_for_each(|side| {
                let sums = &rollouts.sides[side as usize];
                let kinds = [("error", &sums.failed), ("denial", &sums.denied), ("trap", &sums.trapped)];
                kinds.into_iter().try_for_each(|(kind, count)| {
                    family.add(&[("side", side.as_str()), ("kind", kind)], count.get())
                })
            })
        },
    )
}

/// New cells for a rollout, for so many workers.
#[must_use]
pub fn cells(workers: usize) -> Arc<Sharded<RolloutCells>> {
    Arc::new(Sharded::new(workers))
}

/// A worker's cells.
pub type RolloutHandle = Handle<RolloutCells>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_each_other_and_are_an_eighth_wide() {
        for micros in 1..100_000_u64 {
            let duration = Duration::from_micros(micros);
            let class = class_of(duration);
            assert!(end_of(class) > duration, "{micros}");
            assert!(end_of(class) <= duration * 9 / 8 + Duration::from_micros(1), "{micros}");
            assert!(class == 0 || end_of(class - 1) <= duration, "{micros}");
        }
        assert_eq!(class_of(Duration::MAX), CLASSES - 1);
    }

    #[test]
    fn percentiles_and_what_is_beyond_them() {
        let cells = cells(2);
        for millis in 1..=100 {
            let ending =
                Ending { fate: Fate::Served, has_trapped: false, took: Duration::from_millis(millis) };
            cells.worker(millis as usize % 2).count(RolloutSide::Base, &ending);
        }
        let durations = Tally::of(&cells, RolloutSide::Base).durations;
        let at_95 = durations.percentile(95);
        assert!(at_95 > Duration::from_millis(95) && at_95 <= Duration::from_millis(107), "{at_95:?}");
        assert_eq!(durations.longer_than(Duration::from_secs(1)), 0);
        assert_eq!(durations.longer_than(Duration::from_micros(10)), 100);
        assert_eq!(Durations::default().percentile(95), Duration::ZERO);
    }

    #[test]
    fn a_tally_tells_what_came_since_another() {
        let cells = cells(1);
        let count = |fate, has_trapped| {
            let ending = Ending { fate, has_trapped, took: Duration::from_millis(1) };
            cells.worker(0).count(RolloutSide::Candidate, &ending);
        };
        count(Fate::Failed, true);
        let before = Tally::of(&cells, RolloutSide::Candidate);
        count(Fate::Denied, false);
        count(Fate::Served, true);
        let since = Tally::of(&cells, RolloutSide::Candidate).since(&before);
        assert_eq!((since.requests, since.failed, since.denied, since.trapped), (2, 0, 1, 1));
        assert_eq!(since.durations.longer_than(Duration::ZERO), 2);
        assert_eq!(Tally::of(&cells, RolloutSide::Base).requests, 0);
    }
}
