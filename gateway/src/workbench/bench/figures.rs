//! What was measured, summed up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::super::measure::Sample;
use crate::telemetry::Phase;

/// Ways to end that are told apart; reasons of failures may all differ.
const ENDS_MAX: usize = 10;

/// What one contender costs. In JSON times are in nanoseconds.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// What it is called.
    pub label: String,
    /// Exchanges that were timed.
    pub exchanges: usize,
    /// How they ended, and how many each way.
    pub ends: BTreeMap<String, u64>,
    /// All phases of an exchange together.
    pub whole: Quantiles,
    /// Each phase that the filter takes part in.
    pub phases: Vec<PhaseFigures>,
    /// Host functions that the guest called, the most frequent first.
    pub host_calls: Vec<HostCall>,
    /// The guest's memory in the end.
    pub memory_bytes: u64,
    /// To make a VM and start the filter in it.
    pub start: Quantiles,
    /// What reading the clock adds to each phase.
    #[serde(rename = "clock_ns", serialize_with = "nanoseconds")]
    pub clock: Duration,
}

/// What one phase costs.
#[derive(Debug, Serialize)]
pub struct PhaseFigures {
    /// Which.
    pub phase: Phase,
    /// How long it takes.
    #[serde(flatten)]
    pub time: Quantiles,
    /// Fuel that the guest uses, the median; about one unit an instruction.
    pub fuel: u64,
}

/// How often a host function is called.
#[derive(Debug, Serialize)]
pub struct HostCall {
    /// Its module.
    pub module: String,
    /// Its name.
    pub name: String,
    /// Calls in one exchange, on average.
    pub per_exchange: f64,
}

/// Of a set of times. Zero if there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Half of them are not longer.
    #[serde(rename = "median_ns", serialize_with = "nanoseconds")]
    pub median: Duration,
    /// Of a hundred, 99 are not longer.
    #[serde(rename = "p99_ns", serialize_with = "nanoseconds")]
    pub p99: Duration,
}

impl Quantiles {
    /// Of these.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { median: quantile(&times, 50), p99: quantile(&times, 99) }
    }
}

/// The least value that is not below `percent` of the sorted values: nearest rank.
fn quantile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn nanoseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// What was taken so far.
#[derive(Debug, Default)]
pub(super) struct Samples {
    whole: Vec<Duration>,
    /// By the phase's place in [`Phase::ALL`].
    phases: [(Vec<Duration>, Vec<u64>); Phase::ALL.len()],
    ends: BTreeMap<String, u64>,
}

impl Samples {
    /// One exchange: its phases, of which a body's may come several times, and how it ended.
    pub(super) fn add(&mut self, samples: &[Sample], end: String) {
        let mut sums = [None::<(Duration, u64)>; Phase::ALL.len()];
        for sample in samples {
            let place = Phase::ALL.iter().position(|phase| *phase == sample.phase);
            let Some(sum) = place.and_then(|place| sums.get_mut(place)) else { continue };
            let (time, fuel) = sum.get_or_insert_default();
            *time += sample.time;
            *fuel += sample.fuel;
        }
        self.whole.push(samples.iter().map(|sample| sample.time).sum());
        for ((times, fuels), (time, fuel)) in
            self.phases.iter_mut().zip(sums).filter_map(|(kept, sum)| Some((kept, sum?)))
        {
            times.push(time);
            fuels.push(fuel);
        }
        let end = if self.ends.len() < ENDS_MAX || self.ends.contains_key(&end) {
            end
        } else {
            "otherwise".to_owned()
        };
        *self.ends.entry(end).or_default() += 1;
    }

    pub(super) fn exchanges(&self) -> usize {
        self.whole.len()
    }

    pub(super) fn ends(&self) -> BTreeMap<String, u64> {
        self.ends.clone()
    }

    pub(super) fn whole(&self) -> Quantiles {
        Quantiles::of(self.whole.clone())
    }

    pub(super) fn phases(&mut self) -> Vec<PhaseFigures> {
        let taken = Phase::ALL.into_iter().zip(std::mem::take(&mut self.phases));
        taken
            .filter(|(_, (times, _))| !times.is_empty())
            .map(|(phase, (times, mut fuels))| {
                fuels.sort_unstable();
                PhaseFigures { phase, time: Quantiles::of(times), fuel: quantile(&fuels, 50) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        let of = |count: u64| Quantiles::of((1..=count).rev().map(Duration::from_nanos).collect());
        let nanoseconds = |quantiles: Quantiles| (quantiles.median.as_nanos(), quantiles.p99.as_nanos());
        assert_eq!(nanoseconds(of(0)), (0, 0));
        assert_eq!(nanoseconds(of(1)), (1, 1));
        assert_eq!(nanoseconds(of(100)), (50, 99));
        assert_eq!(nanoseconds(of(1_000)), (500, 990));
    }

    #[test]
    fn pieces_of_a_body_are_one_sample() {
        let sample = |phase, time, fuel| Sample { phase, time: Duration::from_nanos(time), fuel };
        let mut samples = Samples::default();
        let exchange = [
            sample(Phase::RequestHeaders, 5, 1),
            sample(Phase::RequestBody, 7, 2),
            sample(Phase::RequestBody, 8, 3),
        ];
        samples.add(&exchange, "passed".to_owned());
        assert_eq!(samples.exchanges(), 1);
        assert_eq!(samples.whole().median.as_nanos(), 20);
        let phases = samples.phases();
        let told: Vec<_> = phases.iter().map(|p| (p.phase, p.time.median.as_nanos(), p.fuel)).collect();
        assert_eq!(told, [(Phase::RequestHeaders, 5, 1), (Phase::RequestBody, 15, 5)]);
    }
}
