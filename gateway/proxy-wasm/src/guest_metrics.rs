//! Metrics that guests define, for the whole process.
//!
//! A fixed table of slots: recording is an index and an atomic operation, no lock; defining takes a
//! lock, once per name and VM. An id carries the type in its low two bits and the slot above, as in
//! Envoy. Names are unique over all guests, the prefix `wasmcustom.` that Envoy strips not counted. A
//! name that exists with another type, an empty one, one that is not text and a definition beyond the
//! table's 4096 slots get [`DISCARDED`], an id whose values are dropped: the Rust SDK panics if a
//! definition fails. Metrics live as long as the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::abi::MetricType;
use crate::limits::{METRIC_NAME_BYTES_MAX, METRICS_MAX};

/// Upper bounds of the buckets of every histogram; one more bucket takes what is larger. Guests give
/// no bounds and no unit, so they follow 1, 2, 5 over seven decades.
pub const HISTOGRAM_BOUNDS: [u64; 22] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000,
];

/// The id of metrics that are not kept. Its low bits are no type, so that no slot has it.
pub(crate) const DISCARDED: u32 = u32::MAX;

const TYPE_BITS: u32 = 2;

/// The metrics of all guests in the process.
#[derive(Debug)]
pub struct GuestMetrics {
    slots: Box<[OnceLock<Metric>]>,
    ids: Mutex<HashMap<Box<str>, u32>>,
    discarded: AtomicU64,
}

#[derive(Debug)]
struct Metric {
    name: Box<str>,
    cell: Cell,
}

#[derive(Debug)]
enum Cell {
    Counter(AtomicU64),
    Gauge(AtomicU64),
    Histogram(Box<Histogram>),
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; HISTOGRAM_BOUNDS.len() + 1],
    sum: AtomicU64,
}

/// A value of a metric, read for export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricValue {
    /// A count.
    Counter(u64),
    /// A level.
    Gauge(u64),
    /// A distribution: values per bucket of [`HISTOGRAM_BOUNDS`], not cumulative, the last one for
    /// what is larger; and the sum of the values.
    Histogram {
        /// Values in each bucket.
        buckets: [u64; HISTOGRAM_BOUNDS.len() + 1],
        /// Sum of all values.
        sum: u64,
    },
}

/// Why an operation on a metric failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricError {
    NotFound,
    BadArgument,
}

impl Default for GuestMetrics {
    fn default() -> Self {
        Self {
            slots: (0..METRICS_MAX).map(|_| OnceLock::new()).collect(),
            ids: Mutex::default(),
            discarded: AtomicU64::new(0),
        }
    }
}

impl GuestMetrics {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes each metric's name and value to `f`, in order of definition. A name is what the guest
    /// gave (text, 1 to 256 bytes), less the prefix `wasmcustom.`: exporters must escape it.
    pub fn visit(&self, mut f: impl FnMut(&str, MetricValue)) {
        for metric in self.slots.iter().map_while(OnceLock::get) {
            f(&metric.name, metric.cell.read());
        }
    }

    /// How often a metric could not be kept.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// The id of a metric, new or known; [`DISCARDED`] if it cannot be kept.
    pub(crate) fn define(&self, kind: MetricType, name: &[u8]) -> u32 {
        let id = self.find_or_add(kind, name);
        if id == DISCARDED {
            self.discarded.fetch_add(1, Ordering::Relaxed);
        }
        id
    }

    fn find_or_add(&self, kind: MetricType, name: &[u8]) -> u32 {
        let Ok(name) = std::str::from_utf8(name) else { return DISCARDED };
        // Where guests name the namespace that Envoy puts them in, they mean the same metric.
        let name = name.strip_prefix("wasmcustom.").unwrap_or(name);
        if name.is_empty() || name.len() > METRIC_NAME_BYTES_MAX {
            return DISCARDED;
        }
        // A poisoned lock is taken as it is: an entry is added whole or not at all.
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = ids.get(name) {
            return if id & ((1 << TYPE_BITS) - 1) == kind.wire() { id } else { DISCARDED };
        }
        let Some(slot) = self.slots.get(ids.len()) else { return DISCARDED };
        let id = ((ids.len() as u32) << TYPE_BITS) | kind.wire(); // fewer than METRICS_MAX
        slot.get_or_init(|| Metric { name: name.into(), cell: Cell::new(kind) });
        ids.insert(name.into(), id);
        id
    }

    /// Sets a gauge, adds to a counter, or counts a value into a histogram.
    pub(crate) fn record(&self, id: u32, value: u64) -> Result<(), MetricError> {
        match self.cell(id)? {
            Some(Cell::Counter(count)) => _ = count.fetch_add(value, Ordering::Relaxed),
            Some(Cell::Gauge(level)) => level.store(value, Ordering::Relaxed),
            Some(Cell::Histogram(histogram)) => histogram.record(value),
            None => {}
        }
        Ok(())
    }

    /// Adds to a counter (more than zero) or to a gauge (either way, stopping at its ends).
    pub(crate) fn increment(&self, id: u32, delta: i64) -> Result<(), MetricError> {
        match self.cell(id)? {
            Some(Cell::Counter(count)) if delta > 0 => {
                _ = count.fetch_add(delta.unsigned_abs(), Ordering::Relaxed);
            }
            Some(Cell::Gauge(level)) => {
                let add = |now: u64| Some(now.saturating_add_signed(delta));
                _ = level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            }
            Some(Cell::Counter(_) | Cell::Histogram(_)) => return Err(MetricError::BadArgument),
            None => {}
        }
        Ok(())
    }

