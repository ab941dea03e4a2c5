//! Metrics that guests define, as families of their own below `tollgate_guest_`.
//!
//! A guest gives any text as a name. What Prometheus does not allow in one becomes `_`, and `_total` at
//! the end of a counter's name is left to the format. Several metrics of one type that come to the
//! same name are one family, told apart by the label `metric` with the name that the guest gave. Where
//! families of different types would share the name of a series, the later one's name ends with its
//! type (`_gauge`), and with a number if need be.
//!
//! Limits are the host's: 4096 metrics of all guests, names of 256 bytes.

use std::collections::{HashMap, HashSet};
use std::fmt;

use prometheus_client::metrics::MetricType;
use tollgate_proxy_wasm::{GuestMetrics, HISTOGRAM_BOUNDS, MetricValue};

use super::cells::HistogramSum;
use super::encode::Page;

const PREFIX: &str = "guest_";
const HELP: &str = "Defined by a filter";

/// Writes what guests defined.
pub(super) fn encode(page: &mut Page<'_>, metrics: &GuestMetrics) -> fmt::Result {
    let mut families = Families::default();
    metrics.visit(|name, value| families.add(name, value));
    page.gauges("custom_metrics", "Metrics that filters have defined", |family| {
        let count = families.all.iter().map(|family| family.members.len()).sum::<usize>();
        family.single(i64::try_from(count).unwrap_or(i64::MAX))
    })?;
    page.counters("custom_metrics_discarded", "Definitions of metrics that could not be kept", |family| {
        family.single(metrics.discarded())
    })?;
    families.all.iter().try_for_each(|family| family.encode(page))
}

/// Metrics of one name and type.
struct Family {
    name: String,
    kind: Kind,
    /// By the names that guests gave.
    members: Vec<(String, MetricValue)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Default)]
struct Families {
    all: Vec<Family>,
    by_name: HashMap<String, usize>,
    /// Names of series that families have.
    taken: HashSet<String>,
}

impl Families {
    fn add(&mut self, given: &str, value: MetricValue) {
        let kind = Kind::of(&value);
        let base = kind.sanitise(given);
        for name in candidates(&base, kind) {
            if let Some(family) = self.by_name.get(&name).and_then(|index| self.all.get_mut(*index)) {
                if family.kind == kind {
                    family.members.push((given.to_owned(), value));
                    return;
                }
            } else if kind.series(&name).all(|series| !self.taken.contains(&series)) {
                self.taken.extend(kind.series(&name));
                self.by_name.insert(name.clone(), self.all.len());
                self.all.push(Family { name, kind, members: vec![(given.to_owned(), value)] });
                return;
            }
        }
    }
}

/// The names to be tried for a family, without end.
fn candidates(base: &str, kind: Kind) -> impl Iterator<Item = String> {
    let typed = format!("{base}_{}", kind.word());
    let numbered = (2..).map({
        let typed = typed.clone();
        move |number: u32| format!("{typed}_{number}")
    });
    [base.to_owned(), typed].into_iter().chain(numbered)
}

impl Kind {
    fn of(value: &MetricValue) -> Self {
        match value {
            MetricValue::Counter(_) => Self::Counter,
            MetricValue::Gauge(_) => Self::Gauge,
            MetricValue::Histogram { .. } => Self::Histogram,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// The name of the family.
    fn sanitise(self, given: &str) -> String {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let name: String = given.chars().map(allowed).collect();
        match self {
            Self::Counter => name.strip_suffix("_total").unwrap_or(&name).to_owned(),
            Self::Gauge | Self::Histogram => name,
        }
    }

    /// The names of the series, and of the family itself.
    fn series(self, name: &str) -> impl Iterator<Item = String> {
        let suffixes: &[&str] = match self {
            Self::Counter => &["", "_total"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_count", "_sum"],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    }
}

impl Family {
    fn encode(&self, page: &mut Page<'_>) -> fmt::Result {
        let name = format!("{PREFIX}{}", self.name);
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        page.mixed(&name, HELP, kind, |family| {
            self.members.iter().try_for_each(|(given, value)| {
                let label = [("metric", &**given)];
                let labels = if self.members.len() > 1 { &label[..] } else { &[] };
                match value {
                    MetricValue::Counter(count) => family.counter(labels, *count),
                    MetricValue::Gauge(level) => family.gauge(labels, *level),
                    MetricValue::Histogram { buckets, sum } => {
                        family.histogram(labels, &summed(buckets, *sum))
                    }
                }
            })
        })
    }
}

fn summed(buckets: &[u64], sum: u64) -> HistogramSum {
    let bounds = HISTOGRAM_BOUNDS.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
    HistogramSum {
        buckets: bounds.zip(buckets.iter().copied()).collect(),
        sum: sum as f64,
        count: buckets.iter().sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(defined: &[(&str, MetricValue)]) -> Vec<String> {
        let mut families = Families::default();
        for (name, value) in defined {
            families.add(name, value.clone());
        }
        let members = families.all.iter();
        members.map(|family| format!("{}:{}", family.name, family.members.len())).collect()
    }

    fn histogram() -> MetricValue {
        MetricValue::Histogram { buckets: [0; HISTOGRAM_BOUNDS.len() + 1], sum: 0 }
    }

    const COUNTER: MetricValue = MetricValue::Counter(1);
    const GAUGE: MetricValue = MetricValue::Gauge(1);

    #[test]
    fn names_are_made_ones_of_prometheus() {
        let defined = [
            ("sdk.http-hits", COUNTER),
            ("hits_total", COUNTER),
            ("1 µs", GAUGE),
            ("", GAUGE),
            ("a\nb", GAUGE),
        ];
        assert_eq!(names(&defined), ["sdk_http_hits:1", "hits:1", "1__s:1", ":1", "a_b:1"]);
    }

    #[test]
    fn one_name_and_type_is_one_family() {
        let defined = [("a.b", COUNTER), ("a_b", COUNTER), ("a_b_total", COUNTER), ("a/b", COUNTER)];
        assert_eq!(names(&defined), ["a_b:4"]);
    }

    #[test]
    fn no_two_families_share_the_name_of_a_series() {
        let defined = [
            ("a", COUNTER),
            ("a", GAUGE),
            ("a_total", GAUGE),
            ("a_gauge", COUNTER),
            ("h_count", GAUGE),
            ("h", histogram()),
            ("h_sum", COUNTER),
        ];
        let expected = [
            "a:1",
            "a_gauge:1",
            "a_total_gauge:1",
            "a_gauge_counter:1",
            "h_count:1",
            "h_histogram:1",
            "h_sum:1",
        ];
        assert_eq!(names(&defined), expected);
        // And the other way round.
        let defined = [("a_total", GAUGE), ("a", COUNTER), ("a_counter", GAUGE), ("a_counter", histogram())];
        assert_eq!(
            names(&defined),
            ["a_total:1", "a_counter:1", "a_counter_gauge:1", "a_counter_histogram:1"]
        );
    }
}
