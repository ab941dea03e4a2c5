//! Whether a policy on trial departs from the one in force: a rule that can be said in three sentences.
//!
//! 1. A rate (errors, traps, denials) departs when the candidate's is above the base's by more than the
//!    margin, and by more than [`DEVIATIONS`] standard errors of the difference of two proportions, so that
//!    chance is no reason.
//! 2. The latency departs when more of the candidate's requests than 5 %, by as many standard errors, take
//!    longer than the base's 95th percentile and the margin.
//! 3. Nothing is judged before both have served [`EVIDENCE`] requests, or `minimum_requests` if that is
//!    less, and the candidate had [`EVENTS`] of what is counted.
//!
//! Compared is what ended since the step began; where the base has too little of that, what it has served
//! since the rollout began.

use std::fmt;
use std::time::Duration;

use crate::policy::rollout::{Margins, Share};
use crate::telemetry::metrics::Tally;

/// Requests that both must have served.
const EVIDENCE: u64 = 20;
/// Requests of the candidate with what is counted.
const EVENTS: u64 = 5;
const DEVIATIONS: f64 = 4.0;
/// In hundredths.
const PERCENTILE: u64 = 95;
/// What is beyond it, between 0 and 1.
const BEYOND: f64 = 0.05;

/// In what a policy departs from the one in force.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Departure {
    /// A rate is too high.
    Rate {
        /// Which.
        what: &'static str,
        /// The candidate's, between 0 and 1, and of how many requests.
        candidate: (f64, u64),
        /// The base's.
        base: (f64, u64),
        margin: Share,
    },
    /// Requests take too long.
    Latency {
        /// The candidate's 95th percentile, and of how many requests.
        candidate: (Duration, u64),
        /// The base's.
        base: (Duration, u64),
        margin: Duration,
    },
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { what, candidate: (rate, of), base: (base, base_of), margin } => write!(
                f,
                "{what}: {:.2}% of {of} requests against {:.2}% of {base_of}, margin {margin}",
                rate * 100.0,
                base * 100.0
            ),
            Self::Latency { candidate: (p95, of), base: (base, base_of), margin } => write!(
                f,
                "latency: 95% of {of} requests within {p95:.1?} against {base:.1?} of {base_of}, \
                 margin {margin:?}"
            ),
        }
    }
}

/// What is enough to judge by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Enough {
    requests: u64,
    events: u64,
}

impl Enough {
    /// By the policy's `minimum_requests`.
    pub(super) fn of(minimum_requests: u32) -> Self {
        let minimum = u64::from(minimum_requests);
        Self { requests: minimum.min(EVIDENCE), events: minimum.min(EVENTS) }
    }

    /// Whether a policy has served enough to be judged by.
    pub(super) fn is_there(self, served: &Tally) -> bool {
        served.requests >= self.requests
    }
}

/// The first in which the candidate departs too far, if any: traps, errors, denials, latency.
pub(super) fn judge(base: &Tally, candidate: &Tally, margins: &Margins, enough: Enough) -> Option<Departure> {
    if !enough.is_there(base) || !enough.is_there(candidate) {
        return None;
    }
    let rates = [
        ("traps", margins.traps, base.trapped, candidate.trapped),
        ("errors", margins.errors, base.failed, candidate.failed),
        ("denials", margins.denials, base.denied, candidate.denied),
    ];
    let rate = rates.into_iter().find_map(|(what, margin, of_base, of_candidate)| {
        let margin = margin?;
        let (before, after) = (fraction(of_base, base.requests), fraction(of_candidate, candidate.requests));
        let pooled = fraction(of_base + of_candidate, base.requests + candidate.requests);
        let excess = after - before;
        let departs = of_candidate >= enough.events
            && excess > margin.fraction()
            && excess > DEVIATIONS * standard_error(pooled, base.requests, candidate.requests);
        departs.then_some(Departure::Rate {
            what,
            candidate: (after, candidate.requests),
            base: (before, base.requests),
            margin,
        })
    });
    rate.or_else(|| latency(base, candidate, margins.latency?, enough))
}

fn latency(base: &Tally, candidate: &Tally, margin: Duration, enough: Enough) -> Option<Departure> {
    let at_base = base.durations.percentile(PERCENTILE);
    let slow = candidate.durations.longer_than(at_base + margin);
    let excess = fraction(slow, candidate.requests) - BEYOND;
    let departs = slow >= enough.events
        && excess > DEVIATIONS * standard_error(BEYOND, base.requests, candidate.requests);
    departs.then(|| Departure::Latency {
        candidate: (candidate.durations.percentile(PERCENTILE), candidate.requests),
        base: (at_base, base.requests),
        margin,
    })
}