    /// The value of a counter or a gauge; 0 for a discarded metric.
    pub(crate) fn get(&self, id: u32) -> Result<u64, MetricError> {
        match self.cell(id)? {
            Some(Cell::Counter(value) | Cell::Gauge(value)) => Ok(value.load(Ordering::Relaxed)),
            Some(Cell::Histogram(_)) => Err(MetricError::BadArgument),
            None => Ok(0),
        }
    }

    /// The cell of an id, `None` for the discarded one.
    fn cell(&self, id: u32) -> Result<Option<&Cell>, MetricError> {
        if id == DISCARDED {
            return Ok(None);
        }
        let slot = self.slots.get((id >> TYPE_BITS) as usize).and_then(OnceLock::get);
        match slot {
            Some(metric) if id & ((1 << TYPE_BITS) - 1) == metric.cell.kind().wire() => {
                Ok(Some(&metric.cell))
            }
            _ => Err(MetricError::NotFound),
        }
    }
}

impl Cell {
    fn new(kind: MetricType) -> Self {
        match kind {
            MetricType::Counter => Self::Counter(AtomicU64::new(0)),
            MetricType::Gauge => Self::Gauge(AtomicU64::new(0)),
            MetricType::Histogram => Self::Histogram(Box::default()),
        }
    }

    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }

    fn read(&self) -> MetricValue {
        match self {
            Self::Counter(count) => MetricValue::Counter(count.load(Ordering::Relaxed)),
            Self::Gauge(level) => MetricValue::Gauge(level.load(Ordering::Relaxed)),
            Self::Histogram(histogram) => MetricValue::Histogram {
                buckets: std::array::from_fn(|i| histogram.buckets[i].load(Ordering::Relaxed)),
                sum: histogram.sum.load(Ordering::Relaxed),
            },
        }
    }
}

impl Histogram {
    fn record(&self, value: u64) {
        let bucket = HISTOGRAM_BOUNDS.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(metrics: &GuestMetrics) -> Vec<(String, MetricValue)> {
        let mut all = Vec::new();
        metrics.visit(|name, value| all.push((name.to_owned(), value)));
        all
    }

    #[test]
    fn counters_add_gauges_set() {
        let metrics = GuestMetrics::new();
        let count = metrics.define(MetricType::Counter, b"wasmcustom.hits");
        let level = metrics.define(MetricType::Gauge, b"level");
        assert_eq!(metrics.define(MetricType::Counter, b"wasmcustom.hits"), count);
        assert_eq!(metrics.define(MetricType::Counter, b"hits"), count, "one name is one metric");
        metrics.record(count, 2).unwrap();
        metrics.record(count, 3).unwrap();
        metrics.increment(count, 1).unwrap();
        metrics.record(level, 9).unwrap();
        metrics.increment(level, -20).unwrap();
        assert_eq!((metrics.get(count), metrics.get(level)), (Ok(6), Ok(0)));
        assert_eq!(metrics.increment(count, 0), Err(MetricError::BadArgument));
        let expected = [("hits".into(), MetricValue::Counter(6)), ("level".into(), MetricValue::Gauge(0))];
        assert_eq!(exported(&metrics), expected);
    }

    #[test]
    fn histograms_count_into_their_buckets() {
        let metrics = GuestMetrics::new();
        let id = metrics.define(MetricType::Histogram, b"h");
        for value in [0, 1, 2, 3, 10_000_001] {
            metrics.record(id, value).unwrap();
        }
        assert_eq!(metrics.get(id), Err(MetricError::BadArgument));
        assert_eq!(metrics.increment(id, 1), Err(MetricError::BadArgument));
        let [(_, MetricValue::Histogram { buckets, sum })] = &exported(&metrics)[..] else { panic!() };
        assert_eq!((&buckets[..4], buckets[22], *sum), (&[2, 1, 1, 0][..], 1, 10_000_007));
    }

    #[test]
    fn what_cannot_be_kept_is_discarded() {
        let metrics = GuestMetrics::new();
        let id = metrics.define(MetricType::Counter, b"a");
        assert_eq!(metrics.define(MetricType::Gauge, b"a"), DISCARDED);
        assert_eq!(metrics.define(MetricType::Gauge, &[0xff]), DISCARDED);
        assert_eq!(metrics.define(MetricType::Gauge, b""), DISCARDED);
        assert_eq!(metrics.define(MetricType::Gauge, b"wasmcustom."), DISCARDED);
        assert_eq!(metrics.define(MetricType::Gauge, &[b'x'; METRIC_NAME_BYTES_MAX + 1]), DISCARDED);
        assert_eq!(metrics.discarded(), 5);
        assert_eq!((metrics.record(DISCARDED, 1), metrics.get(DISCARDED)), (Ok(()), Ok(0)));
        assert_eq!(metrics.get(id ^ 1), Err(MetricError::NotFound), "a counter's id with a gauge's bits");
        assert_eq!(metrics.get(id + 4), Err(MetricError::NotFound));
        for n in 1..METRICS_MAX {
            assert_ne!(metrics.define(MetricType::Counter, n.to_string().as_bytes()), DISCARDED);
        }
        assert_eq!(metrics.define(MetricType::Counter, b"one more"), DISCARDED);
        assert_eq!(exported(&metrics).len(), METRICS_MAX);
    }
}
