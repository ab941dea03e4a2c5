//! Families of series, in the terms of prometheus-client's encoder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::cells::HistogramSum;

/// Labels of one series.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The exposition while it is written.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    /// A family of counters; `_total` is added to the name.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Counters<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Counters(self.0.encode_descriptor(name, help, None, MetricType::Counter)?))
    }

    /// A family of gauges.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Gauges<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Gauges(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?))
    }

    /// A family of histograms of seconds.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Histograms<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Histograms(self.0.encode_descriptor(name, help, None, MetricType::Histogram)?))
    }

    /// A family of a type that is known when it is written.
    pub(super) fn mixed(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(&mut Mixed<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Mixed(self.0.encode_descriptor(name, help, None, kind)?))
    }

    /// A constant whose labels are what matters; `_info` is added to the name.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

/// A family of counters.
pub(super) struct Counters<'a>(MetricEncoder<'a>);

impl Counters<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// The one series of a family without labels.
    pub(super) fn single(&mut self, value: u64) -> fmt::Result {
        self.0.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

/// A family of gauges.
pub(super) struct Gauges<'a>(MetricEncoder<'a>);

impl Gauges<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: i64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    /// The one series of a family without labels.
    pub(super) fn single(&mut self, value: i64) -> fmt::Result {
        self.0.encode_gauge(&value)
    }
}

/// A family of histograms.
pub(super) struct Histograms<'a>(MetricEncoder<'a>);

impl Histograms<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: &HistogramSum) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            value.sum,
            value.count,
            &value.buckets,
            None,
        )
    }
}

/// A family of any type; whoever writes it keeps to the one that it was declared with. A series may
/// have no labels.
pub(super) struct Mixed<'a>(MetricEncoder<'a>);

impl Mixed<'_> {
    pub(super) fn counter(&mut self, labels: Labels<'_>, value: u64) -> fmt::Result {
        self.series(labels, |series| series.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    pub(super) fn gauge(&mut self, labels: Labels<'_>, value: u64) -> fmt::Result {
        self.series(labels, |series| series.encode_gauge(&value))
    }

    pub(super) fn histogram(&mut self, labels: Labels<'_>, value: &HistogramSum) -> fmt::Result {
        self.series(labels, |series| {
            series.encode_histogram::<NoLabelSet>(value.sum, value.count, &value.buckets, None)
        })
    }

    fn series(
        &mut self,
        labels: Labels<'_>,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        match labels {
            [] => write(&mut self.0),
            labels => write(&mut self.0.encode_family(&labels)?),
        }
    }
}
