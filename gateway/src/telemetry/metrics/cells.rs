//! Counters, gauges and histograms: plain relaxed atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// The level is now this.
    pub fn set(&self, level: i64) {
        self.0.store(level, Relaxed);
    }

    /// The level.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Durations counted by size, in buckets with fixed upper bounds (inclusive, in nanoseconds).
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    counts: [Counter; N],
    above: Counter,
    sum_nanos: Counter,
}

impl<const N: usize> Histogram<N> {
    /// An empty one. `bounds` ascend.
    pub(super) fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            counts: std::array::from_fn(|_| Counter::default()),
            above: Counter::default(),
            sum_nanos: Counter::default(),
        }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_many(duration, 1);
    }

    /// Counts so many durations of this length.
    pub fn observe_many(&self, duration: Duration, many: u64) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|&bound| bound < nanos);
        self.counts.get(bucket).unwrap_or(&self.above).add(many);
        self.sum_nanos.add(nanos.saturating_mul(many));
    }
}

/// The sum of several histograms with the same bounds, as it is encoded. Ours are of seconds.
#[derive(Debug, Default)]
pub(super) struct HistogramSum {
    /// Upper bound and count of that bucket alone; the last bound is infinite.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl HistogramSum {
    pub(super) fn of<'a, const N: usize>(parts: impl Iterator<Item = &'a Histogram<N>>) -> Self {
        let (mut counts, mut above, mut nanos, mut bounds) = ([0_u64; N], 0_u64, 0_u64, None);
        for part in parts {
            bounds = Some(part.bounds);
            for (count, cell) in counts.iter_mut().zip(&part.counts) {
                *count += cell.get();
            }
            above += part.above.get();
            nanos = nanos.wrapping_add(part.sum_nanos.get());
        }
        let Some(bounds) = bounds else { return Self::default() };
        let finite = bounds.iter().zip(counts).map(|(&bound, count)| (seconds(bound), count));
        Self {
            buckets: finite.chain([(f64::INFINITY, above)]).collect(),
            sum: seconds(nanos),
            count: counts.iter().sum::<u64>() + above,
        }
    }
}

/// Nanoseconds as seconds; exact enough for a hundred days.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Upper bounds for whole requests and upstream answers: 100 µs to 30 s.
pub(super) static REQUEST_BOUNDS: [u64; 17] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Upper bounds for one call of a filter: 1 µs to 1 s.
pub(super) static CALL_BOUNDS: [u64; 12] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    500_000,
    2_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Upper bounds for a phase of a policy swap: 100 µs to 60 s.
pub(super) static SWAP_BOUNDS: [u64; 12] = [
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    20_000_000_000,
    60_000_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_rest_goes_above() {
        let (a, b) = (Histogram::new(&CALL_BOUNDS), Histogram::new(&CALL_BOUNDS));
        a.observe(Duration::from_micros(1));
        a.observe(Duration::from_nanos(1_001));
        b.observe(Duration::from_secs(2));
        b.observe(Duration::MAX);
        let sum = HistogramSum::of([&a, &b].into_iter());
        assert_eq!(sum.count, 4);
        assert_eq!(sum.buckets.len(), CALL_BOUNDS.len() + 1);
        assert_eq!(&sum.buckets[..2], &[(1e-6, 1), (2.5e-6, 1)]);
        assert_eq!(sum.buckets.last(), Some(&(f64::INFINITY, 2)));
    }

    #[test]
    fn bounds_ascend() {
        assert!(REQUEST_BOUNDS.is_sorted() && CALL_BOUNDS.is_sorted() && SWAP_BOUNDS.is_sorted());
    }
}