/// Of the difference between two proportions that are both `rate`.
fn standard_error(rate: f64, of_base: u64, of_candidate: u64) -> f64 {
    (rate * (1.0 - rate) * (1.0 / of_base as f64 + 1.0 / of_candidate as f64)).sqrt()
}

fn fraction(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Ending, Fate, RolloutSide, rollout_cells};

    const MARGINS: Margins = Margins {
        errors: Share::new(100),
        traps: Share::new(10),
        denials: Share::new(500),
        latency: Some(Duration::from_millis(10)),
    };

    /// So many requests of so many milliseconds, of which the first few ended like that.
    fn tally(requests: u64, millis: u64, few: u64, fate: Fate, has_trapped: bool) -> Tally {
        let cells = rollout_cells(1);
        for number in 0..requests {
            let is_one = number < few;
            let ending = Ending {
                fate: if is_one { fate } else { Fate::Served },
                has_trapped: is_one && has_trapped,
                took: Duration::from_millis(millis),
            };
            cells.worker(0).count(RolloutSide::Base, &ending);
        }
        Tally::of(&cells, RolloutSide::Base)
    }

    fn good(requests: u64) -> Tally {
        tally(requests, 1, 0, Fate::Served, false)
    }

    fn departs(base: &Tally, candidate: &Tally) -> Option<String> {
        judge(base, candidate, &MARGINS, Enough::of(100)).map(|departure| departure.to_string())
    }

    #[test]
    fn an_equal_policy_stays() {
        for requests in [0, 1, 20, 1000] {
            assert_eq!(departs(&good(1000), &good(requests)), None);
        }
        let bad = tally(1000, 1, 300, Fate::Failed, true);
        assert_eq!(departs(&bad, &bad), None);
    }

    #[test]
    fn each_rate_has_its_margin() {
        let of = |few, fate, has_trapped| tally(200, 1, few, fate, has_trapped);
        let base = good(2000);
        let text = departs(&base, &of(20, Fate::Failed, false)).unwrap();
        assert_eq!(text, "errors: 10.00% of 200 requests against 0.00% of 2000, margin 1%");
        assert!(departs(&base, &of(6, Fate::Served, true)).unwrap().starts_with("traps: 3.00%"));
        assert!(departs(&base, &of(20, Fate::Denied, false)).unwrap().starts_with("denials"));
        // Within the margin.
        assert_eq!(departs(&base, &of(10, Fate::Denied, false)), None);
    }

    #[test]
    fn chance_is_no_reason() {
        // One or four of twenty may be anything.
        assert_eq!(departs(&good(2000), &tally(20, 1, 4, Fate::Failed, true)), None);
        assert!(departs(&good(2000), &tally(20, 1, 5, Fate::Failed, false)).is_some());
        // Twice as many errors, of few requests.
        let base = tally(1000, 1, 50, Fate::Failed, false);
        assert_eq!(departs(&base, &tally(60, 1, 6, Fate::Failed, false)), None);
        assert!(departs(&base, &tally(1000, 1, 100, Fate::Failed, false)).is_some());
    }

    #[test]
    fn nothing_is_judged_by_too_little() {
        assert_eq!(departs(&good(19), &tally(500, 1, 500, Fate::Failed, true)), None);
        assert_eq!(departs(&good(500), &tally(19, 1, 19, Fate::Failed, true)), None);
        let few = judge(&good(3), &tally(3, 1, 3, Fate::Failed, false), &MARGINS, Enough::of(3));
        assert_eq!(few, None, "three against three are less than four standard errors");
        assert!(judge(&good(20), &tally(4, 1, 4, Fate::Failed, false), &MARGINS, Enough::of(4)).is_some());
    }

    #[test]
    fn what_takes_longer_is_noticed() {
        let slow = |millis| tally(100, millis, 0, Fate::Served, false);
        assert_eq!(departs(&good(1000), &slow(9)), None);
        let text = departs(&good(1000), &slow(30)).unwrap();
        assert!(text.starts_with("latency: 95% of 100 requests within "), "{text}");
        let none = Margins { latency: None, ..MARGINS };
        assert_eq!(judge(&good(1000), &slow(30), &none, Enough::of(100)), None);
    }
}
